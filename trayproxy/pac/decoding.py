"""Decodes PAC scripts, and recognises files that are none.

The encoding is that of the byte order mark, of the ``charset`` of the response, UTF-8, or
windows-1252, whichever fits first. A byte order mark comes first as in browsers (WHATWG, "Encoding
Standard", section 6.1).
"""

import codecs
import re

MAX_SIZE = 1 << 20
"""The largest script, in octets."""

_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}
_ENCODING_OF_TEXTS = re.compile(
    r"cp[0-9]+|iso8859-[0-9]+|iso2022_jp|euc_(jp|kr)|gb[0-9k]+|big5|koi8-[ru]|shift_jis|tis-620|"
    r"utf-16(-[bl]e)?"
)
"""Python's names of the encodings of texts. Python also has others, such as ``zlib`` and
``unicode_escape``, with which a short file becomes a huge text, or another program."""
_WEB_PAGE = re.compile(
    r"\s*(?:<!--.*?-->\s*)*<(?:!doctype|html|head|body|title|meta|script|\?xml)\b",
    re.IGNORECASE | re.DOTALL,
)
_FUNCTION = "FindProxyForURL"
"""The function of each PAC script; the name ``FindProxyForURLEx`` contains it."""


class PacContentError(ValueError):
    """A file is not a PAC script.

    Attributes:
        reason: The reason, a clause with “it” for the file.
        is_web_page: True if the file is an HTML page, as captive portals answer to each request.
    """

    def __init__(self, reason: str, *, is_web_page: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_web_page = is_web_page


def decode_script(octets: bytes, charset: str = "") -> str:
    """Return the text of a PAC script.

    Args:
        octets: The file.
        charset: The charset that the server states; empty if it states none.

    Raises:
        PacContentError: The file is not a PAC script.
    """
    if len(octets) > MAX_SIZE:
        raise PacContentError(f"it is larger than {MAX_SIZE >> 20} MiB")
    text = _decode(octets, charset)
    if not text.strip():
        raise PacContentError("it is empty")
    if _WEB_PAGE.match(text):
        raise PacContentError(
            "it is a web page, not a script; the network may require a sign-in on its own page",
            is_web_page=True,
        )
    if "\0" in text:
        raise PacContentError("it is not a text")
    if _FUNCTION not in text:
        raise PacContentError(f"it has no function {_FUNCTION}")
    return text


def _decode(octets: bytes, charset: str) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if octets.startswith(mark):
            return octets.removeprefix(mark).decode(encoding, "replace")
    for encoding in (_known(charset), "utf-8"):
        try:
            return octets.decode(encoding)
        except UnicodeDecodeError:
            continue
    return octets.decode("cp1252", "replace")


def _known(charset: str) -> str:
    """Return Python's name of a charset; UTF-8 if it is unknown or no encoding of texts."""
    try:
        name = codecs.lookup(charset).name
    except (LookupError, ValueError):
        return "utf-8"
    # Servers call windows-1252 ISO-8859-1, and so do browsers (Encoding Standard, section 4.2).
    if name == "iso8859-1":
        return "cp1252"
    return name if _ENCODING_OF_TEXTS.fullmatch(name) else "utf-8"
