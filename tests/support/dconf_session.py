"""A real dconf on a separate session bus, in a separate home."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import run

from tests.support.bus import session_bus, wait_for_name
from tests.support.process_output import PATIENCE
from tests.support.processes import Home, running

SERVICE = "/usr/libexec/dconf-service"
"""The program that writes the database of the user."""

_NAME = "ca.desrt.dconf"


@dataclass(frozen=True, slots=True)
class DconfSession:
    """A running session.

    Attributes:
        place: Its home.
        bus: The address of its bus.
        environment: The environment of programs in the session.
    """

    place: Home
    bus: str
    environment: Mapping[str, str]

    def output(self, *argv: str | Path, **environment: str) -> str:
        """Run a command in the session; return its standard output.

        Args:
            argv: The command.
            environment: More variables.
        """
        done = run(
            argv,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=PATIENCE,
        )
        return done.stdout

    def dump(self) -> str:
        """Return all values of the user."""
        return self.output("dconf", "dump", "/")

    def load(self, values: Mapping[str, str]) -> None:
        """Set values of the user.

        Args:
            values: GVariant texts by path, ``/system/proxy/mode``.
        """
        for path, value in values.items():
            self.output("dconf", "write", path, value)

    def proxies(self, urls: Sequence[str], **desktop: str) -> list[str]:
        """Return the proxy that libproxy finds for each URL.

        Args:
            urls: The URLs.
            desktop: The variables by which libproxy recognises the desktop.
        """
        return self.output("proxy", *urls, **desktop).split()


@contextmanager
def dconf_session(place: Home) -> Iterator[DconfSession]:
    """Run a session with a bus and dconf.

    Args:
        place: The home of the session.
    """
    with session_bus(place) as bus:
        environment = place.environment(DBUS_SESSION_BUS_ADDRESS=bus)
        with running([SERVICE], env=environment, cwd=place.root):
            wait_for_name(bus, _NAME)
            yield DconfSession(place, bus, environment)
