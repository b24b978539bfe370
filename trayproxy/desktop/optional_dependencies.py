"""Whether what NTLM and Kerberos need is installed; they are extras of the installation.

Nothing is imported to find that out: that would take a quarter of a second, and most proxies want
neither.
"""

import sys
from functools import cache
from importlib.util import find_spec

_LIBRARY = "spnego"
_TICKETS = ("sspilib",) if sys.platform == "win32" else ("gssapi", "krb5")


@cache
def is_installed(family: str) -> bool:
    """Return whether the schemes of a family can be used here.

    Args:
        family: As in `trayproxy.auth.scheme.Scheme`; one that needs nothing is always there.
    """
    match family:
        case "ntlm":
            needed: tuple[str, ...] = (_LIBRARY,)
        case "negotiate":
            needed = (_LIBRARY, *_TICKETS)
        case _:
            needed = ()
    return all(map(_is_there, needed))


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
