"""What programs do through the proxy, well-behaved ones and others, and what they must be told."""

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random

from tests.soak.upstream import (
    BEFORE_THE_ANSWER,
    IN_THE_ANSWER,
    MOST,
    OWN_ERROR,
    Act,
    Content,
    chunks,
    reset,
)
from tests.soak.wire import Answer, Wire


class UntoldError(Exception):
    """A program was not told what it should have been."""


class MistakenError(Exception):
    """A program was told that the proxy forbids its request.

    That is TrayProxy's first thought when a login is refused that was right a moment ago, and it is
    mistaken when the password was changed just then (`trayproxy.desk.machine.limits`).
    """


def untold(what: object, answer: Answer) -> UntoldError | MistakenError:
    """Return the error for an answer that is not what it should be."""
    if answer.is_ours and "(TP-306)" in answer.reason:
        return MistakenError(str(answer))
    return UntoldError(f"{what}: {answer}")


@dataclass
class Program:
    """A program that uses the proxy, one thing after the other.

    Attributes:
        port: Where the proxy listens.
        content: What all bodies are the beginning of.
        random: Draws what is not said.
        kept: Its connection for plain requests, if it has one.
    """

    port: int
    content: Content
    random: Random
    kept: Wire | None = field(default=None, repr=False)

    async def wire(self) -> Wire:
        """Return its connection for plain requests, a new one if need be."""
        if self.kept is None:
            self.kept = await Wire.open(self.port)
        return self.kept

    async def settle(self, answer: Answer) -> None:
        """Keep the connection for the next request if it may be kept."""
        if not answer.whole or answer.fields.get("connection", "").lower() == "close":
            await self.hang_up()

    async def hang_up(self) -> None:
        """Close its connection."""
        if self.kept is not None:
            wire, self.kept = self.kept, None
            await wire.close()

    def size(self, most: int = 300_000) -> int:
        """Draw a size: most are small."""
        return int(most ** self.random.random())

    async def ask(self, act: Act, size: int = 0) -> Answer:
        """Send a GET and return its answer."""
        wire = await self.wire()
        answer = await wire.exchange(get(act, size))
        await self.settle(answer)
        return answer

    async def tunnel(self, act: Act, early: bytes = b"") -> Wire:
        """Open a tunnel, and send the first octets of what goes into it along with the CONNECT."""
        wire = await Wire.open(self.port)
        host = f"{act}.soak.test:443"
        head = f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        await wire.send(head + early)
        answer = await wire.answer(b"CONNECT")
        if answer.status != 200:
            await wire.close()
            raise untold(f"tunnel to {act}", answer)
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


def must_be(answer: Answer, body: bytes, what: object) -> None:
    """Check that an answer is whole and right."""
    if not (answer.whole and answer.status == 200 and answer.body == body):
        raise untold(f"{what}, not 200 with {len(body)} octets, whole", answer)


def must_be_told(answer: Answer, what: object) -> None:
    """Check that an answer is TrayProxy's own, and says what went wrong."""
    if not (answer.is_ours and answer.status == 502):
        raise untold(f"{what}, not 502 of TrayProxy", answer)


def must_be_cut(answer: Answer, what: object) -> None:
    """Check that an answer is visibly no whole one."""
    if answer.is_ours and answer.status == 502:
        return  # The fault came before the head had been passed on.
    if answer.whole or answer.status not in (0, 200):
        raise untold(f"{what}, not cut", answer)


# --- well-behaved


async def download(program: Program) -> None:
    """Get a body of any framing."""
    act = program.random.choice((Act.LENGTH, Act.CHUNKED, Act.UNTIL_CLOSE))
    size = program.size()
    must_be(await program.ask(act, size), program.content.first(size), act)


async def nothing(program: Program) -> None:
    """Get an answer without a body."""
    answer = await program.ask(Act.EMPTY)
    if answer.status != 204:
        raise untold(Act.EMPTY, answer)


async def upload(program: Program) -> None:
    """Send a body, with its length or in chunks, now and then one that does not fit into memory."""
    body = program.content.first(program.size(MOST))
    wire = await program.wire()
    if program.random.random() < 0.5:
        pieces: Iterable[bytes] = chunks(body, program.random)
        head = post(Act.DIGEST, "Transfer-Encoding: chunked")
        pieces = (*pieces, b"0\r\n\r\n")
    else:
        head = post(Act.DIGEST, f"Content-Length: {len(body)}")
        pieces = (body,)
    answer = await wire.exchange(head, pieces)
    await program.settle(answer)
    must_be(answer, sha256(body).hexdigest().encode(), "upload")


async def polite_upload(program: Program) -> None:
    """Send a body without waiting for the 100 that was asked for (RFC 9110, section 10.1.1)."""
    body = program.content.first(program.size())
    head = post(Act.DIGEST, f"Content-Length: {len(body)}", "Expect: 100-continue")
    wire = await program.wire()
    answer = await wire.exchange(head, (body,))
    await program.settle(answer)
    must_be(answer, sha256(body).hexdigest().encode(), "upload that expects 100")


async def pipeline(program: Program) -> None:
    """Send requests without waiting; their answers come in order."""
    sizes = [program.size(20_000) for _ in range(program.random.randint(2, 5))]
    wire = await Wire.open(program.port)
    try:
        await wire.send(b"".join(get(Act.LENGTH, size) for size in sizes))
        for number, size in enumerate(sizes):
            what = f"answer {number} of {len(sizes)} to pipelined requests"
            must_be(await wire.answer(), program.content.first(size), what)
    finally:
        await wire.close()


async def other_error(program: Program) -> None:
    """Get an error that is the upstream's."""
    answer = await program.ask(Act.OWN_502)
    if not (answer.whole and answer.status == 502 and answer.body == OWN_ERROR):
        raise untold(Act.OWN_502, answer)


async def tunnel(program: Program) -> None:
    """Send octets through a tunnel and get them back, and end it side by side."""
    body = program.content.first(program.size())
    early = program.random.choice((0, 0, 10, 2_000))
    wire = await program.tunnel(Act.ECHO, body[:early])
    try:
        await _echoed(wire, body, early)
    finally:
        await wire.close()


async def upgrade(program: Program) -> None:
    """Switch to another protocol, as WebSocket does."""
    body = program.content.first(program.size())
    wire = await Wire.open(program.port)
    try:
        await wire.send(get(Act.UPGRADE, 0, "Connection: Upgrade", "Upgrade: echo"))
        answer = await wire.answer()
        if answer.status != 101:
            raise untold(Act.UPGRADE, answer)
        await _echoed(wire, body, 0)
    finally:
        await wire.close()


async def _echoed(wire: Wire, body: bytes, sent: int) -> None:
    async def send() -> None:
        await wire.send(body[sent:])
        wire.writer.write_eof()

    sending = asyncio.create_task(send())
    try:
        back = await wire.reader.read(-1)
    except OSError as error:
        raise UntoldError(f"a tunnel was reset: {error}") from error
    finally:
        sending.cancel()
        await asyncio.wait([sending])
    if back != body:
        raise UntoldError(f"{len(back)} octets of {len(body)} came back from a tunnel")


# --- slow or rude


async def slow_reader(program: Program) -> None:
    """Read slowly, with little room: nobody may buffer the rest."""
    wire = await Wire.open(program.port)
    connection: socket.socket = wire.writer.get_extra_info("socket")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
    try:
        await wire.send(get(Act.LENGTH, MOST))
        # What is not taken from the reader fills it, and it stops reading.
        await asyncio.sleep(1.0)
        must_be(await wire.answer(), program.content.first(MOST), "slow reader")
    finally:
        await wire.close()


async def slow_writer(program: Program) -> None:
    """Send a request in small pieces."""
    wire = await Wire.open(program.port)
    request = post(Act.DIGEST, "Content-Length: 100") + program.content.first(100)
    try:
        for start in range(0, len(request), 20):
            await wire.send(request[start : start + 20])
            await asyncio.sleep(0.005)
        digest = sha256(program.content.first(100)).hexdigest().encode()
        must_be(await wire.answer(), digest, "slow writer")
    finally:
        await wire.close()


async def leave_early(program: Program) -> None:
    """Leave at any moment, politely or not, and with anything under way."""
    wire = await Wire.open(program.port)
    requests = (
        b"",
        b"GET http://so",
        get(Act.LENGTH, MOST),
        get(Act.HANG_BEFORE),
        post(Act.DIGEST, "Content-Length: 200000") + program.content.first(70_000),
        post(Act.DIGEST, "Transfer-Encoding: chunked") + b"10000\r\nhalf",
        get(Act.LENGTH, 100) * 20,
    )
    await wire.send(program.random.choice(requests))
    await asyncio.sleep(program.random.choice((0, 0.001, 0.02)))
    await _leave(program, wire)


async def leave_tunnel(program: Program) -> None:
    """Leave a tunnel with octets on their way."""
    wire = await program.tunnel(Act.ECHO)
    await wire.send(program.content.first(program.size()))
    await _leave(program, wire)


async def _leave(program: Program, wire: Wire) -> None:
    if program.random.random() < 0.5:
        reset(wire.writer)
    await wire.close()


async def nonsense(program: Program) -> None:
    """Send what is no request that a proxy passes on."""
    wire = await Wire.open(program.port)
    requests = (
        b"GET / HTTP/1.1\r\nHost: soak.test\r\n\r\n",
        b"GET http://soak.test/ HTTP/1.1\r\nHost: soak.test\r\nHost: soak.test\r\n\r\n",
        b"POST http://soak.test/ HTTP/1.1\r\nHost: soak.test\r\nContent-Length: 1, 2\r\n\r\n",
        b"hello\r\n\r\n",
    )
    try:
        request = program.random.choice(requests)
        answer = await wire.exchange(request)
        if not (answer.is_ours and answer.status == 400):
            raise untold(f"{request!r}, not 400 of TrayProxy", answer)
    finally:
        await wire.close()


# --- faults of the upstream


async def fault_before(program: Program) -> None:
    """Ask for a fault that leaves room to be told."""
    act = program.random.choice(BEFORE_THE_ANSWER)
    must_be_told(await program.ask(act), act)


async def fault_within(program: Program) -> None:
    """Ask for a fault in the middle of an answer."""
    act = program.random.choice(IN_THE_ANSWER)
    must_be_cut(await program.ask(act, 100 + program.size()), act)


async def fault_in_upload(program: Program) -> None:
    """Send a body to an upstream that resets the connection in the middle of it."""
    body = program.content.first(10_000 + program.size(MOST - 10_000))
    wire = await program.wire()
    head = post(Act.RESET_UPLOAD, f"Content-Length: {len(body)}")
    answer = await wire.exchange(head, (body,))
    await program.settle(answer)
    must_be_told(answer, Act.RESET_UPLOAD)


async def fault_in_tunnel(program: Program) -> None:
    """Use a tunnel whose far end goes away."""
    wire = await program.tunnel(program.random.choice((Act.RESET_TUNNEL, Act.CLOSE_TUNNEL)))
    try:
        await wire.send(b"anybody there?")
        if await wire.reader.read(-1):
            raise UntoldError("octets from nowhere in a tunnel")
    except OSError:
        pass  # That is what it looks like.
    finally:
        await wire.close()


Operation = Callable[[Program], Awaitable[None]]

OPERATIONS: dict[Operation, int] = {
    download: 24,
    nothing: 4,
    upload: 10,
    polite_upload: 3,
    pipeline: 5,
    other_error: 3,
    tunnel: 16,
    upgrade: 4,
    slow_reader: 1,
    slow_writer: 2,
    leave_early: 8,
    leave_tunnel: 3,
    nonsense: 2,
    fault_before: 6,
    fault_within: 6,
    fault_in_upload: 3,
    fault_in_tunnel: 4,
}
"""How often each is drawn, in proportion."""
