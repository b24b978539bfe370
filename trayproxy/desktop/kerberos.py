"""Kerberos takes the name of a proxy as it is written in the profile.

libkrb5 asks the DNS for the "real" name of a host first, forwards and backwards, and wants a ticket
for that one: who answers for the DNS chooses whom we sign in to, and a name that was right fails
for a reason that nobody sees. Its setting ``dns_canonicalize_hostname`` ends that (krb5.conf(5)),
and cannot be made through GSSAPI; so a file with it is added behind the ones of this computer,
where it counts only if those say nothing about it.
"""

import os
import sys
from collections.abc import MutableMapping
from pathlib import Path

_VARIABLE = "KRB5_CONFIG"
_SYSTEM_FILE = "/etc/krb5.conf"
"""What counts on Linux if the variable is not set; so MIT's and Heimdal's are built everywhere."""

_OWN_FILE = Path(__file__).with_name("krb5.conf")


def disable_name_canonicalization(environ: MutableMapping[str, str] = os.environ) -> None:
    """Let libkrb5 look up no other name of a host, unless this computer's settings say so.

    To be called before it is first used. Only on Linux: Windows has its own Kerberos, and where
    that of macOS looks for its settings is not told.

    Args:
        environ: The environment of this process, where libkrb5 reads where its settings are.
    """
    files = environ.get(_VARIABLE, "") or _SYSTEM_FILE
    own_file = str(_OWN_FILE)
    is_path = ":" not in own_file and _OWN_FILE.is_file()  # It is a list with colons.
    if sys.platform == "linux" and is_path and own_file not in files.split(":"):
        environ[_VARIABLE] = f"{files}:{own_file}"
