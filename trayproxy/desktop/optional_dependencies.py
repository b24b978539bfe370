"""Whether what NTLM and Kerberos need is installed; they are extras of the installation.

Nothing is imported to find that out: that would take a quarter of a second, and most proxies want
neither.
"""

import sys
from functools import cache
from importlib.util import find_spec

_NTLM_MODULE = "spnego"
_KERBEROS_MODULES = ("sspilib",) if sys.platform == "win32" else ("gssapi", "krb5")


@cache
def is_installed(family: str) -> bool:
    """Return whether the schemes of a family can be used here.

    Args:
        family: As in `trayproxy.auth.scheme.Scheme`; one that needs nothing is always there.
    """
    match family:
        case "ntlm":
            needed: tuple[str, ...] = (_NTLM_MODULE,)
        case "negotiate":
            needed = (_NTLM_MODULE, *_KERBEROS_MODULES)
        case _:
            needed = ()
    return all(map(_can_import, needed))


def _can_import(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
