"""What stands for a TLS server in a sign-in: the hash of its certificate (RFC 5929, section 4.1).

A sign-in that is bound to it is worth nothing to whoever passes it on over a connection of his own.
"""

from hashlib import sha256, sha384, sha512

_SEQUENCE = 0x30
_OBJECT_IDENTIFIER = 0x06

_RSA = bytes.fromhex("2a864886f70d0101")
_ECDSA = bytes.fromhex("2a8648ce3d04")
_SHA_256_ALGORITHMS = (
    _RSA + b"\x04",  # MD5 and SHA-1 stand for SHA-256 here.
    _RSA + b"\x05",
    _RSA + b"\x0b",
    _ECDSA + b"\x01",
    _ECDSA + b"\x03\x02",
)
_SHA_384_ALGORITHMS = (_RSA + b"\x0c", _ECDSA + b"\x03\x03")
_SHA_512_ALGORITHMS = (_RSA + b"\x0d", _ECDSA + b"\x03\x04")
_HASHES = {
    **dict.fromkeys(_SHA_256_ALGORITHMS, sha256),
    **dict.fromkeys(_SHA_384_ALGORITHMS, sha384),
    **dict.fromkeys(_SHA_512_ALGORITHMS, sha512),
}
"""By the signature algorithm, as DER has it (RFC 3279, section 2.2; RFC 4055, section 5; RFC 5758,
section 3.2). RSASSA-PSS names its hash in parameters, EdDSA in none: RFC 5929 does not cover it."""


def tls_server_end_point(certificate: bytes) -> bytes:
    """Return the octets of ``tls-server-end-point``, without that prefix.

    Args:
        certificate: The server's, in DER.

    Returns:
        Empty if its signature algorithm has no single hash, or it is none.
    """
    try:
        algorithm = _signature_algorithm(certificate)
    except (IndexError, ValueError):
        return b""
    used = _HASHES.get(algorithm)
    return used(certificate).digest() if used is not None else b""


def _signature_algorithm(certificate: bytes) -> bytes:
    """Return the object identifier behind the signed part of a certificate (RFC 5280, 4.1.1.2)."""
    start, _ = _content_range(certificate, 0, _SEQUENCE)
    _, behind_signed = _content_range(certificate, start, _SEQUENCE)
    start, _ = _content_range(certificate, behind_signed, _SEQUENCE)
    start, end = _content_range(certificate, start, _OBJECT_IDENTIFIER)
    return certificate[start:end]


def _content_range(der: bytes, at: int, tag: int) -> tuple[int, int]:
    """Return where the contents of the element at a position begin and end.

    Raises:
        ValueError: It is another one.
        IndexError: It is cut off.
    """
    if der[at] != tag:
        raise ValueError("another element")
    length, start = der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        if not count:
            raise ValueError("an indefinite length, which DER does not have")
        length, start = int.from_bytes(der[start : start + count], "big"), start + count
    if start + length > len(der):
        raise IndexError
    return start, start + length
