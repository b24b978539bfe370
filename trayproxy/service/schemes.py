"""The sign-in schemes with what they need of this computer."""

import os
import socket
from time import time_ns

from trayproxy.auth.ntlmv2 import Surroundings
from trayproxy.auth.scheme import Scheme
from trayproxy.auth.schemes import http_schemes


def service_schemes() -> tuple[Scheme, ...]:
    """Return all HTTP sign-in schemes, the strongest first."""
    return http_schemes(os.urandom, Surroundings(os.urandom, time_ns, _computer_name()))


def _computer_name() -> str:
    """Return the name that NTLM gives this computer, in capitals.

    ``NETBIOS_COMPUTER_NAME`` comes first, as with Samba's GSS-NTLMSSP and with pyspnego.
    """
    return os.environ.get("NETBIOS_COMPUTER_NAME") or socket.gethostname().upper()
