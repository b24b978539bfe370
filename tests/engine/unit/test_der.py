"""The issuers of certificates compared with those that OpenSSL reads."""

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.desktop.public_authorities import public_authorities
from trayproxy.desktop.trust_store.base import from_pem, to_pem
from trayproxy.engine.net.der import issuer, validity


@pytest.fixture(scope="module")
def public() -> str:
    octets = public_authorities()
    assert octets is not None
    return octets.decode("ascii", "ignore")


def test_the_issuers_of_all_public_authorities_are_read(public: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=public)
    expected = []
    for certificate in context.get_ca_certs():
        names: Any = certificate["issuer"]
        parts: dict[str, str] = dict(pair for part in names for pair in part)
        expected.append(parts.get("organizationName") or parts["commonName"])
    assert len(expected) > 100
    assert [issuer(der) for der in context.get_ca_certs(binary_form=True)] == expected


def test_the_validity_of_all_public_authorities_is_read(public: str) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=public)
    expected = [
        (
            ssl.cert_time_to_seconds(str(certificate["notBefore"])),
            ssl.cert_time_to_seconds(str(certificate["notAfter"])),
        )
        for certificate in context.get_ca_certs()
    ]
    found = map(validity, context.get_ca_certs(binary_form=True))
    assert [(begin.timestamp(), end.timestamp()) for begin, end in found] == expected


@pytest.mark.parametrize("octets", [b"", b"\x30", b"\x30\x82\xff\xff", b"text", b"\xff" * 99])
def test_other_octets_have_no_validity(octets: bytes) -> None:
    with pytest.raises((IndexError, ValueError)):
        validity(octets)


def test_pem_is_read_and_written_as_the_standard_library_does(public: str) -> None:
    ders = list(from_pem(public))
    assert len(ders) > 100
    assert to_pem(ders) == "".join(map(ssl.DER_cert_to_PEM_cert, ders))


@pytest.mark.parametrize("octets", [b"", b"\x30", b"\x30\x82\xff\xff", b"text", b"\xff" * 99])
def test_octets_that_are_not_a_certificate_have_no_issuer(octets: bytes) -> None:
    assert issuer(octets) == ""


def test_a_truncated_certificate_has_no_issuer(public: str) -> None:
    der = next(from_pem(public))
    assert {issuer(der[:length]) for length in range(len(der))} == {""}


@given(st.data())
def test_a_damaged_certificate_gives_a_text(public: str, data: st.DataObject) -> None:
    der = bytearray(next(from_pem(public)))
    for _ in range(data.draw(st.integers(1, 4))):
        # The name of the issuer is near the start.
        der[data.draw(st.integers(0, 200))] = data.draw(st.integers(0, 255))
    assert isinstance(issuer(bytes(der)), str)
