"""The further listeners, with fake sockets, addresses and keyring."""

import asyncio
import errno
import logging
from collections.abc import Callable
from concurrent.futures import Future
from ipaddress import ip_address, ip_network
from typing import Any

import pytest

from tests.engine.fakes import FakeRoutes
from tests.service.fake_process_names import FakeProcessNames
from trayproxy.auth.login import Login
from trayproxy.control.messages import FurtherListener, RefusedDevices
from trayproxy.desk.credential_store import LookupResult
from trayproxy.desktop.network_change.base import NullNetworkWatch
from trayproxy.desktop.virtual_adapters.base import AdapterAddress
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus
from trayproxy.engine.server.listener_use import ListenerUse
from trayproxy.engine.server.network_access import NetworkAccess
from trayproxy.http.target import Authority
from trayproxy.profiles.config import Config, Forward, ListenAddress
from trayproxy.profiles.profile import Profile
from trayproxy.service import further_listeners
from trayproxy.service.further_listeners import NO_PASSWORD, FurtherListeners, ListenerParts
from trayproxy.service.refused_devices import RefusedDeviceCounter

GIT = Forward("127.0.0.1", 2222, "git.example", 22)
MAIL = Forward("127.0.0.1", 2525, "mail.example", 25)
DEVICES = ListenAddress(devices=("192.168.1.0/24",))
TAKEN = OSError(errno.EADDRINUSE, "Address already in use")


class FakeKeyring:
    """A keyring with a password for other devices, or none."""

    def __init__(self) -> None:
        self.password = ""
        self.watchers: list[Callable[[KeyringStatus], None]] = []
        self.reads = 0

    def find(self, profile: Profile, user: str = "") -> Future[LookupResult]:
        self.reads += 1
        login = Login(user, self.password) if self.password else None
        return done(LookupResult(login, KeyringStatus(KeyringState.OK)))

    def save(self, profile: Profile, login: Login) -> Future[Problem | None]:
        self.password = login.password
        return done(None)

    def forget(self, profile: Profile) -> Future[Problem | None]:
        self.password = ""
        return done(None)

    @property
    def watch(self) -> Callable[[Callable[[KeyringStatus], None]], None]:
        return self.watchers.append


def done(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


class ListenersHarness:
    """Further listeners and everything around them. It is created on a running event loop.

    Attributes:
        open: The uses of the open listeners, by address.
        errors: The addresses that cannot be listened on.
        published: The listeners last published.
    """

    def __init__(self) -> None:
        self.open: dict[tuple[str, int], ListenerUse] = {}
        self.errors: dict[tuple[str, int], OSError] = {}
        self.keyring = FakeKeyring()
        self.published: tuple[FurtherListener, ...] = ()
        self.refused: list[RefusedDevices] = []
        self.addresses = [lan("192.168.1.5")]
        self.closed: list[ListenerUse] = []
        self.changes = 0
        self._was_published = asyncio.Event()
        access: Any = "own programs"
        self.listeners = FurtherListeners(
            asyncio.get_running_loop(),
            ListenerParts(
                self,
                lambda: 3128,
                access,
                FakeRoutes(None),
                self.keyring,
                FakeProcessNames(),
                self._publish,
                self.refused.append,
                lambda use, keeps: self.closed.append(use),
                self._changed,
                lambda: tuple(self.addresses),
                lambda loop, on_change: NullNetworkWatch(),
            ),
        )

    def add(self, host: str, port: int, use: ListenerUse) -> tuple[str, int]:
        if (host, port) in self.errors:
            raise self.errors[host, port]
        assert (host, port) not in self.open
        self.open[host, port] = use
        return host, port

    def remove(self, address: tuple[str, int]) -> None:
        del self.open[address]

    def _publish(self, listeners: tuple[FurtherListener, ...]) -> None:
        self.published = listeners
        self._was_published.set()

    def _changed(self) -> None:
        self.changes += 1

    async def apply(self, config: Config) -> None:
        self.listeners.apply(config)
        await self.listeners.wait()

    async def update(self) -> None:
        self.listeners.update()
        await self.listeners.wait()

    async def solved(self) -> None:
        """Wait until no listener has a problem."""
        async with asyncio.timeout(5):
            while self.problems:
                self._was_published.clear()
                await self._was_published.wait()

    @property
    def problems(self) -> dict[str, str]:
        """The titles of the problems, by address."""
        return {one.address: one.problem.title for one in self.published if one.problem}


def lan(address: str) -> AdapterAddress:
    return AdapterAddress("eth0", ip_address(address), ip_network(f"{address}/24", strict=False))


async def test_forwards_follow_the_settings() -> None:
    harness = ListenersHarness()
    await harness.apply(Config(forwards=(GIT, MAIL)))
    assert set(harness.open) == {("127.0.0.1", 2222), ("127.0.0.1", 2525)}
    use = harness.open["127.0.0.1", 2222]
    assert use.target == Authority("git.example", 22)
    assert str(use.access_control) == "own programs"
    assert [one.to for one in harness.published] == ["git.example:22", "mail.example:25"]
    kept = harness.open["127.0.0.1", 2525]
    await harness.apply(Config(forwards=(Forward("127.0.0.1", 2222, "other.example", 22), MAIL)))
    assert harness.open["127.0.0.1", 2222].target == Authority("other.example", 22)
    assert harness.open["127.0.0.1", 2525] is kept
    await harness.apply(Config())
    assert (harness.open, harness.published) == ({}, ())
    assert harness.changes == 3
    assert not harness.closed


async def test_a_taken_port_is_reported_and_tried_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(further_listeners, "RETRY_INTERVAL_S", 0.001)
    harness = ListenersHarness()
    harness.errors["127.0.0.1", 2222] = TAKEN
    with caplog.at_level(logging.WARNING):
        await harness.apply(Config(forwards=(GIT, MAIL)))
        assert set(harness.open) == {("127.0.0.1", 2525)}
        assert harness.problems == {"127.0.0.1:2222": "Port 2222 is taken"}
        problem = harness.published[0].problem
        assert problem is not None
        assert problem.id == "TP-113"
        assert "already uses 127.0.0.1:2222" in problem.body
        await harness.update()
        assert len(caplog.records) == 1
    del harness.errors["127.0.0.1", 2222]
    await harness.solved()
    assert len(harness.open) == 2
    harness.listeners.close()


async def test_listeners_for_devices_follow_the_addresses_of_the_computer() -> None:
    harness = ListenersHarness()
    await harness.apply(Config(DEVICES))
    assert set(harness.open) == {("192.168.1.5", 3128)}
    use = harness.open["192.168.1.5", 3128]
    access = use.access_control
    assert isinstance(access, NetworkAccess)
    assert access.networks == (ip_network("192.168.1.0/24"),)
    harness.addresses = [lan("192.168.1.77")]
    await harness.update()
    assert set(harness.open) == {("192.168.1.77", 3128)}
    assert [one.address for one in harness.published] == ["192.168.1.77:3128"]
    assert harness.closed == [use]
    # The list of devices changes without another listener.
    use = harness.open["192.168.1.77", 3128]
    harness.closed.clear()
    await harness.apply(Config(ListenAddress(devices=("192.168.1.9",))))
    assert harness.open == {("192.168.1.77", 3128): use}
    assert isinstance(use.access_control, NetworkAccess)
    assert use.access_control.networks == (ip_network("192.168.1.9/32"),)
    assert harness.closed == [use]
    assert [one.to for one in harness.published] == ["192.168.1.9"]


async def test_devices_wait_for_a_password_that_is_required() -> None:
    harness = ListenersHarness()
    config = Config(ListenAddress(devices=DEVICES.devices, devices_password=True), forwards=(GIT,))
    await harness.apply(config)
    assert set(harness.open) == {("127.0.0.1", 2222)}
    assert harness.problems == {"192.168.1.5:3128": NO_PASSWORD.title}
    # Another program unlocks the keyring.
    harness.keyring.password = "lock"
    (watcher,) = harness.keyring.watchers
    watcher(KeyringStatus(KeyringState.OK))
    await harness.solved()
    verify = harness.open["192.168.1.5", 3128].verify
    assert verify is not None
    assert verify(b"any", b"lock")
    assert not verify(b"any", b"key")
    # A new password is valid at once, also for connections that are open.
    assert await harness.listeners.save_password(Login("", "key")) is None
    await harness.listeners.wait()
    assert verify(b"any", b"key")
    assert not verify(b"any", b"lock")
    # Without a password, no device is served.
    assert await harness.listeners.save_password(None) is None
    await harness.listeners.wait()
    assert not verify(b"any", b"")


async def test_refused_devices_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    now = 0.0
    totals: list[RefusedDevices] = []
    counter = RefusedDeviceCounter(lambda: now, totals.append)
    with caplog.at_level(logging.WARNING):
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2"):
            counter.record(address)
        assert len(caplog.records) == 2
        now = 60.0
        counter.record("192.0.2.1")
        assert len(caplog.records) == 3
    assert [(one.count, one.address) for one in totals] == [
        (1, "192.0.2.1"),
        (2, "192.0.2.1"),
        (3, "192.0.2.2"),
        (4, "192.0.2.1"),
    ]
