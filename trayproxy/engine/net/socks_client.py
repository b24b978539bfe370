"""Runs the dialogues of SOCKS5 over a connection."""

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from trayproxy.engine.net.fd_task import READ, WRITE
from trayproxy.engine.net.handshake_error import HandshakeTimeoutError
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.net.socks5 import SocksDialogue

T = TypeVar("T")

Wait = Callable[[dict[int, int]], Coroutine[Any, Any, None]]
"""Waits until one of the events occurs, which are descriptors with their masks; raises
`HandshakeTimeoutError` after the time limit."""


class SocksConnectionLostError(Exception):
    """The server has closed or reset the connection during a dialogue."""


class ResponsePendingError(BaseException):
    """The wait was ended, for a reason, while the response to a login is pending."""

    def __init__(self, reason: BaseException) -> None:
        super().__init__("the response to the login is pending")
        self.reason = reason


async def run_dialogue(
    dialogue: SocksDialogue[T],
    stream: SocketStream,
    wait: Wait,
    before_login: Callable[[], None],
) -> T:
    """Run a dialogue over a stream, and return its result. Call `before_login` before a login is
    sent.

    Raises:
        SocksConnectionLostError: The server has closed the connection.
        HandshakeTimeoutError: The server does not respond.
        ResponsePendingError: `wait` has raised another exception while the response to a login is
            pending.
    """
    try:
        step = next(dialogue)
        while True:
            if step.sends_login:
                before_login()
            await _send(stream, step.send, wait)
            try:
                octets = await _receive(stream, step.read, wait)
            except (SocksConnectionLostError, HandshakeTimeoutError):
                raise
            except BaseException as error:
                if step.sends_login:
                    raise ResponsePendingError(error) from None
                raise
            step = dialogue.send(octets)
    except StopIteration as stop:
        result: T = stop.value
        return result


async def _send(stream: SocketStream, octets: bytes, wait: Wait) -> None:
    rest = memoryview(octets)
    while rest:
        try:
            rest = rest[stream.send(rest) :]
        except OSError as error:
            raise SocksConnectionLostError from error
        if rest:
            await wait({stream.descriptor: WRITE})


async def _receive(stream: SocketStream, count: int, wait: Wait) -> bytes:
    """Return exactly `count` octets; further octets stay in the inbox of the stream."""
    while len(stream.inbox) < count:
        try:
            has_more = stream.fill()
        except OSError as error:
            raise SocksConnectionLostError from error
        if stream.ended:
            raise SocksConnectionLostError
        if not has_more:
            await wait({stream.descriptor: READ})
    octets = bytes(stream.inbox[:count])
    del stream.inbox[:count]
    return octets
