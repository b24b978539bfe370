import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.pac.decoding import MAX_SIZE, PacContentError, decode_script

SCRIPT = 'function FindProxyForURL(url, host) { return "PROXY höst:8080"; } // …'


@pytest.mark.parametrize(
    ("encoding", "charset"),
    [
        ("utf-8", ""),
        ("utf-8", "utf-8"),
        ("utf-8", "us-ascii"),
        ("utf-8", "no-such-charset"),
        ("utf-8", "zlib"),
        ("utf-8", "unicode_escape"),
        ("utf-8", "\0"),
        ("utf-8-sig", ""),
        ("utf-8-sig", "iso-8859-1"),
        ("utf-16", ""),
        ("utf-16", "utf-8"),
        ("utf-16-le", "UTF-16LE"),
        ("cp1252", ""),
        ("cp1252", "iso-8859-1"),
        ("cp1252", "windows-1252"),
        ("cp1252", "utf-8"),
        ("gb18030", "gb18030"),
    ],
)
def test_a_script_is_decoded(encoding: str, charset: str) -> None:
    text = SCRIPT
    assert decode_script(text.encode(encoding), charset) == text


def test_octets_that_no_encoding_has_are_replaced() -> None:
    octets = b"function FindProxyForURL() {} // \x81\xe4"
    assert decode_script(octets) == "function FindProxyForURL() {} // \ufffdä"


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"", "it is empty"),
        (b" \r\n\t", "it is empty"),
        (b"\xef\xbb\xbf", "it is empty"),
        (b"x" * (MAX_SIZE + 1), "it is larger than 1 MiB"),
        (b"function FindProxyForURL() {}\0", "it is not a text"),
        (b"\x7fELF FindProxyForURL" + bytes(100), "it is not a text"),
        (b'{"error": "not found"}', "it has no function FindProxyForURL"),
        (b"function findproxyforurl() {}", "it has no function FindProxyForURL"),
    ],
)
def test_other_files_are_refused_with_the_reason(octets: bytes, reason: str) -> None:
    with pytest.raises(PacContentError) as refused:
        decode_script(octets)
    assert (refused.value.reason, refused.value.is_web_page) == (reason, False)


@pytest.mark.parametrize(
    "page",
    [
        "<!DOCTYPE html><title>Welcome</title>",
        "\ufeff \n<html lang=de>",
        '<?xml version="1.0"?><html>',
        "<!-- saved from url=(0014)about:internet -->\n<HTML>",
        "<script>function FindProxyForURL() {}</script>",
        "<head><meta http-equiv=refresh>",
    ],
)
def test_the_page_of_a_portal_is_recognised(page: str) -> None:
    with pytest.raises(PacContentError, match="web page, not a script") as refused:
        decode_script(page.encode("utf-8"), "utf-8")
    assert refused.value.is_web_page


def test_a_script_may_begin_with_a_comment_of_html() -> None:
    # ECMAScript, annex B.1.1: browsers read it as a comment.
    text = "<!-- proxies of the company -->\nfunction FindProxyForURL() {}"
    assert decode_script(text.encode()) == text


@given(st.binary(max_size=200), st.text(max_size=20))
def test_any_octets_are_decoded_or_refused(octets: bytes, charset: str) -> None:
    marked = b"FindProxyForURL" + octets
    try:
        assert decode_script(marked, charset)
    except PacContentError:
        pass
