"""Checks whether the optional dependencies for NTLM and Kerberos are installed.

The check does not import the modules: importing takes a quarter of a second, and most proxies use
neither scheme.
"""

import sys
from functools import cache
from importlib.util import find_spec

_NTLM_MODULE = "spnego"
_KERBEROS_MODULES = ("sspilib",) if sys.platform == "win32" else ("gssapi", "krb5")


@cache
def is_installed(family: str) -> bool:
    """Return True if the modules for a family of schemes are installed.

    Args:
        family: The family of a `trayproxy.auth.scheme.Scheme`. A family without optional
            dependencies counts as installed.
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
