"""Reads elements of certificates in DER (X.690; RFC 5280, section 4.1)."""

from collections.abc import Iterator
from datetime import UTC, datetime

SEQUENCE = 0x30
OBJECT_IDENTIFIER = 0x06

_INTEGER = 0x02
_UTC_TIME = 0x17
_GENERALIZED_TIME = 0x18
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


def validity(certificate: bytes) -> tuple[datetime, datetime]:
    """Return the times between which a certificate in DER is valid (RFC 5280, section 4.1.2.5).

    Raises:
        ValueError: The octets are not a certificate.
        IndexError: The octets are truncated.
    """
    _, end = _issuer_range(certificate)
    position, _ = content_range(certificate, end, SEQUENCE)
    begin, position = _time(certificate, position)
    return begin, _time(certificate, position)[0]


def _time(der: bytes, position: int) -> tuple[datetime, int]:
    """Return a time, and the position after it."""
    tag = der[position]
    if tag not in (_UTC_TIME, _GENERALIZED_TIME):
        raise ValueError("no time")
    start, end = content_range(der, position, tag)
    text = der[start:end].decode("ascii")
    if tag == _UTC_TIME:  # Two digits of the year: 50 is 1950 (RFC 5280, section 4.1.2.5.1).
        text = ("19" if text[:2] >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC), end


def _issuer_range(certificate: bytes) -> tuple[int, int]:
    """Return the start and the end of the contents of the issuer."""
    position, _ = content_range(certificate, 0, SEQUENCE)
    position, _ = content_range(certificate, position, SEQUENCE)
    if certificate[position] == _VERSION:
        _, position = content_range(certificate, position, _VERSION)
    _, position = content_range(certificate, position, _INTEGER)
    _, position = content_range(certificate, position, SEQUENCE)
    return content_range(certificate, position, SEQUENCE)


def _names(certificate: bytes) -> Iterator[tuple[bytes, str]]:
    """Yield the attributes of the issuer: the object identifier of the type, and the value."""
    position, end = _issuer_range(certificate)
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
