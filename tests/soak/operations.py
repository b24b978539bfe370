"""The operations of programs, and checks of the responses."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from tests.soak.upstream import (
    BEFORE_THE_RESPONSE,
    IN_THE_RESPONSE,
    MAX_CONTENT,
    OWN_ERROR,
    Act,
    Content,
    chunks,
    reset,
)
from tests.soak.wire import SoakResponse, Wire


class UnexpectedResponseError(Exception):
    """A program received another response than expected."""


class WronglyForbiddenError(Exception):
    """A program received the error page about a request forbidden by the proxy.

    TrayProxy first assumes this reason when an upstream refuses a login that was accepted a moment
    before. The assumption is wrong if the password was changed meanwhile
    (`trayproxy.desk.machine.limits`).
    """


def unexpected(
    operation: object, response: SoakResponse
) -> UnexpectedResponseError | WronglyForbiddenError:
    """Return the error for a response other than expected."""
    if response.is_error_page and "(TP-306)" in response.reason:
        return WronglyForbiddenError(str(response))
    return UnexpectedResponseError(f"{operation}: {response}")


@dataclass
class SoakProgram:
    """A program behind the proxy, with a single operation at a time.

    Attributes:
        port: The port of the proxy.
        content: The content of all messages.
        random: Chooses sizes, orders and pauses.
        kept: The persistent connection for requests; None without one.
    """

    port: int
    content: Content
    random: Random
    kept: Wire | None = field(default=None, repr=False)

    async def wire(self) -> Wire:
        """Return the persistent connection; open it if there is none."""
        if self.kept is None:
            self.kept = await Wire.open(self.port)
        return self.kept

    async def settle(self, response: SoakResponse) -> None:
        """Close the connection if it cannot carry the next request."""
        if not response.is_complete or response.fields.get("connection", "").lower() == "close":
            await self.hang_up()

    async def hang_up(self) -> None:
        """Close the persistent connection."""
        if self.kept is not None:
            wire, self.kept = self.kept, None
            await wire.close()

    def size(self, most: int = 300_000) -> int:
        """Return a random size up to `most`; small sizes are more frequent."""
        return int(most ** self.random.random())

    async def get(self, act: Act, size: int = 0) -> SoakResponse:
        """Send a GET and return its response."""
        wire = await self.wire()
        response = await wire.exchange(get(act, size))
        await self.settle(response)
        return response

    async def tunnel(self, act: Act, early: bytes = b"") -> Wire:
        """Open a tunnel, and send its first octets together with the CONNECT."""
        wire = await Wire.open(self.port)
        host = f"{act}.soak.test:443"
        head = f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        await wire.send(head + early)
        response = await wire.response(b"CONNECT")
        if response.status != 200:
            await wire.close()
            raise unexpected(f"tunnel to {act}", response)
        return wire


def get(act: Act, size: int = 0, *fields: str) -> bytes:
    """Return the head of a GET."""
    return _head("GET", act, size, fields)


def post(act: Act, *fields: str) -> bytes:
    """Return the head of a POST."""
    return _head("POST", act, 0, fields)


def _head(method: str, act: Act, size: int, fields: Iterable[str]) -> bytes:
    lines = [f"{method} http://soak.test/{act}/{size} HTTP/1.1", "Host: soak.test", *fields]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def check_content(response: SoakResponse, content: bytes, operation: object) -> None:
    """Check for a complete response with this content."""
    if not (response.is_complete and response.status == 200 and response.content == content):
        raise unexpected(f"{operation}, not 200 with {len(content)} octets, complete", response)


def check_error_page(response: SoakResponse, operation: object) -> None:
    """Check for a 502 error page of TrayProxy."""
    if not (response.is_error_page and response.status == 502):
        raise unexpected(f"{operation}, not 502 of TrayProxy", response)


def check_incomplete(response: SoakResponse, operation: object) -> None:
    """Check for a visibly incomplete response, or a 502 error page."""
    if response.is_error_page and response.status == 502:
        return  # The fault occurred before the head was relayed.
    if response.is_complete or response.status not in (0, 200):
        raise unexpected(f"{operation}, not incomplete", response)


# --- without faults


async def download(program: SoakProgram) -> None:
    """Get content with any framing."""
    act = program.random.choice((Act.LENGTH, Act.CHUNKED, Act.UNTIL_CLOSE))
    size = program.size()
    check_content(await program.get(act, size), program.content.first(size), act)


async def empty(program: SoakProgram) -> None:
    """Get a response without content."""
    response = await program.get(Act.EMPTY)
    if response.status != 204:
        raise unexpected(Act.EMPTY, response)


async def upload(program: SoakProgram) -> None:
    """Send content with its length or in chunks, sometimes more than the replay buffer's memory."""
    content = program.content.first(program.size(MAX_CONTENT))
    wire = await program.wire()
    if program.random.random() < 0.5:
        pieces: Iterable[bytes] = chunks(content, program.random)
        head = post(Act.DIGEST, "Transfer-Encoding: chunked")
        pieces = (*pieces, b"0\r\n\r\n")
    else:
        head = post(Act.DIGEST, f"Content-Length: {len(content)}")
        pieces = (content,)
    response = await wire.exchange(head, pieces)
    await program.settle(response)
    check_content(response, sha256(content).hexdigest().encode(), "upload")


async def upload_expecting_100(program: SoakProgram) -> None:
    """Send content with an Expect field, without waiting for the 100 response (RFC 9110, section
    10.1.1)."""
    content = program.content.first(program.size())
    head = post(Act.DIGEST, f"Content-Length: {len(content)}", "Expect: 100-continue")
    wire = await program.wire()
    response = await wire.exchange(head, (content,))
    await program.settle(response)
    check_content(response, sha256(content).hexdigest().encode(), "upload that expects 100")


async def pipeline(program: SoakProgram) -> None:
    """Send several requests at once; the responses arrive in the same order."""
    sizes = [program.size(20_000) for _ in range(program.random.randint(2, 5))]
    wire = await Wire.open(program.port)
    try:
        await wire.send(b"".join(get(Act.LENGTH, size) for size in sizes))
        for number, size in enumerate(sizes):
            operation = f"response {number} of {len(sizes)} to pipelined requests"
            check_content(await wire.response(), program.content.first(size), operation)
    finally:
        await wire.close()


async def upstream_error(program: SoakProgram) -> None:
    """Get a 502 response of the upstream itself."""
    response = await program.get(Act.OWN_502)
    if not (response.is_complete and response.status == 502 and response.content == OWN_ERROR):
        raise unexpected(Act.OWN_502, response)


async def tunnel(program: SoakProgram) -> None:
    """Send octets through a tunnel, get them back, and close each direction separately."""
    content = program.content.first(program.size())
    early = program.random.choice((0, 0, 10, 2_000))
    wire = await program.tunnel(Act.ECHO, content[:early])
    try:
        await _echoed(wire, content, early)
    finally:
        await wire.close()


async def upgrade(program: SoakProgram) -> None:
    """Switch to another protocol, as WebSocket does."""
    content = program.content.first(program.size())
    wire = await Wire.open(program.port)
    try:
        await wire.send(get(Act.UPGRADE, 0, "Connection: Upgrade", "Upgrade: echo"))
        response = await wire.response()
        if response.status != 101:
            raise unexpected(Act.UPGRADE, response)
        await _echoed(wire, content, 0)
    finally:
        await wire.close()


async def _echoed(wire: Wire, content: bytes, sent: int) -> None:
    async def send() -> None:
        await wire.send(content[sent:])
        wire.writer.write_eof()

    sending = asyncio.create_task(send())
    try:
        back = await wire.reader.read(-1)
    except OSError as error:
        raise UnexpectedResponseError(f"a tunnel was reset: {error}") from error
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    if back != content:
        raise UnexpectedResponseError(
            f"{len(back)} octets of {len(content)} came back from a tunnel"
        )


# --- slow, interrupted or malformed


async def slow_reader(program: SoakProgram) -> None:
    """Read slowly with a small receive buffer; the proxy must not buffer the rest."""
    wire = await Wire.open(program.port)
    connection: socket.socket = wire.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    try:
        await wire.send(get(Act.LENGTH, MAX_CONTENT))
        # The stream reader stops reading when its buffer is full.
        await asyncio.sleep(1.0)
        check_content(await wire.response(), program.content.first(MAX_CONTENT), "slow reader")
    finally:
        await wire.close()


async def slow_writer(program: SoakProgram) -> None:
    """Send a request in small pieces."""
    wire = await Wire.open(program.port)
    request = post(Act.DIGEST, "Content-Length: 100") + program.content.first(100)
    try:
        for start in range(0, len(request), 20):
            await wire.send(request[start : start + 20])
            await asyncio.sleep(0.005)
        digest = sha256(program.content.first(100)).hexdigest().encode()
        check_content(await wire.response(), digest, "slow writer")
    finally:
        await wire.close()


async def disconnect_early(program: SoakProgram) -> None:
    """Disconnect at a random point of a request, with or without a reset."""
    wire = await Wire.open(program.port)
    requests = (
        b"",
        b"GET http://so",
        get(Act.LENGTH, MAX_CONTENT),
        get(Act.HANG_BEFORE),
        post(Act.DIGEST, "Content-Length: 200000") + program.content.first(70_000),
        post(Act.DIGEST, "Transfer-Encoding: chunked") + b"10000\r\nhalf",
        get(Act.LENGTH, 100) * 20,
    )
    await wire.send(program.random.choice(requests))
    await asyncio.sleep(program.random.choice((0, 0.001, 0.02)))
    await _disconnect(program, wire)


async def disconnect_tunnel(program: SoakProgram) -> None:
    """Disconnect from a tunnel while octets are being relayed."""
    wire = await program.tunnel(Act.ECHO)
    await wire.send(program.content.first(program.size()))
    await _disconnect(program, wire)


async def _disconnect(program: SoakProgram, wire: Wire) -> None:
    if program.random.random() < 0.5:
        reset(wire.writer)
    await wire.close()


async def malformed_request(program: SoakProgram) -> None:
    """Send a request that a proxy must refuse."""
    wire = await Wire.open(program.port)
    requests = (
        b"GET / HTTP/1.1\r\nHost: soak.test\r\n\r\n",
        b"GET http://soak.test/ HTTP/1.1\r\nHost: soak.test\r\nHost: soak.test\r\n\r\n",
        b"POST http://soak.test/ HTTP/1.1\r\nHost: soak.test\r\nContent-Length: 1, 2\r\n\r\n",
        b"hello\r\n\r\n",
    )
    try:
        request = program.random.choice(requests)
        response = await wire.exchange(request)
        if not (response.is_error_page and response.status == 400):
            raise unexpected(f"{request!r}, not 400 of TrayProxy", response)
    finally:
        await wire.close()


# --- faults of the upstream


async def fault_before(program: SoakProgram) -> None:
    """Request a fault before the response, which TrayProxy can report with an error page."""
    act = program.random.choice(BEFORE_THE_RESPONSE)
    check_error_page(await program.get(act), act)


async def fault_within(program: SoakProgram) -> None:
    """Request a fault in the middle of a response."""
    act = program.random.choice(IN_THE_RESPONSE)
    check_incomplete(await program.get(act, 100 + program.size()), act)


async def fault_in_upload(program: SoakProgram) -> None:
    """Send content to an upstream that resets the connection before it has read the content."""
    content = program.content.first(10_000 + program.size(MAX_CONTENT - 10_000))
    wire = await program.wire()
    head = post(Act.RESET_UPLOAD, f"Content-Length: {len(content)}")
    response = await wire.exchange(head, (content,))
    await program.settle(response)
    check_error_page(response, Act.RESET_UPLOAD)


async def fault_in_tunnel(program: SoakProgram) -> None:
    """Use a tunnel that the upstream closes or resets."""
    wire = await program.tunnel(program.random.choice((Act.RESET_TUNNEL, Act.CLOSE_TUNNEL)))
    try:
        await wire.send(b"anybody there?")
        if await wire.reader.read(-1):
            raise UnexpectedResponseError("a tunnel carried octets that were not sent")
    except OSError:
        pass  # The tunnel was reset.
    finally:
        await wire.close()


Operation = Callable[[SoakProgram], Awaitable[None]]

OPERATIONS: dict[Operation, int] = {
    download: 24,
    empty: 4,
    upload: 10,
    upload_expecting_100: 3,
    pipeline: 5,
    upstream_error: 3,
    tunnel: 16,
    upgrade: 4,
    slow_reader: 1,
    slow_writer: 2,
    disconnect_early: 8,
    disconnect_tunnel: 3,
    malformed_request: 2,
    fault_before: 6,
    fault_within: 6,
    fault_in_upload: 3,
    fault_in_tunnel: 4,
}
"""The relative frequency of each operation."""
