"""The certificate authorities of Windows: the certificate stores of the user and the computer.

Windows loads the public authorities into its store only when a program first needs them. A tool
that reads a file instead of the store would therefore refuse many public sites, so Mozilla's list
is added.

Written from the documentation of `ssl.enum_certificates` and of Windows (System Store Locations),
and run only with a fake of the function.
"""

from collections.abc import Callable, Iterable, Sequence

from trayproxy.system_settings.entries import TargetError

ROOTS = "ROOT"
INTERMEDIATES = "CA"
DISTRUSTED = "Disallowed"
_SERVER_AUTHENTICATION = "1.3.6.1.5.5.7.3.1"
"""The purpose id-kp-serverAuth (RFC 5280, section 4.2.1.12)."""
_X509 = "x509_asn"

Entry = tuple[bytes, str, "Iterable[str] | bool"]
"""A certificate, its encoding, and the purposes for which it is trusted; True for all."""
EnumerateStore = Callable[[str], Iterable[Entry]]
"""Returns the certificates of a store, as `ssl.enum_certificates`. Raises `OSError`."""


class WindowsAuthorities:
    """The authorities in the stores of Windows, and the public authorities."""

    def __init__(self, enumerate_store: EnumerateStore, public: Sequence[bytes]) -> None:
        """Create the reader; `public` are the certificates of public authorities, in DER."""
        self._public = public
        self._enumerate_store = enumerate_store

    def certificates(self) -> Sequence[bytes]:
        """Return the certificates of all authorities, in DER, each once."""
        distrusted = set(self._store(DISTRUSTED, every_purpose=True))
        found = [*self._store(ROOTS), *self._store(INTERMEDIATES), *self._public]
        return tuple(der for der in dict.fromkeys(found) if der not in distrusted)

    def _store(self, name: str, *, every_purpose: bool = False) -> list[bytes]:
        try:
            entries = list(self._enumerate_store(name))
        except OSError as error:
            raise TargetError(f"the certificate store {name} cannot be read: {error}") from None
        return [
            der
            for der, encoding, purposes in entries
            if encoding == _X509 and (every_purpose or _is_for_servers(purposes))
        ]


def _is_for_servers(purposes: Iterable[str] | bool) -> bool:
    if isinstance(purposes, bool):
        return purposes
    return _SERVER_AUTHENTICATION in purposes
