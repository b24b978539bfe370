"""A company proxy that demands a certificate of the user: HAProxy in front of Squid."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    load_pem_private_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509 import load_pem_x509_certificate

from tests.end2end.scenario import HELLO, AttachFrontEnd, StartService, UserSession
from tests.support.clients import Clients
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.ports import start_on_free_port
from tests.support.processes import Home, Process, home
from tests.support.searchable_secret import SearchableSecret, files_below
from tests.support.squid import SquidSetup, squid
from tests.support.tls import CertificateAuthority
from trayproxy.auth.login import Login
from trayproxy.control.messages import ForgetLogin, SaveLogin
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn, Upstream

_HAPROXY = """\
defaults
 mode tcp
 timeout connect 5s
 timeout client 60s
 timeout server 60s
listen proxy
 bind 127.0.0.1:{port} ssl crt {server} ca-file {authority} verify required
 server open 127.0.0.1:{behind}
"""


@pytest.fixture
def demanding_proxy(authority: CertificateAuthority) -> Iterator[Upstream]:
    """A proxy that demands a certificate of the company's authority, and no password."""
    server = authority.issue("127.0.0.1").pem
    with squid(SquidSetup(schemes=())) as behind, home("haproxy-") as place:

        def start(port: int) -> Process:
            configuration = place.root / "haproxy.cfg"
            configuration.write_text(
                _HAPROXY.format(
                    port=port, server=server, authority=authority.pem, behind=behind.port
                )
            )
            return Process(
                ["haproxy", "-db", "-f", str(configuration)],
                env=place.environment(),
                cwd=place.root,
            )

        process, port = start_on_free_port(start)
        try:
            yield Upstream("127.0.0.1", port, ProxyScheme.HTTPS)
        finally:
            process.end()


@pytest.fixture
def pkcs12(authority: CertificateAuthority, account: SearchableSecret, tmp_path: Path) -> Path:
    """The certificate of the user, as a help desk hands it out; its password is the secret."""
    octets = authority.issue("jdoe.test.lan").pem.read_bytes()
    content = serialize_key_and_certificates(
        b"jdoe",
        load_pem_private_key(octets, None),  # type: ignore[arg-type]  # It is an EC key.
        load_pem_x509_certificate(octets),
        None,
        BestAvailableEncryption(account.password.encode()),
    )
    path = tmp_path / "jdoe.p12"
    path.write_bytes(content)
    return path


def test_the_certificate_is_used_as_soon_as_its_password_is_saved(
    run: StartService,
    attach: AttachFrontEnd,
    keyring: KeyringSession,
    clients: Clients,
    origin: Origin,
    authority: CertificateAuthority,
    demanding_proxy: Upstream,
    pkcs12: Path,
    account: SearchableSecret,
    place: Home,
) -> None:
    service = run(session=keyring)
    user = UserSession(service, attach(service), clients, origin)
    profile = Profile("office", "Office", demanding_proxy, SignIn.NONE, ca_file=str(authority.pem))
    user.use(profile)
    assert "demands a certificate of yours" in user.fetch()
    with_certificate = Profile(
        "office",
        "Office",
        demanding_proxy,
        SignIn.NONE,
        ca_file=str(authority.pem),
        client_certificate=str(pkcs12),
    )
    user.use(with_certificate)
    assert "trayproxy login --certificate" in user.fetch()
    wrong = SaveLogin("office", Login("", "not it"), is_certificate=True)
    assert "wrong" in str(user.front_end.request(wrong))
    assert keyring.entries() == []
    right = SaveLogin("office", Login("", account.password), is_certificate=True)
    user.front_end.request_done(right)
    (entry,) = keyring.wait_for_entries(1)
    assert entry.secret == account.password
    assert user.fetch() == HELLO
    user.end()
    again = run(session=keyring)
    user = UserSession(again, attach(again), clients, origin)
    assert user.fetch() == HELLO
    assert user.front_end.prompts == []
    account.assert_absent(files_below(place.root))
    user.front_end.request_done(ForgetLogin("office"))
    assert keyring.entries() == []
