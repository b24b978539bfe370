"""The listeners of an engine, with fake sockets."""

import errno
import logging
from ipaddress import IPv4Address, IPv6Address
from types import SimpleNamespace
from typing import Any

import pytest

from trayproxy.engine.context import OwnAddress
from trayproxy.engine.server import listener
from trayproxy.engine.server.listener import Listeners

TAKEN = OSError(errno.EADDRINUSE, "Address already in use")
NO_IPV6 = OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
ANY_PORT = 40_000


class ListenersScenario:
    """Listeners, and the addresses of the system.

    Attributes:
        errors: The addresses that cannot be listened on.
        open: The addresses listened on, which are also watched by the executor.
        listeners: The listeners.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, host: str, port: int) -> None:
        self.errors: dict[tuple[str, int], OSError] = {}
        self.open: list[tuple[str, int]] = []
        self.is_accepting = True
        self.own_address = OwnAddress(host, port)
        monkeypatch.setattr(listener, "Listener", self._listener)
        executor: Any = SimpleNamespace(
            add_listener=lambda found, use: self.open.append(found.getsockname()),
            remove_listener=lambda found: self.open.remove(found.getsockname()),
            stop_accepting=self._stop_accepting,
        )
        flags: Any = None
        use: Any = None
        self.listeners = Listeners(executor, flags, self.own_address, use)
        self.shut_down: list[tuple[str, int]] = []

    def _stop_accepting(self) -> None:
        self.is_accepting = False

    def _listener(self, hostname: IPv4Address | IPv6Address, port: int, *, flags: object) -> Any:
        address = (str(hostname), port or ANY_PORT)

        def setup() -> None:
            if address in self.errors:
                raise self.errors[address]

        return SimpleNamespace(
            setup=setup,
            shutdown=lambda: self.shut_down.append(address),
            _socket=SimpleNamespace(getsockname=lambda: address),
        )


@pytest.mark.parametrize(
    ("host", "others"), [("127.0.0.1", ["::1"]), ("::1", ["127.0.0.1"]), ("192.0.2.7", [])]
)
@pytest.mark.parametrize(("own", "wanted"), [(3128, None), (0, None), (3128, 3129), (0, 0)])
def test_both_loopback_addresses_are_listened_on_with_one_port(
    monkeypatch: pytest.MonkeyPatch, host: str, others: list[str], own: int, wanted: int | None
) -> None:
    scenario = ListenersScenario(monkeypatch, host, own)
    assert scenario.listeners.listen_on_other_loopback() == ""
    assert scenario.open == []
    scenario.listeners.listen(wanted)
    port = wanted or own or ANY_PORT
    assert scenario.own_address.port == port
    assert scenario.open == [(host, port), *((other, port) for other in others)]
    assert scenario.listeners.listen_on_other_loopback() == ""
    scenario.listeners.close()
    assert (scenario.shut_down, scenario.is_accepting) == (scenario.open, False)


@pytest.mark.parametrize(("error", "taken"), [(TAKEN, "[::1]:3128"), (NO_IPV6, "")])
def test_the_other_loopback_address_is_used_once_it_is_free(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: OSError, taken: str
) -> None:
    scenario = ListenersScenario(monkeypatch, "127.0.0.1", 3128)
    scenario.errors["::1", 3128] = error
    with caplog.at_level(logging.WARNING):
        scenario.listeners.listen()
    assert bool(caplog.messages) is bool(taken)
    assert scenario.listeners.listen_on_other_loopback() == taken
    assert scenario.open == [("127.0.0.1", 3128)]
    scenario.errors.clear()
    for _ in range(2):
        assert scenario.listeners.listen_on_other_loopback() == ""
        assert scenario.open == [("127.0.0.1", 3128), ("::1", 3128)]


def test_another_port_is_listened_on_instead(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = ListenersScenario(monkeypatch, "127.0.0.1", 3128)
    scenario.listeners.listen()
    before = list(scenario.open)
    scenario.listeners.move(3129)
    assert scenario.open == [("127.0.0.1", 3129), ("::1", 3129)]
    assert (scenario.own_address.port, scenario.shut_down) == (3129, before)


def test_the_old_port_stays_if_the_new_port_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = ListenersScenario(monkeypatch, "127.0.0.1", 3128)
    scenario.listeners.listen()
    before = list(scenario.open)
    scenario.errors["127.0.0.1", 3129] = TAKEN
    with pytest.raises(OSError, match="in use"):
        scenario.listeners.move(3129)
    assert scenario.listeners.listen_on_other_loopback() == ""
    assert (scenario.own_address.port, scenario.open, scenario.shut_down) == (3128, before, [])
    scenario.listeners.close()
    assert scenario.shut_down == before
