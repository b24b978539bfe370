"""Tests for trayproxy.recipes.plan."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.recipes.formats.setting import Format, Setting
from trayproxy.recipes.journal import FileRecord
from trayproxy.recipes.plan import (
    FileTarget,
    GoneError,
    LeftAloneError,
    as_lines,
    has_settings,
    original_of,
    plan,
    remaining_lines,
)

PATH = "/home/jdoe/.gitconfig"


def target(port: int = 3128, format: Format = Format.GIT, path: str = PATH) -> FileTarget:
    return FileTarget(path, format, (Setting(("http", "proxy"), f"http://127.0.0.1:{port}"),))


def block(*lines: str, format: Format = Format.BLOCK) -> FileTarget:
    return FileTarget(PATH, format, (Setting((), lines),))


def written(wanted: FileTarget, original: bytes | None) -> tuple[bytes, FileRecord]:
    planned = plan(wanted, original, None)
    assert planned.wanted is not None
    assert planned.record is not None
    return planned.wanted, planned.record


def reason(wanted: FileTarget, present: bytes | None, record: FileRecord | None = None) -> str:
    with pytest.raises(LeftAloneError) as caught:
        plan(wanted, present, record)
    assert caught.value.path == PATH
    return caught.value.reason


GIT_TEXTS = st.lists(
    st.sampled_from(
        [
            b"[user]\n\tname = J\xf6rg\n",
            b"[http]\n\tsslVerify = true\r\n",
            b"[http]\n\tproxy = http://old.example:8080\n",
            b'[http "https://x.example"]\n proxy = ""\n',
            b"# a comment\n",
            b"\n",
            b"[http] proxy = x ; y\n",
            b"[core]",
        ]
    ),
    max_size=6,
).map(b"".join)


@given(
    st.one_of(st.none(), GIT_TEXTS, st.binary(max_size=60)),
    st.lists(st.integers(1, 65535), min_size=1, max_size=4),
    st.one_of(st.none(), GIT_TEXTS, st.binary(max_size=60)),
)
def test_undo_gives_the_original_or_leaves_the_file(
    original: bytes | None, ports: list[int], later: bytes | None
) -> None:
    present, record = original, None
    try:
        for port in ports:
            planned = plan(target(port), present, record)
            present, record = planned.wanted, planned.record
    except LeftAloneError:
        assert present == original
        return
    if record is None:
        assert present == original
        return
    assert original_of(record, present) == original
    assert original_of(record, original) == original
    with suppress(GoneError, LeftAloneError):
        assert original_of(record, later) == original


PIECES = {
    Format.BLOCK: ("export a=1\n", "# \xf6\r\n", "if true; then\n", "fi"),
    Format.CURLRC: ("silent\n", 'proxy = "http://old:1"\n', "# x\r\n", "user-agent: x\n"),
    Format.INI: ("[http]\n", "[user]\r\nname = x\n", "proxy = old\n", "; c\n", "\n"),
    Format.JSON: ('{"auths": {"x": "c2VjcmV0"}', "// c\n", ', "http": {"proxy": 1}', "}\n", " "),
    Format.NPMRC: ("registry=http://r.example\n", "//r.example/:_authToken=x\n", "; c\r\n"),
    Format.PROPERTIES: ("a.b = c\r\n", "http.proxy: old\n", "! c\n", "x \\\n y\n"),
    Format.TOML: ("[http]\n", 'proxy = "old"\n', "a = 1 # c\n", "[b]\r\n"),
    Format.YAML: ("a: b\n", "http:\n", "  proxy: old\n", "# c\r\n"),
}
"""For each format, parts of texts, most of whose combinations are texts of the format."""


@given(st.data())
@pytest.mark.parametrize("format", PIECES)
def test_undo_gives_the_original_in_each_format(format: Format, data: st.DataObject) -> None:
    original = "".join(data.draw(st.lists(st.sampled_from(PIECES[format]), max_size=5)))
    value = data.draw(st.sampled_from(["http://127.0.0.1:3128", "http://[::1]:1"]))
    paths: dict[Format, tuple[str, ...]] = {
        Format.BLOCK: (),
        Format.CURLRC: ("proxy",),
        Format.NPMRC: ("proxy",),
        Format.PROPERTIES: ("http.proxy",),
    }
    path = paths.get(format, ("http", "proxy"))
    setting = Setting(path, value if path else (value,))
    octets = original.encode("latin-1")
    with suppress(LeftAloneError):
        planned = plan(FileTarget(PATH, format, (setting,)), octets, None)
        if planned.record is None:
            assert planned.wanted == octets
        else:
            assert original_of(planned.record, planned.wanted) == octets
            removed = [span.removed for span in planned.record.versions[0].spans]
            assert not any(b"c2VjcmV0" in part or b"_authToken" in part for part in removed)


@pytest.mark.parametrize("original", [None, b"", b"\n", b"[user]\n\tname = J\n"])
def test_a_new_port_replaces_the_old_port_and_keeps_the_original(original: bytes | None) -> None:
    first, record = written(target(3128), original)
    planned = plan(target(3129), first, record)
    assert planned.wanted is not None
    assert b"3129" in planned.wanted
    assert b"3128" not in planned.wanted
    assert planned.record is not None
    # Either version may be in the file when the power fails.
    for present in (first, planned.wanted, original):
        assert original_of(planned.record, present) == original


def test_nothing_is_recorded_for_a_setting_that_is_there_already() -> None:
    octets = b"[http]\n\tproxy = http://127.0.0.1:3128\n"
    planned = plan(target(), octets, None)
    assert (planned.wanted, planned.record) == (octets, None)
    assert has_settings(target(), octets)
    assert not has_settings(target(), None)
    assert not has_settings(target(), b"[")


def test_settings_that_the_file_had_before_are_not_named_as_those_of_trayproxy() -> None:
    settings = (Setting(("proxy",), "http://127.0.0.1:3128"), Setting(("noproxy",), "a,b", ","))
    _, record = written(FileTarget(PATH, Format.NPMRC, settings), b"noproxy=b,a,c\n")
    assert remaining_lines(record, b"noproxy=b,a,c\nproxy=http://other:1\n") == ()


def test_a_file_that_was_changed_since_is_left_alone_and_its_lines_are_named() -> None:
    present, record = written(target(), b"[user]\n\tname = J\n")
    changed = present + b"[core]\n\teditor = vi\n"
    with pytest.raises(LeftAloneError) as caught:
        plan(target(3129), changed, record)
    assert caught.value.lines == ("http.proxy = http://127.0.0.1:3128",)
    with pytest.raises(LeftAloneError):
        original_of(record, changed)
    # With the same settings, there is nothing to do.
    assert plan(target(3128), changed, record).wanted == changed


def test_a_file_without_the_lines_of_trayproxy_is_a_new_original() -> None:
    _, record = written(target(), b"[user]\n\tname = J\n")
    for present in (b"[user]\n\tname = K\n", None):
        with pytest.raises(GoneError):
            original_of(record, present)
        planned = plan(target(3129), present, record)
        assert planned.record is not None
        assert original_of(planned.record, planned.wanted) == present


def test_the_remaining_lines_of_a_block_are_named() -> None:
    wanted = block("export a=1", "# a comment", "export b=2")
    present, record = written(wanted, b"# mine\n")
    assert remaining_lines(record, present + b"# more\n") == ("export a=1", "export b=2")
    assert remaining_lines(record, b"# mine\n  export b=2\n# a comment\n") == ("export b=2",)
    assert remaining_lines(record, b"# mine\n") == ()


def test_a_whole_file_of_another_program_is_left_alone() -> None:
    wanted = block("# Written by TrayProxy", "a=1", format=Format.WHOLE)
    assert reason(wanted, b"b=2\n") == "another program has written it"
    present, record = written(wanted, None)
    assert original_of(record, present) is None
    assert plan(wanted, present, None).record is None


@pytest.mark.parametrize(
    ("present", "text"),
    [
        (b"[http\n", "TrayProxy does not understand it: line 1"),
        ("[http]\n".encode("utf-16"), "it is not a text in UTF-8"),
        (b"[http]\0", "it is not a text in UTF-8"),
        (
            b"[http]\n\tproxy = http://jdoe:secret@proxy.example:8080\n",
            "line 2 contains a login, which TrayProxy would have to keep in its own files. "
            "Remove it, and sign in with “trayproxy login”",
        ),
        (b"[http]\n\tproxy = http://jdoe:sec<ret@proxy.example\n", "“http.proxy” contains a login"),
        (b"[http]\n\tproxy = jdoe:my secret@proxy.example\n", "“http.proxy” contains a login"),
    ],
)
def test_a_file_is_left_alone_with_a_reason(present: bytes, text: str) -> None:
    assert reason(target(), present).startswith(text)


def test_a_record_that_does_not_fit_its_file_changes_nothing() -> None:
    present, record = written(target(), b"[user]\n")
    wrong = FileRecord(record.path, record.format, "0" * 64, (), record.versions)
    with pytest.raises(LeftAloneError, match="does not fit"):
        original_of(wrong, present)


@pytest.mark.parametrize(
    ("setting", "lines"),
    [
        (Setting(("a", "b"), "c"), ("a.b = c",)),
        (Setting(("a",), 3128), ("a = 3128",)),
        (Setting(("a",), True), ("a = true",)),
        (Setting(("a",), ("b", "c")), ("a = b, c",)),
        (Setting((), ("b", "c")), ("b", "c")),
    ],
)
def test_a_setting_as_text(setting: Setting, lines: tuple[str, ...]) -> None:
    assert as_lines(setting) == lines
