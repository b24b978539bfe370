"""Connects directly to the server of a PAC script, with blocking sockets and one time limit.

No proxy setting of the environment or of the desktop is used: the script would be needed to reach
itself.
"""

import socket
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import ssl

Address = tuple[socket.AddressFamily, tuple[Any, ...]]
"""An address family and a socket address of this family."""

LookUp = Callable[[str, int], Sequence[Address]]
"""Returns the addresses of a host name or an IP literal, with a port. Raises `OSError`."""

MakeContext = Callable[[], "ssl.SSLContext"]
"""Returns the TLS context for https servers. Raises `OSError` or `DownloadError`."""

_NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))
_CONNECT_S = 4.0
"""The time limit of an address while others are left, in seconds."""


class DownloadError(Exception):
    """A PAC script cannot be downloaded; the text is the reason, a clause."""


class UnknownNameError(DownloadError):
    """The name of the server does not exist in the present network."""


class Deadline:
    """The time limit of a download with all its steps."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        """Start the time; `clock` returns seconds."""
        self._seconds = seconds
        self._clock = clock
        self._end = clock() + seconds

    def left_s(self) -> float:
        """Return the time left, in seconds.

        Raises:
            DownloadError: The time is over.
        """
        left = self._end - self._clock()
        if left <= 0:
            raise self.error()
        return left

    def error(self) -> DownloadError:
        """Return the error of a download that takes too long."""
        return DownloadError(f"the server did not answer completely within {self._seconds:g} s")


def look_up(host: str, port: int) -> Sequence[Address]:
    """Return the addresses of a host; see `LookUp`. The time is limited only by the system."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [(socket.AddressFamily(family), address) for family, _, _, _, address in found]


def resolve(look_up: LookUp, host: str, port: int) -> Sequence[Address]:
    """Return the addresses of a host.

    Raises:
        UnknownNameError: There is no host of this name.
        DownloadError: The name cannot be resolved now.
    """
    try:
        found = look_up(host, port)
    except socket.gaierror as error:
        if error.errno in _NO_SUCH_NAME:
            found = ()
        else:
            raise DownloadError(f"the name {host} cannot be resolved now") from None
    except (OSError, UnicodeError):
        raise DownloadError(f"the name {host} cannot be resolved now") from None
    if not found:
        raise UnknownNameError(f"there is no host {host} in this network")
    return found


def is_of_this_computer(address: Address) -> bool:
    """Return whether an address is loopback, link-local or unspecified: no server of a network."""
    ip = ip_address(str(address[1][0]).partition("%")[0])
    mapped = getattr(ip, "ipv4_mapped", None)
    ip = mapped if mapped is not None else ip
    return ip.is_loopback or ip.is_link_local or ip.is_unspecified


def connect(addresses: Sequence[Address], deadline: Deadline) -> socket.socket:
    """Return a TCP connection to the first address that accepts one.

    Raises:
        DownloadError: None accepts one, or the time is over.
    """
    reason = ""
    for index, (family, address) in enumerate(addresses):
        left = deadline.left_s()
        is_last = index == len(addresses) - 1
        try:
            connection = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            reason = error.strerror or str(error)
            continue
        try:
            connection.settimeout(left if is_last else min(left, _CONNECT_S))
            connection.connect(address)
            return connection
        except ConnectionRefusedError:
            reason = "the server refuses the connection"
        except TimeoutError:
            reason = str(deadline.error())
        except OSError as error:
            reason = f"the server cannot be reached ({error.strerror or error})"
        connection.close()
    raise DownloadError(reason)


def encrypt(
    connection: socket.socket, host: str, make_context: MakeContext, deadline: Deadline
) -> "ssl.SSLSocket":
    """Return a TLS connection inside a TCP connection.

    Args:
        connection: The TCP connection; closed after an error.
        host: The expected host in the certificate: a name, or an IP literal without brackets.
        make_context: Returns the TLS context.
        deadline: The time limit.

    Raises:
        DownloadError: The server is not trusted, or does not speak TLS.
    """
    import ssl  # Not at the top: it loads OpenSSL, which http servers do not need.

    try:
        context = make_context()
        connection.settimeout(deadline.left_s())
        return context.wrap_socket(connection, server_hostname=host.rstrip("."))
    except ssl.SSLCertVerificationError as error:
        connection.close()
        why = getattr(error, "verify_message", "") or error.reason or "unknown"
        raise DownloadError(f"the certificate of the server is not trusted ({why})") from None
    except TimeoutError:
        connection.close()
        raise deadline.error() from None
    except (OSError, ValueError) as error:
        connection.close()
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
        raise DownloadError(f"there is no secure connection to the server ({why})") from None
    except DownloadError:
        connection.close()
        raise
