import asyncio
import socket
import subprocess
import sys
from asyncio import AbstractEventLoop
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.engine.driving import drive, pause
from tests.engine.running import LOOPS
from tests.support.namespaces import ALONE, skip_without_namespaces
from trayproxy.engine.net.fd_task import run_in_task
from trayproxy.engine.net.resolver import (
    CACHE_S,
    MAX_CACHED_NAMES,
    Address,
    Resolver,
    literal_address,
)

T = TypeVar("T")


class FakeNameServer:
    """A stand-in for an event loop, with the responses of a name server.

    Attributes:
        asked: The names and ports of all queries.
        now: The time.
    """

    def __init__(self, *answers: list[Address] | OSError | None) -> None:
        self.asked: list[tuple[bytes, int]] = []
        self.now = 0.0
        self._answers = list(answers)

    def time(self) -> float:
        return self.now

    def create_task(self, coroutine: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        return self._loop.create_task(coroutine)

    async def getaddrinfo(self, host: bytes, port: int, *, type: int) -> list[Any]:
        self.asked.append((host, port))
        answer = self._answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        if answer is None:
            await self._loop.create_future()
        return [(family, type, 0, "", address) for family, address in answer or ()]

    def on(self, loop: AbstractEventLoop) -> "FakeNameServer":
        self._loop = loop
        return self


V4: list[Address] = [(socket.AF_INET, (f"192.0.2.{n}", 80)) for n in (1, 2, 3)]
V6: list[Address] = [(socket.AF_INET6, (f"2001:db8::{n}", 80, 0, 0)) for n in (1, 2)]


def make_resolver(name_server: FakeNameServer, loop: AbstractEventLoop) -> Resolver:
    return Resolver(name_server.on(loop))  # type: ignore[arg-type]  # `Resolver` uses only these methods.


@pytest.mark.parametrize(
    ("host", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("::1", socket.AF_INET6),
        ("::ffff:127.0.0.1", socket.AF_INET6),
    ],
)
def test_an_ip_literal_is_resolved_without_a_look_up(
    host: str, family: socket.AddressFamily
) -> None:
    ((found, address),) = literal_address(host, 80)
    assert (found, address[:2]) == (family, (host, 80))


@pytest.mark.unix
def test_an_ipv6_literal_may_contain_a_zone() -> None:
    index = socket.if_nametoindex("lo")
    for zone in ("lo", str(index)):
        ((family, address),) = literal_address(f"fe80::1%{zone}", 80)
        assert (family, address) == (socket.AF_INET6, ("fe80::1", 80, 0, index))
    ((_, address),) = literal_address("fe80::1%no-such-interface", 80)
    assert address[3] not in {number for number, _ in socket.if_nameindex()} | {0}
    assert literal_address("127.0.0.1%lo", 80) == ()


@pytest.fixture
def namespace() -> Sequence[str]:
    """The command line that runs a program in network namespaces of its own."""
    skip_without_namespaces()
    return ALONE


def test_an_upstream_with_a_zone_in_its_address_is_reached(namespace: Sequence[str]) -> None:
    """Also with uvloop, whose resolver drops the zone."""
    result = subprocess.run(
        [*namespace, sys.executable, "-m", "tests.engine.zoned_upstream"],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
    )
    zones = {"%near": 200, "%25near": 200, "%NUMBER": 200, "%nowhere": 502}
    expected = [f"{name} {zone} {code}" for name in LOOPS for zone, code in zones.items()]
    assert result.stdout.splitlines() == expected, result.stderr


@pytest.mark.parametrize("host", ["127.1", "2130706433", "0x7f.1", "localhost", "127.0.0.1.", ""])
def test_a_text_similar_to_an_ip_literal_is_a_name(host: str) -> None:
    assert literal_address(host, 80) == ()


def test_address_families_are_interleaved(loop: AbstractEventLoop) -> None:
    """RFC 8305, section 4."""
    name_server = FakeNameServer([*V6, *V4])
    found = drive(loop, make_resolver(name_server, loop).look_up("a.test", 80, pause, 5.0))
    assert found == (V6[0], V4[0], V6[1], V4[1], V4[2])


def test_results_are_cached_for_some_seconds(loop: AbstractEventLoop) -> None:
    name_server = FakeNameServer(V4, V4[:1])
    resolver = make_resolver(name_server, loop)
    for now in (0.0, CACHE_S / 2, CACHE_S + 1):
        name_server.now = now
        found = drive(loop, resolver.look_up("a.test", 80, pause, 5.0))
    assert len(name_server.asked) == 2
    assert found == (V4[0],)


def test_the_cache_is_limited(loop: AbstractEventLoop) -> None:
    resolver = make_resolver(FakeNameServer(*[V4] * (MAX_CACHED_NAMES + 1)), loop)
    names = [f"{number}.test" for number in range(MAX_CACHED_NAMES + 1)]
    cached: list[str] = []
    for name in names:
        assert len(cached) <= MAX_CACHED_NAMES
        drive(loop, resolver.look_up(name, 80, pause, 5.0))
        cached = [name for name in names if resolver.known(name, 80)]
    # A full cache is emptied before the next result is stored.
    assert cached == names[-1:]


def test_forget_discards_cached_names(loop: AbstractEventLoop) -> None:
    name_server = FakeNameServer(V4, V4)
    resolver = make_resolver(name_server, loop)
    for _ in range(2):
        drive(loop, resolver.look_up("a.test", 80, pause, 5.0))
        resolver.forget()
    assert len(name_server.asked) == 2


def test_a_silent_name_server_is_a_timeout(loop: AbstractEventLoop) -> None:
    with pytest.raises(socket.gaierror):
        drive(loop, make_resolver(FakeNameServer(None), loop).look_up("a.test", 80, pause, 0.05))


def test_concurrent_look_ups_share_a_query(loop: AbstractEventLoop) -> None:
    """Each query would occupy one of the few threads of the loop's executor."""
    name_server = FakeNameServer(V4)
    resolver = make_resolver(name_server, loop)

    async def look_up_concurrently() -> list[tuple[Address, ...]]:
        look_ups = (resolver.look_up("a.test", 80, pause, 5.0) for _ in range(50))
        return await asyncio.gather(*map(run_in_task, look_ups))

    assert loop.run_until_complete(look_up_concurrently()) == [tuple(V4)] * 50
    assert len(name_server.asked) == 1


def test_concurrent_look_ups_share_a_failure(loop: AbstractEventLoop) -> None:
    name_server = FakeNameServer(socket.gaierror(socket.EAI_NONAME, "unknown"))
    resolver = make_resolver(name_server, loop)

    async def look_up_concurrently() -> list[object]:
        look_ups = (resolver.look_up("a.test", 80, pause, 5.0) for _ in range(3))
        return await asyncio.gather(*map(run_in_task, look_ups), return_exceptions=True)

    assert [type(each) for each in loop.run_until_complete(look_up_concurrently())] == [
        socket.gaierror
    ] * 3
    assert len(name_server.asked) == 1


def test_a_cancelled_look_up_does_not_cancel_the_shared_query(loop: AbstractEventLoop) -> None:
    name_server = FakeNameServer(None)
    resolver = make_resolver(name_server, loop)

    async def three() -> list[object]:
        limits = (0.02, 5.0, 0.02)
        look_ups = (resolver.look_up("a.test", 80, pause, limit) for limit in limits)
        tasks = [asyncio.ensure_future(run_in_task(look_up)) for look_up in look_ups]
        await asyncio.wait((tasks[0], tasks[2]))
        assert not tasks[1].done()
        tasks[1].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    kinds = [type(each) for each in loop.run_until_complete(three())]
    assert kinds == [socket.gaierror, asyncio.CancelledError, socket.gaierror]
    assert len(name_server.asked) == 1


def test_after_a_timeout_a_new_query_is_sent(loop: AbstractEventLoop) -> None:
    name_server = FakeNameServer(None, V4)
    resolver = make_resolver(name_server, loop)

    async def look_up_twice() -> tuple[Address, ...]:
        patient = asyncio.ensure_future(run_in_task(resolver.look_up("a.test", 80, pause, 5.0)))
        with pytest.raises(socket.gaierror):
            await run_in_task(resolver.look_up("a.test", 80, pause, 0.02))
        found = await run_in_task(resolver.look_up("a.test", 80, pause, 5.0))
        patient.cancel()
        await asyncio.wait((patient,))
        return found

    assert loop.run_until_complete(look_up_twice()) == tuple(V4)
    assert len(name_server.asked) == 2


def test_an_unknown_name_is_not_cached(loop: AbstractEventLoop) -> None:
    name_server = FakeNameServer(socket.gaierror(socket.EAI_NONAME, "unknown"), V4)
    resolver = make_resolver(name_server, loop)
    with pytest.raises(socket.gaierror):
        drive(loop, resolver.look_up("a.test", 80, pause, 5.0))
    assert drive(loop, resolver.look_up("a.test", 80, pause, 5.0))


def test_localhost_is_resolved(loop: AbstractEventLoop) -> None:
    found = drive(loop, Resolver(loop).look_up("localhost", 80, pause, 5.0))
    assert {address[0] for _, address in found} <= {"127.0.0.1", "::1"}
