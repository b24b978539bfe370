"""Compute the channel binding ``tls-server-end-point`` (RFC 5929, section 4.1).

It is a hash of the server's certificate. An authentication bound to a TLS connection is useless to
a relay attacker, who has to forward it on a connection with another certificate.
"""

from hashlib import sha256, sha384, sha512

from trayproxy.engine.net.der import OBJECT_IDENTIFIER, SEQUENCE, content_range

_RSA = bytes.fromhex("2a864886f70d0101")
_ECDSA = bytes.fromhex("2a8648ce3d04")
_SHA_256_ALGORITHMS = (
    _RSA + b"\x04",  # MD5 and SHA-1 are replaced by SHA-256 (RFC 5929, section 4.1).
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
"""Hash functions by the DER of the signature algorithm's object identifier (RFC 3279, section 2.2;
RFC 4055, section 5; RFC 5758, section 3.2). RSASSA-PSS and EdDSA are missing: RSASSA-PSS names its
hash function in parameters, and RFC 5929 does not define a binding for EdDSA."""


def tls_server_end_point(certificate: bytes) -> bytes:
    """Return the channel binding ``tls-server-end-point``, without that prefix, of a certificate in
    DER; empty if the signature algorithm has no single hash function, or if the octets are not a
    certificate."""
    try:
        algorithm = _signature_algorithm(certificate)
    except (IndexError, ValueError):
        return b""
    hash_function = _HASHES.get(algorithm)
    return hash_function(certificate).digest() if hash_function is not None else b""


def _signature_algorithm(certificate: bytes) -> bytes:
    """Return the signature algorithm of a certificate (RFC 5280, section 4.1.1.2)."""
    start, _ = content_range(certificate, 0, SEQUENCE)
    _, behind_signed = content_range(certificate, start, SEQUENCE)
    start, _ = content_range(certificate, behind_signed, SEQUENCE)
    start, end = content_range(certificate, start, OBJECT_IDENTIFIER)
    return certificate[start:end]
