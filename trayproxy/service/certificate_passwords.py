"""The passwords of client certificates: in the keyring, or in memory if there is no keyring."""

import asyncio
import ssl
from dataclasses import dataclass

from trayproxy.desk.credential_store import CertificatePasswordStore
from trayproxy.domain.problem import Problem
from trayproxy.engine.net.client_certificate import load_client_certificate
from trayproxy.engine.net.handshake_error import ClientCertificateError
from trayproxy.profiles.profile import Profile

KEYRING_WAIT_S = 20.0
"""Seconds to wait for the keyring, which may wait for the user."""
NOT_NEEDED = Problem(
    "TP-211",
    "This certificate has no password",
    "TrayProxy can use it as it is. Nothing was saved.",
)


@dataclass(frozen=True, slots=True)
class CertificateOutcome:
    """The result of saving a password.

    Attributes:
        problem: Why the keyring does not keep the password, None if it does.
        is_right: True if the password opens the file.
    """

    problem: Problem | None
    is_right: bool = False


def check_certificate(profile: Profile, password: str) -> Problem | None:
    """Return why the client certificate of a profile cannot be used with a password; None if it
    can. This reads files, and takes up to a second."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        load_client_certificate(context, profile.client_certificate, profile.client_key, password)
    except ClientCertificateError as error:
        return Problem("TP-211", "Your certificate for the proxy cannot be used", error.reason)
    return None


def check_password(profile: Profile, password: str) -> Problem | None:
    """Return why a password must not be saved; None if it opens the certificate's file."""
    if check_certificate(profile, "") is None:
        return NOT_NEEDED
    return check_certificate(profile, password)


class CertificatePasswords:
    """Finds and saves the passwords of client certificates.

    A password belongs to a profile and the path of a certificate.
    """

    def __init__(self, store: CertificatePasswordStore) -> None:
        self._store = store
        self._kept: dict[tuple[str, str], str] = {}

    def find(self, profile: Profile) -> str:
        """Return the password of a profile's client certificate, empty if there is none. This waits
        for the keyring."""
        kept = self._kept.get((profile.id, profile.client_certificate))
        if kept is not None:
            return kept
        try:
            return self._store.find_certificate_password(profile).result(KEYRING_WAIT_S)
        except TimeoutError:
            return ""

    async def save(self, profile: Profile, password: str) -> CertificateOutcome:
        """Save a password once it has opened the certificate's file. Without a keyring, keep it in
        memory."""
        loop = asyncio.get_running_loop()
        problem = await loop.run_in_executor(None, check_password, profile, password)
        if problem is not None:
            return CertificateOutcome(problem)
        key = profile.id, profile.client_certificate
        self._kept[key] = password
        saving = asyncio.wrap_future(self._store.save_certificate_password(profile, password))
        problem = await saving
        if problem is None:
            del self._kept[key]
        return CertificateOutcome(problem, is_right=True)
