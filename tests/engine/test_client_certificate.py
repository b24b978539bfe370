"""Client certificates for https upstreams: files, passwords, and servers that demand them."""

import ssl
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificate

from tests.engine.conftest import Start
from tests.engine.fakes import LOGIN, FakeBroker
from tests.engine.running import Running
from tests.engine.wire import get
from tests.support.scripted_upstream import OK, ScriptedUpstream, answering
from tests.support.tls import Certificate, CertificateAuthority
from trayproxy.engine.net.client_certificate import load_client_certificate
from trayproxy.engine.net.handshake_error import ClientCertificateError
from trayproxy.profiles.profile import Profile, ProxyScheme, Upstream

GET = get(b"http://origin.test/")
HOST = "127.0.0.1"
PASSWORD = "Kanari ü &"


class ClientFiles:
    """The files of a client certificate, in all forms."""

    def __init__(self, certificate: Certificate, directory: Path) -> None:
        octets = certificate.pem.read_bytes()
        self.pem = certificate.pem
        self._directory = directory
        self._key = load_pem_private_key(octets, None)
        self._certificate = load_pem_x509_certificate(octets)

    def write(self, form: str) -> tuple[str, str]:
        """Write a form; return the paths of the certificate and of the key."""
        match form:
            case "one file":
                return str(self.pem), ""
            case "two files":
                return self._write("c.pem", self.certificate), self._write("k.pem", self.key())
            case "encrypted":
                return self._write("e.pem", self.certificate + self.key(PASSWORD)), ""
            case "p12":
                return self._write("c.p12", self.pkcs12(PASSWORD)), ""
            case "open p12":
                return self._write("o.pfx", self.pkcs12("")), ""
        raise ValueError(form)

    @property
    def certificate(self) -> bytes:
        return self._certificate.public_bytes(Encoding.PEM)

    def key(self, password: str = "") -> bytes:
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        return self._key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)

    def pkcs12(self, password: str) -> bytes:
        encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
        key: Any = self._key
        return serialize_key_and_certificates(b"x", key, self._certificate, None, encryption)

    def _write(self, name: str, octets: bytes) -> str:
        path = self._directory / name
        path.write_bytes(octets)
        return str(path)


@pytest.fixture
def files(authority: CertificateAuthority, tmp_path: Path) -> ClientFiles:
    return ClientFiles(authority.issue("jdoe.test.lan"), tmp_path)


def reason_of(certificate: Path | str, key: Path | str = "", password: str = "") -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with pytest.raises(ClientCertificateError) as caught:
        load_client_certificate(context, str(certificate), str(key), password)
    assert PASSWORD not in str(caught.value)
    return caught.value.reason


# --- files ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("form", "password"),
    [
        ("one file", ""),
        ("two files", ""),
        ("encrypted", PASSWORD),
        ("p12", PASSWORD),
        ("open p12", ""),
    ],
)
def test_each_form_is_loaded_and_leaves_nothing_on_the_disk(
    files: ClientFiles, form: str, password: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    certificate, key = files.write(form)
    load_client_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), certificate, key, password)
    assert list(temporary.iterdir()) == []


def test_a_key_is_written_only_encrypted_and_only_for_this_user(
    files: ClientFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, bytes]] = []

    class WatchingContext(ssl.SSLContext):
        def load_cert_chain(self, certfile: Any, keyfile: Any = None, password: Any = None) -> None:
            seen.append((Path(certfile).parent.stat().st_mode & 0o777, certfile.read_bytes()))
            super().load_cert_chain(certfile, keyfile, password)

    certificate, _ = files.write("p12")
    context = WatchingContext(ssl.PROTOCOL_TLS_CLIENT)
    load_client_certificate(context, certificate, "", PASSWORD)
    ((mode, octets),) = seen
    assert mode == 0o700
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in octets
    assert b"BEGIN PRIVATE KEY" not in octets


@pytest.mark.parametrize("form", ["encrypted", "p12"])
def test_a_missing_or_wrong_password_is_reported(files: ClientFiles, form: str) -> None:
    certificate, key = files.write(form)
    assert "protected by a password" in reason_of(certificate, key)
    assert "password of its file is wrong" in reason_of(certificate, key, "not it")


def test_unusable_files_are_reported(
    files: ClientFiles, authority: CertificateAuthority, tmp_path: Path
) -> None:
    assert "cannot be read (No such file" in reason_of(tmp_path / "missing.pem")
    assert "cannot be read" in reason_of(tmp_path)
    certificate, key = files.write("two files")
    assert "contains no private key" in reason_of(certificate)
    assert "No such file" in reason_of(certificate, tmp_path / "missing.key")
    other = ClientFiles(authority.issue("other.test.lan"), tmp_path)
    other_key = tmp_path / "other.key"
    other_key.write_bytes(other.key())
    assert "does not belong to the certificate" in reason_of(certificate, other_key)
    for octets in (b"", b"garbage", b"0garbage", b"-----BEGIN CERTIFICATE-----\n!\n"):
        junk = tmp_path / "junk"
        junk.write_bytes(octets)
        assert reason_of(junk, key) != ""
    junk.write_bytes(b"x" * ((1 << 20) + 1))
    assert "too large" in reason_of(junk)


def test_an_expired_certificate_is_reported(
    authority: CertificateAuthority, tmp_path: Path
) -> None:
    expired = ClientFiles(authority.issue("old.test.lan", ended=True), tmp_path)
    for form, password in (("one file", ""), ("p12", PASSWORD)):
        certificate, _ = expired.write(form)
        assert "It has expired on 20" in reason_of(certificate, "", password)


# --- upstreams -----------------------------------------------------------------------------------


@pytest.fixture(params=[ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
def upstream(
    request: pytest.FixtureRequest, stack: ExitStack, authority: CertificateAuthority
) -> ScriptedUpstream:
    """An upstream that demands a client certificate of the authority."""
    context = authority.issue(HOST).context()
    context.maximum_version = request.param
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(authority.pem)
    return stack.enter_context(ScriptedUpstream(answering(OK), tls=context))


@pytest.fixture
def profile(upstream: ScriptedUpstream, authority: CertificateAuthority) -> Profile:
    at = Upstream(HOST, upstream.port, ProxyScheme.HTTPS)
    return Profile("office", "Office", at, ca_file=str(authority.pem))


def with_password(engine: Running, password: str) -> Running:
    engine.engine.context.connector.certificate_password = lambda profile: password
    return engine


@pytest.mark.parametrize(("form", "password"), [("one file", ""), ("p12", PASSWORD)])
def test_an_upstream_gets_the_certificate_that_it_demands(
    start: Start, profile: Profile, files: ClientFiles, form: str, password: str
) -> None:
    certificate, key = files.write(form)
    profile = replace(profile, client_certificate=certificate, client_key=key)
    with with_password(start(profile, FakeBroker(LOGIN)), password).connect() as client:
        assert client.ask(GET).status == 200
        assert client.ask(GET).status == 200


def test_a_demanded_certificate_that_is_missing_is_reported(start: Start, profile: Profile) -> None:
    engine = start(profile)
    with engine.connect() as client:
        reply = client.ask(GET)
    assert reply.status == 502
    assert b"demands a certificate of yours" in reply.body


def test_a_certificate_of_an_unknown_authority_is_reported(
    start: Start, profile: Profile, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    other = CertificateAuthority(tmp_path / "other").issue("jdoe.test.lan")
    engine = start(replace(profile, client_certificate=str(other.pem)))
    with engine.connect() as client:
        reply = client.ask(GET)
        assert b"(TP-212)" in reply.reason
    assert [page.code for page in engine.observer.failures] == ["TP-212"]


def test_a_refused_certificate_is_no_verdict_on_a_login(start: Start, profile: Profile) -> None:
    """TLS 1.3 reports the refusal after the request was sent; the request was not read."""
    desk = FakeBroker(LOGIN, is_known=True)
    with start(profile, desk).connect() as client:
        assert client.ask(GET).status == 502
    assert not any(desk.login_was_sent)


def test_an_unusable_certificate_is_reported_until_its_password_is_known(
    start: Start, profile: Profile, upstream: ScriptedUpstream, files: ClientFiles
) -> None:
    certificate, _ = files.write("p12")
    engine = start(replace(profile, client_certificate=certificate))
    with engine.connect() as client:
        reply = client.ask(GET)
        assert b"(TP-211)" in reply.reason
        assert b"trayproxy login --certificate" in reply.body
    assert all(peer.received == b"" for peer in upstream.peers)  # Nothing was sent.
    with with_password(engine, PASSWORD).connect() as client:
        assert client.ask(GET).status == 200
