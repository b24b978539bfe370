"""Checks whether the optional dependencies for NTLM and Kerberos are installed.

The check does not import the modules: importing takes a quarter of a second, and most proxies use
neither scheme.
"""

import sys
from functools import cache
from importlib.util import find_spec

_KERBEROS_MODULES = ("sspilib",) if sys.platform == "win32" else ("gssapi", "krb5")
_MODULES = {"ntlm": ("spnego",), "negotiate": ("spnego", *_KERBEROS_MODULES)}


@cache
def is_installed(family: str) -> bool:
    """Return True if the modules for a family of `trayproxy.auth.scheme.Scheme` are installed.

    A family without optional dependencies counts as installed.
    """
    return all(map(_can_import, _MODULES.get(family, ())))


def _can_import(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False
