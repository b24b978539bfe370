"""The authentication schemes with their random numbers, clock and computer name."""

import os
import socket
from time import time_ns

from trayproxy.auth.ntlmv2 import NtlmEnvironment
from trayproxy.auth.scheme import Scheme
from trayproxy.auth.schemes import http_schemes


def service_schemes() -> tuple[Scheme, ...]:
    """Return all HTTP authentication schemes, the strongest first."""
    return http_schemes(os.urandom, NtlmEnvironment(os.urandom, time_ns, _computer_name()))


def _computer_name() -> str:
    """Return the computer name that NTLM messages contain, in upper case.

    The environment variable ``NETBIOS_COMPUTER_NAME`` takes precedence over the host name, as in
    Samba's GSS-NTLMSSP and in pyspnego.
    """
    return os.environ.get("NETBIOS_COMPUTER_NAME") or socket.gethostname().upper()
