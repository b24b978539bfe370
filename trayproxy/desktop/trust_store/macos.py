"""The certificate authorities of macOS: its keychains, read with the command ``security``.

All authorities in Apple's keychain are trusted. The other keychains contain any certificate that
the administrator or the user has added, so macOS is asked about each.

Written from the manual page security(1); it was run only with a fake of the command.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from trayproxy.desktop.commands import Run
from trayproxy.desktop.trust_store.base import from_pem, to_pem
from trayproxy.system_settings.entries import TargetError

APPLE_KEYCHAIN = "/System/Library/Keychains/SystemRootCertificates.keychain"
ADMIN_KEYCHAIN = "/Library/Keychains/System.keychain"
USER_KEYCHAIN = "Library/Keychains/login.keychain-db"
"""The keychain of the user, relative to the home."""

_PROGRAM = "/usr/bin/security"
_MAX_ADDED = 200
"""The largest number of certificates about which macOS is asked; each takes some 20 ms."""


class MacosAuthorities:
    """The authorities in the keychains."""

    def __init__(self, run: Run, home: Path) -> None:
        """Create the reader; `home` is the home folder of the user."""
        self._run = run
        self._added = (ADMIN_KEYCHAIN, str(home / USER_KEYCHAIN))

    def certificates(self) -> Sequence[bytes]:
        """Return the certificates of all authorities, in DER, each once."""
        result = self._find(APPLE_KEYCHAIN)
        added = [der for keychain in self._added for der in self._find(keychain, is_optional=True)]
        with TemporaryDirectory(prefix="trayproxy-") as folder:
            file = Path(folder) / "certificate.pem"
            for der in list(dict.fromkeys(added))[:_MAX_ADDED]:
                file.write_text(to_pem([der]), "ascii")
                if self._is_trusted(file):
                    result.append(der)
        return tuple(dict.fromkeys(result))

    def _find(self, keychain: str, *, is_optional: bool = False) -> list[bytes]:
        found = self._run((_PROGRAM, "find-certificate", "-a", "-p", keychain))
        if found.code and not is_optional:
            raise TargetError(f"the certificates of macOS cannot be read: {found.reason}")
        return list(from_pem(found.out)) if not found.code else []

    def _is_trusted(self, file: Path) -> bool:
        """Return whether macOS trusts a certificate as an authority; nothing is fetched."""
        argv = (_PROGRAM, "verify-cert", "-q", "-l", "-L", "-p", "basic", "-c", str(file))
        return self._run(argv).code == 0
