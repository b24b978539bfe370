"""A real GNOME Keyring on a D-Bus session of its own, in a home of its own."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import secretstorage

# By name: jeepney has no type hints.
jeepney, blocking = import_module("jeepney"), import_module("jeepney.io.blocking")

# Without service folders: a bus that started services would start a second keyring, a locked one,
# for whoever asks before ours has taken its name, and it would outlive the test.
BUS_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>unix:dir={runtime}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/>
    <allow eavesdrop="true"/>
    <allow own="*"/>
  </policy>
</busconfig>
"""
NAME = "org.freedesktop.secrets"
DAEMON = "/usr/bin/gnome-keyring-daemon"


@dataclass(frozen=True)
class Session:
    """A D-Bus session with a GNOME Keyring.

    Attributes:
        environment: For processes that belong to it, whole.
        address: Of the bus.
        daemon: The process id of the keyring.
    """

    environment: dict[str, str]
    address: str
    daemon: int

    def lock(self) -> None:
        with closing(self._bus()) as bus:
            secretstorage.get_collection_by_alias(bus, "default").lock()

    def entries(self) -> list[tuple[str, dict[str, str]]]:
        """Return the labels and attributes of all entries, without their secrets."""
        with closing(self._bus()) as bus:
            collection = secretstorage.get_collection_by_alias(bus, "default")
            items = list(collection.get_all_items())
            return [(item.get_label(), item.get_attributes()) for item in items]

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stop the daemon for a while: it hangs, as one that is swapped out or waits does."""
        os.kill(self.daemon, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.daemon, signal.SIGCONT)

    def wait_until_it_serves(self) -> None:
        """Return when the keyring has taken its name."""
        rule = jeepney.MatchRule(
            type="signal", interface="org.freedesktop.DBus", member="NameOwnerChanged"
        )
        rule.add_arg_condition(0, NAME)
        with closing(self._bus()) as bus, bus.filter(rule) as signals:
            driver = blocking.Proxy(jeepney.message_bus, bus)
            driver.AddMatch(rule)
            if not driver.NameHasOwner(NAME)[0]:
                bus.recv_until_filtered(signals, timeout=20)

    def _bus(self) -> Any:
        return blocking.open_dbus_connection(self.address)


@contextmanager
def dbus_session(home: Path) -> Iterator[dict[str, str]]:
    """Run a session bus whose services live in a home of their own.

    Without a display, so that no prompter can appear.
    """
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
    for name in ("DATA", "CONFIG", "CACHE", "STATE"):
        environment[f"XDG_{name}_HOME"] = str(home / name.lower())
    # Not below the home: the path of a socket has at most 107 octets.
    with TemporaryDirectory(prefix="bus-") as runtime:
        environment["XDG_RUNTIME_DIR"] = runtime
        with _bus(home, environment) as address:
            yield {**environment, "DBUS_SESSION_BUS_ADDRESS": address}


@contextmanager
def _bus(home: Path, environment: dict[str, str]) -> Iterator[str]:
    """Run a bus; yield its address."""
    config = home / "bus.conf"
    config.write_text(BUS_CONFIG.format(runtime=environment["XDG_RUNTIME_DIR"]))
    bus = subprocess.Popen(
        ["dbus-daemon", f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1"],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert bus.stdout
    try:
        yield bus.stdout.readline().strip()
    finally:
        bus.terminate()
        bus.wait()
        bus.stdout.close()


@contextmanager
def gnome_keyring(home: Path) -> Iterator[Session]:
    """Run an unlocked GNOME Keyring on a bus of its own."""
    with dbus_session(home) as environment:
        daemon = subprocess.Popen(
            [DAEMON, "--foreground", "--unlock", "--components=secrets"],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            assert daemon.stdin
            daemon.stdin.write(b"unlocks it\n")
            daemon.stdin.close()
            session = Session(environment, environment["DBUS_SESSION_BUS_ADDRESS"], daemon.pid)
            session.wait_until_it_serves()
            yield session
        finally:
            daemon.kill()
            daemon.wait()
