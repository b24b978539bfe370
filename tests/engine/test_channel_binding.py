"""The channel binding compared with the certificate parser of cryptography."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384, SHA512, Hash, HashAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding

from trayproxy.engine.net.channel_binding import tls_server_end_point

NAME = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "proxy.test")])
ELLIPTIC = ec.generate_private_key(ec.SECP256R1())
RSA = rsa.generate_private_key(65537, 2048)

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def certificate(key: Key, algorithm: SHA256 | SHA384 | SHA512 | None) -> bytes:
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(NAME)
        .issuer_name(NAME)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
    )
    return builder.sign(key, algorithm).public_bytes(Encoding.DER)


def hashed(octets: bytes, algorithm: HashAlgorithm) -> bytes:
    found = Hash(algorithm)
    found.update(octets)
    return found.finalize()


@pytest.mark.parametrize("key", [ELLIPTIC, RSA], ids=["ecdsa", "rsa"])
@pytest.mark.parametrize("algorithm", [SHA256(), SHA384(), SHA512()], ids=lambda one: one.name)
def test_the_hash_function_of_the_signature_is_used(
    key: Key, algorithm: SHA256 | SHA384 | SHA512
) -> None:
    octets = certificate(key, algorithm)
    assert tls_server_end_point(octets) == hashed(octets, algorithm)


def test_a_signature_without_a_separate_hash_function_gives_no_binding() -> None:
    assert tls_server_end_point(certificate(ed25519.Ed25519PrivateKey.generate(), None)) == b""


@pytest.mark.parametrize("octets", [b"", b"\x30", b"\x30\x82", b"\x30\x82\xff\xff", b"text"])
def test_octets_that_are_not_a_certificate_give_no_binding(octets: bytes) -> None:
    assert tls_server_end_point(octets) == b""


def test_a_truncated_certificate_gives_no_binding() -> None:
    octets = certificate(ELLIPTIC, SHA256())
    assert {tls_server_end_point(octets[:length]) for length in range(len(octets))} == {b""}


SHA_256_WITH_RSA = bytes.fromhex("300d06092a864886f70d01010b0500")


@pytest.mark.parametrize("length", [0, 1, 126, 127, 128, 129, 255, 256, 65535, 65536])
def test_lengths_are_read_in_short_and_long_form(length: int) -> None:
    """X.690, section 8.1.3: one octet up to 127, otherwise preceded by the number of length
    octets."""
    size = length.to_bytes(max(1, (length.bit_length() + 7) // 8), "big")
    written = size if length < 128 else bytes((0x80 | len(size),)) + size
    octets = b"\x30\x00\x30" + written + bytes(length) + SHA_256_WITH_RSA
    assert tls_server_end_point(octets) == hashed(octets, SHA256())
    assert tls_server_end_point(octets[:-12]) == b""


def test_an_indefinite_length_gives_no_binding() -> None:
    octets = b"\x30\x00\x30\x80" + SHA_256_WITH_RSA
    assert tls_server_end_point(octets) == b""


@pytest.mark.parametrize("position", [0, 2, 4, 6])
def test_an_element_of_another_type_gives_no_binding(position: int) -> None:
    octets = bytearray(b"\x30\x00\x30\x00" + SHA_256_WITH_RSA)
    assert tls_server_end_point(bytes(octets))
    octets[position] = 0x31
    assert tls_server_end_point(bytes(octets)) == b""
