"""The certificate authorities of Linux: the bundle that the distribution generates.

``update-ca-certificates`` (Debian, openSUSE), ``update-ca-trust`` (Fedora, Arch) and the like add
the authorities of the administrator to the bundle.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from trayproxy.desktop.trust_store.base import from_pem
from trayproxy.file_replacement import read_file
from trayproxy.system_settings.entries import TargetError

BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/cert.pem",
)
"""The bundles of Debian, Fedora, older Fedora, openSUSE (twice), Alpine and older OpenSSL, as Go
knows them (crypto/x509, root_linux.go)."""

_VARIABLE = "SSL_CERT_FILE"
_MAX_SIZE = 16 << 20


class LinuxAuthorities:
    """The authorities in the first bundle that exists, and those that the user has added."""

    def __init__(
        self, environ: Mapping[str, str], own_file: Path, bundles: Sequence[str] = BUNDLES
    ) -> None:
        """Create the reader.

        Args:
            environ: The environment, in which the user may name a bundle (OpenSSL,
                SSL_CTX_set_default_verify_paths(3)). It may contain the authority of the company
                only, and other terminals may name another, so it does not replace the system's.
            own_file: A file that TrayProxy itself has written, and may have named there.
            bundles: The places of bundles, in order of preference.
        """
        chosen = environ.get(_VARIABLE, "")
        self._chosen = chosen if chosen != str(own_file) else ""
        self._bundles = bundles

    def certificates(self) -> Sequence[bytes]:
        """Return the certificates of all authorities, in DER, each once."""
        chosen = _read(self._chosen) if self._chosen else ()
        of_system = next(filter(None, map(_read, self._places())), ())
        if not (chosen or of_system):
            raise TargetError("this system has no file with its certificate authorities")
        return tuple(dict.fromkeys((*of_system, *chosen)))

    def _places(self) -> Iterator[str]:
        yield from self._bundles
        # Not at the top: it loads OpenSSL, and is needed only on rare systems.
        import ssl

        yield ssl.get_default_verify_paths().openssl_cafile


def _read(path: str) -> tuple[bytes, ...]:
    """Return the certificates of a bundle; none if it cannot be read."""
    try:
        return tuple(from_pem(read_file(Path(path), _MAX_SIZE).decode("ascii", "ignore")))
    except OSError:
        return ()
