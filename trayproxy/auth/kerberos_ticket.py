"""Kerberos tickets that TrayProxy requests with a password, with their lifetimes (RFC 4120).

A ticket is kept in a credential cache in the memory of this process, which no other program can
use and which ends with the process. The functions wait for the company's sign-in server (the KDC),
and raise ``krb5.Krb5Error``.
"""

from dataclasses import dataclass, replace
from typing import Any

MAX_MARGIN_S = 300
"""Seconds before the end of a ticket from which the ticket is renewed; less for a short ticket."""
_MARGIN_SHARE = 10
PAUSE_S = 60
"""Seconds between two attempts to renew a ticket: libkrb5 waits long for a KDC that is down."""


def is_mit_kerberos() -> bool:
    """Return whether libkrb5 is that of MIT, as on Linux; macOS has Heimdal, Windows has none."""
    try:
        import krb5
    except ImportError:
        return False
    return hasattr(krb5, "get_init_creds_opt_set_pa")  # A function of MIT only.


@dataclass(frozen=True, slots=True)
class IssuedTicket:
    """A ticket-granting ticket.

    Attributes:
        cache: The name of its cache, as libkrb5 writes it: ``MEMORY:…``.
        renew_at: When to request the next ticket, in seconds since 1970.
        owner: The objects of the library to which the cache belongs.
    """

    cache: str
    renew_at: int
    owner: tuple[Any, ...]

    @classmethod
    def request(cls, principal: str, password: str) -> "IssuedTicket":
        """Request a ticket from the KDC, which checks the password.

        The password is sent to one KDC: a wrong one costs a single failed log-on.

        Raises:
            ImportError: libkrb5 is not installed, as on Windows.
        """
        import krb5

        context = krb5.init_context()
        options = krb5.get_init_creds_opt_alloc(context)
        krb5.get_init_creds_opt_set_canonicalize(options, True)
        krb5.get_init_creds_opt_set_forwardable(options, False)
        client = krb5.parse_name_flags(context, principal.encode())
        # krb5_get_init_creds_password would send a refused password once more, to the primary KDC.
        request = krb5.init_creds_init(context, client, options)
        krb5.init_creds_set_password(context, request, password.encode())
        krb5.init_creds_get(context, request)
        found = krb5.init_creds_get_creds(context, request)
        cache = krb5.cc_new_unique(context, b"MEMORY")
        krb5.cc_initialize(context, cache, found.client)
        krb5.cc_store_cred(context, cache, found)
        times = found.times
        margin = min(MAX_MARGIN_S, (times.endtime - times.authtime) // _MARGIN_SHARE)
        name = (cache.name or b"").decode()
        return cls(f"MEMORY:{name}", times.endtime - margin, (context, cache))

    @property
    def is_ending(self) -> bool:
        """True if the ticket should be renewed now."""
        return self._now_s() >= self.renew_at

    def postponed(self) -> "IssuedTicket":
        """Return the ticket after a renewal has failed: the next is due in `PAUSE_S`."""
        return replace(self, renew_at=self._now_s() + PAUSE_S)

    def _now_s(self) -> int:
        """Return the time of libkrb5, corrected by the difference to the clock of the KDC."""
        import krb5

        return int(krb5.timeofday(self.owner[0]))
