"""Stops libkrb5 from replacing the host name of a proxy before it requests a ticket.

By default, libkrb5 canonicalizes a host name by forward and reverse DNS look-ups, and requests a
ticket for the resulting name. A forged DNS response could then choose the server to which TrayProxy
signs in, and a correct name could fail without a visible reason. The setting
``dns_canonicalize_hostname`` turns this off (krb5.conf(5)), but it cannot be set through GSSAPI. So
this module appends a file with the setting to the configuration files of this computer; libkrb5
uses the setting only if the other files do not contain it.
"""

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

_VARIABLE = "KRB5_CONFIG"
_SYSTEM_FILE = "/etc/krb5.conf"
"""The configuration file of MIT's and Heimdal's libkrb5 on Linux, if the variable is not set."""

_OWN_FILE = Path(__file__).with_name("krb5.conf")


def logon_brings_ticket(platform: str = sys.platform) -> bool:
    """Return True on Windows, where the log-on to the company's domain is itself the ticket."""
    return platform == "win32"


def disable_name_canonicalization(environ: MutableMapping[str, str] = os.environ) -> None:
    """Turn off the canonicalization of host names, unless the settings of this computer set it.

    Call this before the first use of libkrb5. It has an effect only on Linux: Windows has its own
    Kerberos, and the configuration files of Kerberos on macOS are not documented.
    """
    files = environ.get(_VARIABLE, "") or _SYSTEM_FILE
    own_file = str(_OWN_FILE)
    # The variable is a list separated by colons.
    is_path = ":" not in own_file and _OWN_FILE.is_file()
    if sys.platform == "linux" and is_path and own_file not in files.split(":"):
        environ[_VARIABLE] = f"{files}:{own_file}"
