"""Tests for trayproxy.importers.source_text, .recognition and .bypass."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.importers.examples import SECRET, only, sample
from trayproxy.importers.bypass import MAX_RULES, import_bypass, split_entries
from trayproxy.importers.found import Source, UnreadableSourceError
from trayproxy.importers.recognition import from_address, recognise
from trayproxy.importers.source_text import MAX_LINE_LENGTH, MAX_LINES, MAX_SIZE, SourceText, decode
from trayproxy.profiles.profile import Upstream


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"\xef\xbb\xbfa\r\nb\rc", "a\nb\nc"),
        ("[proxy]\r\nüser".encode("utf-16"), "[proxy]\nüser"),
        (b"\xfe\xff\0a", "a"),
        (b"", ""),
    ],
)
def test_text_is_decoded(octets: bytes, text: str) -> None:
    assert decode("f", octets) == SourceText("f", text)


@pytest.mark.parametrize(
    ("octets", "message"),
    [
        (b"a" * (MAX_SIZE + 1), "f: it is larger than 1 MiB"),
        (b"one\n\xfcser\n", "f, line 2: it is not UTF-8 text"),
        (b"\xff\xfea", "f, line 1: it is not UTF-8 text"),
        (b"one\ntwo\0\n", "f, line 2: it is a binary file"),
        (b"\n" * MAX_LINES, f"f, line {MAX_LINES}: it has more than {MAX_LINES} lines"),
        (
            b"\n" + b"a" * (MAX_LINE_LENGTH + 1),
            f"f, line 2: the line has more than {MAX_LINE_LENGTH} characters",
        ),
    ],
    ids=["size", "latin-1", "half a unit", "binary", "lines", "length"],
)
def test_a_hostile_file_is_refused_in_words(octets: bytes, message: str) -> None:
    with pytest.raises(UnreadableSourceError) as refused:
        decode("f", octets)
    assert str(refused.value) == message


@pytest.mark.parametrize(
    ("text", "source"),
    [
        (sample("px.ini").text.replace("server =", "server = p:1", 1), Source.PX),
        (sample("cntlm.conf").text, Source.CNTLM),
        ('{"proxyType": "HTTP", "proxyHost": "p", "proxyPort": 1}', Source.WINFOOM),
        ("proxy.type=HTTP\nproxy.http.host=p\nproxy.http.port=1\n", Source.WINFOOM),
        ("[Service]\nExecStart=/bin/alpaca -C http://p/x.pac\n", Source.ALPACA),
        ("[Service]\nExecStart=/bin/px --server=p:1\n", Source.PX),
        ("# rc\n--pac-file http://p/x.pac\n", Source.PROXYDETOX),
        ("export https_proxy=http://p:1\n", Source.ENVIRONMENT),
        ("HTTP_PROXY=http://p:1\nOTHER=2\n", Source.ENVIRONMENT),
        ("registry=x\nproxy=http://p:1\n", Source.NPM),
        ("[user]\n\tname = J\n[http]\n\tproxy = http://p:1\n", Source.GIT),
        ("function FindProxyForURL(url, host) { return 'DIRECT'; }", Source.FILE),
        ("http://pac.example/proxy.pac\n", Source.FILE),
        ("proxy.example:8080\n", Source.FILE),
        ('schema = 1\n[[profiles]]\nid = "a"\nname = "A"\nupstream = "p:1"\n', Source.EXPORT),
    ],
)
def test_a_file_is_recognised_by_its_content(text: str, source: Source) -> None:
    assert only(recognise(SourceText("/home/u/f", text), has_own_sign_in=False)).source is source


@pytest.mark.parametrize(
    "text",
    [
        "",
        "root:x:0:0:root:/root:/bin/bash\n",
        "<html>",
        '{"a": 1}',
        "[Service]\nExecStart=/bin/ls\n",
    ],
)
def test_an_unknown_file_is_refused(text: str) -> None:
    with pytest.raises(UnreadableSourceError):
        recognise(SourceText("f", text), has_own_sign_in=False)


FRAGMENTS = st.sampled_from(
    [
        *("[proxy]", "server = ", "[http]", "proxy = ", "Proxy ", "Password ", '"', "'", "{", "["),
        *("[[profiles]]", 'id = "a"', "<plist>", "[Service]", "ExecStart=", "--pac-file ", "\\"),
        *(
            "proxy.type=",
            "export https_proxy=",
            "http://u:canary-51c7@h:1",
            "\n",
            " ",
            "=",
            "FindProxy",
            "%",
        ),
    ]
)


@given(st.lists(FRAGMENTS | st.text(max_size=8)).map("".join))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(UnreadableSourceError):
        found = recognise(SourceText("f", text), has_own_sign_in=True)
        assert SECRET not in repr(found)


@pytest.mark.parametrize(
    ("text", "upstreams", "pac"),
    [
        ("proxy.example:8080", (Upstream("proxy.example", 8080),), None),
        ("http://pac.example/proxy.pac", (), "http://pac.example/proxy.pac"),
    ],
)
def test_an_argument_may_be_an_address(
    text: str, upstreams: tuple[Upstream, ...], pac: str | None
) -> None:
    found = from_address(text)
    assert found is not None
    profile = only(found)
    assert (profile.upstreams, profile.pac and str(profile.pac)) == (upstreams, pac)


def test_an_argument_must_not_contain_a_password() -> None:
    assert from_address("px2.ini") is None
    with pytest.raises(UnreadableSourceError, match="leave the password out") as refused:
        from_address(f"http://u:{SECRET}@proxy.example:8080")
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    ("entries", "covers_subdomains", "rules"),
    [
        ("a.example;*.b.example; <local>", False, ("a.example", "*.b.example", "<local>")),
        ("a.example .b.example", True, ("a.example", "*.a.example", "b.example", "*.b.example")),
        ("169.254/16,10/8", False, ("169.254.0.0/16", "10.0.0.0/8")),
        ("10.0.0.1-10.0.0.2", True, ("10.0.0.1/32", "10.0.0.2/32")),
        ("fd00::1,[fd00::/8]:80", True, ("fd00::1", "[fd00::/8]:80")),
        ("192.168.*", True, ("192.168.*",)),
    ],
)
def test_exception_lists(entries: str, covers_subdomains: bool, rules: tuple[str, ...]) -> None:
    found = import_bypass(split_entries(entries), covers_subdomains=covers_subdomains)
    assert (found.rules, found.notes) == (rules, ())


def test_entries_without_an_equivalent_are_told() -> None:
    entries = ["*", "a?b", "10.0.0.9-10.0.0.1", "http://x/", "1.0.0.1-90.255.255.2", "a_!", "ok"]
    found = import_bypass(entries, covers_subdomains=False)
    assert found.rules == ("ok",)
    assert found.notes == (
        "Entries without a proxy that have no equivalent: “*”, “a?b”, “10.0.0.9-10.0.0.1”, "
        "“http://x/”, “1.0.0.1-90.255.255.2” and 1 more.",
    )


def test_a_long_list_is_cut() -> None:
    names = [f"h{number}.example" for number in range(500)]
    found = import_bypass(names, covers_subdomains=True)
    assert len(found.rules) == MAX_RULES
    assert found.notes == (
        f"Only the first {MAX_RULES} rules about hosts without a proxy are used.",
    )
