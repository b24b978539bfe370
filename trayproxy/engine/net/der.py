"""Reads elements of certificates in DER (X.690; RFC 5280, section 4.1)."""

from collections.abc import Iterator

SEQUENCE = 0x30
OBJECT_IDENTIFIER = 0x06

_INTEGER = 0x02
_VERSION = 0xA0
_SET = 0x31
_COMMON_NAME = bytes.fromhex("550403")
_ORGANIZATION = bytes.fromhex("55040a")
_ENCODINGS = {
    0x0C: "utf-8",
    0x13: "ascii",
    0x14: "latin-1",
    0x16: "ascii",
    0x1C: "utf-32-be",
    0x1E: "utf-16-be",
}
"""The encodings of the string types of a name, by tag: UTF8String, PrintableString, TeletexString,
IA5String, UniversalString and BMPString (RFC 5280, section 4.1.2.4). Most authorities write
Latin-1 into a TeletexString."""


def issuer(certificate: bytes) -> str:
    """Return the organization of the issuer of a certificate in DER, or else its common name.

    The name is untrusted. It is empty if the issuer has neither, or the octets are not a
    certificate.
    """
    try:
        names = dict(_names(certificate))
    except (IndexError, ValueError):
        return ""
    return names.get(_ORGANIZATION) or names.get(_COMMON_NAME) or ""


def _names(certificate: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield the attributes of the issuer: the object identifier of the type, and the value."""
    position, _ = content_range(certificate, 0, SEQUENCE)
    position, _ = content_range(certificate, position, SEQUENCE)
    if certificate[position] == _VERSION:
        _, position = content_range(certificate, position, _VERSION)
    _, position = content_range(certificate, position, _INTEGER)
    _, position = content_range(certificate, position, SEQUENCE)
    position, end = content_range(certificate, position, SEQUENCE)
    while position < end:
        start, position = content_range(certificate, position, _SET)
        start, _ = content_range(certificate, start, SEQUENCE)
        start, after = content_range(certificate, start, OBJECT_IDENTIFIER)
        tag = certificate[after]
        value = slice(*content_range(certificate, after, tag))
        yield certificate[start:after], certificate[value].decode(_ENCODINGS.get(tag, "utf-8"))


def content_range(der: bytes, position: int, tag: int) -> tuple[int, int]:
    """Return the start and the end of the contents of the DER element at a position.

    Raises:
        ValueError: The element has another tag, or an indefinite length.
        IndexError: The element is truncated.
    """
    if der[position] != tag:
        raise ValueError("another element")
    length, start = der[position + 1], position + 2
    if length & 0x80:
        count = length & 0x7F
        if not count:
            raise ValueError("an indefinite length, which DER does not have")
        length, start = int.from_bytes(der[start : start + count], "big"), start + count
    if start + length > len(der):
        raise IndexError
    return start, start + length
