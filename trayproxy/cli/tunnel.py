"""``trayproxy connect``: join standard input and output to a host by CONNECT (RFC 9110, 9.3.6).

Programs such as ssh start it as their ``ProxyCommand``.
"""

import argparse
import re
import socket
import sys
from contextlib import suppress
from io import UnsupportedOperation
from typing import NoReturn

from trayproxy.cli.output import CommandError, printable_line
from trayproxy.cli.service_start import local_address
from trayproxy.cli.stream_relay import StreamRelay
from trayproxy.cli.streams import discard_output
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.domain.problem import ExitCode, Problem, exit_code_for
from trayproxy.paths import Paths

_CHUNK = 64 * 1024
_MAX_HEAD = 64 * 1024
_MAX_PAGE = 64 * 1024
_CONNECT_TIMEOUT_S = 10.0
"""The timeout for a connection to TrayProxy on this computer."""
_PAGE_TIMEOUT_S = 2.0
"""The timeout for the rest of an error page, which follows its head."""

_TARGET = re.compile(r"(?:\[(?P<literal>[^\[\]]+)\]|(?P<host>[^:\[\]]+)):(?P<port>[0-9]{1,5})")
_STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([0-9]{3})(?: ([^\r\n]*))?\r\n")
_OWN_PAGE = "This page comes from TrayProxy on this computer"
"""The beginning of the footer of each page of TrayProxy (ux §5.3)."""
_PAGE_TEXT = re.compile(r"<h1>(.*?)</h1>\s*<p>(.*?)</p>", re.DOTALL)
_PROBLEM_ID = re.compile(r"TP-[0-9]{3}")


def declare_connect(parser: VerbParser) -> None:
    """Declare ``trayproxy connect``."""
    parser.set_defaults(verb=_connect)
    parser.add_argument(
        "target",
        metavar="HOST:PORT",
        type=parse_target,
        help="an IPv6 address in brackets; names may be in brackets, too: [%%h]:%%p for ssh",
    )


def parse_target(text: str) -> str:
    """Return the target of a CONNECT, ``git.example:22`` or ``[2001:db8::1]:22``."""
    from trayproxy.profiles.profile import ProfileError
    from trayproxy.profiles.validate import check_host, check_port

    with suppress(ProfileError):
        if found := _TARGET.fullmatch(text):
            host, port = check_host(found["literal"] or found["host"]), check_port(found["port"])
            return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    raise argparse.ArgumentTypeError(
        "write a host and a port, such as git.example:22 or [2001:db8::1]:22"
    )


def _connect(paths: Paths, arguments: Arguments) -> None:
    """Copy standard input to the target, and what the target sends to standard output.

    Raises:
        CommandError: The target was not reached, or the connection was reset.
    """
    target: str = arguments.target
    try:
        input_descriptor, output_descriptor = sys.stdin.fileno(), sys.stdout.fileno()
    except UnsupportedOperation:
        raise CommandError("Standard input and standard output are needed.") from None
    with _open(local_address(paths)) as connection:
        received = _open_tunnel(connection, target)
        relay = StreamRelay(connection, input_descriptor, output_descriptor, discard_output)
        try:
            relay.run(received)
        except BrokenPipeError:
            raise
        except ConnectionError as error:
            raise _cut(target, error) from None
        except OSError as error:
            discard_output()
            raise CommandError(f"The output cannot be written: {error.strerror}.") from None


def _open(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    try:
        connection = socket.create_connection((host.strip("[]"), int(port)), _CONNECT_TIMEOUT_S)
    except OSError as error:
        reason = error.strerror or str(error)
        raise CommandError(f"TrayProxy cannot be reached at {address}: {reason}.") from None
    connection.settimeout(None)
    # Each key typed in a remote shell is sent at once.
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


def _open_tunnel(connection: socket.socket, target: str) -> bytes:
    """Open the tunnel; return the octets of the target that arrived with the response.

    TrayProxy answers each request, at the latest after the time that it grants for a sign-in.
    """
    try:
        connection.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
        head, received = _read_head(connection)
        found = _STATUS_LINE.match(head)
        if found is None:
            raise CommandError("TrayProxy sent an unexpected response.")
        if found[1].startswith(b"2"):
            return received
        page = _read_page(connection, received)
    except OSError as error:
        raise _cut(target, error) from None
    reason = (found[2] or b"").decode("latin-1")
    _refuse(target, f"{found[1].decode()} {reason}", page)


def _read_head(connection: socket.socket) -> tuple[bytes, bytes]:
    """Return the head of the response with its empty line, and the octets received after it."""
    received = b""
    while (end := received.find(b"\r\n\r\n")) < 0:
        octets = connection.recv(_CHUNK)
        if not octets or len(received) > _MAX_HEAD:
            raise ConnectionResetError("there was no complete response")
        received += octets
    return received[: end + 4], received[end + 4 :]


def _read_page(connection: socket.socket, page: bytes) -> str:
    """Return the page of a refusal as far as it arrives; TrayProxy sends it with the head."""
    connection.settimeout(_PAGE_TIMEOUT_S)
    with suppress(OSError):
        while b"</html>" not in page and len(page) < _MAX_PAGE:
            octets = connection.recv(_CHUNK)
            if not octets:
                break
            page += octets
    return page.decode("utf-8", "replace")


def _refuse(target: str, status: str, page: str) -> NoReturn:
    """Raise `CommandError` with the text of an own page of TrayProxy, otherwise with the status."""
    text = status
    if _OWN_PAGE in page and (found := _PAGE_TEXT.search(page)):
        from html import unescape

        text = f"{unescape(found[1])}. {unescape(found[2])}"
    number = _PROBLEM_ID.search(f"{status} {page}")
    code = ExitCode.FAILED
    if number is not None:
        code = exit_code_for(Problem(number[0], "", ""))
        if number[0] not in text:
            text += f" ({number[0]})"
    raise CommandError(f"{target} was not reached: {printable_line(text, 1200)}", code)


def _cut(target: str, error: OSError) -> CommandError:
    return CommandError(
        f"The connection to {target} was cut: {error.strerror or error}.", ExitCode.FAILED
    )
