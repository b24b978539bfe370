"""The URLs at which a network offers its PAC script: Web Proxy Auto-Discovery by DNS.

The draft of WPAD (draft-ietf-wrec-wpad-01, section 4.4.2) looks for a host ``wpad`` in the DNS
suffix of the computer and in each domain above it. A stranger who registers such a name above the
company's domain, ``wpad.co.uk``, receives the requests of the company's computers (US-CERT
TA16-144A, "WPAD Name Collision Vulnerability"). Only names below the company's domain are used.

WPAD by DHCP is not used: any computer of the network can answer a DHCP request.
"""

import re
from collections.abc import Iterable, Iterator

MAX_URLS = 8
"""The largest number of URLs; each may take a part of the time limit."""

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PUBLIC_LABELS = frozenset(
    (
        *("ac", "asn", "asso", "co", "com", "ed", "edu", "go", "gob", "gouv", "gov", "govt", "gr"),
        *("id", "lg", "ltd", "me", "mil", "ne", "net", "nhs", "nom", "or", "org", "plc", "police"),
        *("sch", "school", "web"),
    )
)
"""Names such as ``co`` in ``co.uk``: every person can register a domain below them."""
_LONGEST_PUBLIC_LABEL = 3
"""The longest name, in characters, that counts as public although `_PUBLIC_LABELS` lacks it: the
list cannot contain all names of the Public Suffix List."""


def wpad_urls(suffixes: Iterable[str]) -> tuple[str, ...]:
    """Return the URLs to try, in order: of the most specific domain of the first suffix first.

    Args:
        suffixes: The DNS suffixes of the present network, the most important first:
            ``office.corp.example``. Untrusted: any network can set them.
    """
    domains = dict.fromkeys(domain for suffix in suffixes for domain in _domains(suffix))
    return tuple(f"http://wpad.{domain}/wpad.dat" for domain in list(domains)[:MAX_URLS])


def _domains(suffix: str) -> Iterator[str]:
    """Yield the domains of the company to which a suffix belongs."""
    labels = suffix.strip().strip(".").lower().split(".")
    if len(suffix) > 240 or not all(map(_LABEL.fullmatch, labels)) or labels[-1].isdigit():
        return
    is_given = True
    while len(labels) >= 2 and not _is_public(labels, is_given=is_given):
        yield ".".join(labels)
        del labels[0]
        is_given = False


def _is_public(labels: list[str], *, is_given: bool) -> bool:
    """Return whether every person can register a name directly below a domain, as below ``co.uk``.

    A domain that is itself the suffix of the network is a company's own, ``bmw.de``, unless it is
    known to be public.
    """
    if len(labels) > 2 or len(labels[-1]) != 2:
        return False
    if labels[0] in _PUBLIC_LABELS:
        return True
    return not is_given and len(labels[0]) <= _LONGEST_PUBLIC_LABEL
