"""A real GNOME Keyring on a separate D-Bus session bus, in a separate home."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from time import monotonic

import secretstorage
from jeepney import MatchRule, message_bus
from jeepney.io.blocking import DBusConnection, Proxy, open_dbus_connection
from secretstorage.util import DBusAddressWrapper, format_secret, open_session

from tests.support.bus import session_bus, wait_for_name
from tests.support.process_output import PATIENCE
from tests.support.processes import Home, Process, running

MASTER_PASSWORD = "keyring master"
"""The password that unlocks the keyring of a session."""

SECRETS = "org.freedesktop.secrets"
"""The bus name of the keyring daemon."""

_MAX_STARTS = 3
_INTERNAL = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface"


class DaemonState(Enum):
    """The state of the keyring at the start of the session."""

    UNLOCKED = "unlocked"
    LOCKED = "locked"
    """There is no display, so the daemon cannot prompt for the password."""
    ABSENT = "absent"
    """There is a session bus without a keyring."""


@dataclass(frozen=True, slots=True)
class KeyringEntry:
    """An entry of a keyring; a keyring program of the desktop shows its label."""

    label: str
    attributes: dict[str, str]
    secret: str


def _read(item: secretstorage.Item) -> KeyringEntry:
    return KeyringEntry(item.get_label(), dict(item.get_attributes()), item.get_secret().decode())


class KeyringSession:
    """A running session, whose home contains the files of the keyring."""

    def __init__(
        self, place: Home, environment: dict[str, str], bus: str, daemon: Process | None
    ) -> None:
        self.home = place.root
        self.environment = environment
        self.bus = bus
        self._daemon = daemon

    def entries(self) -> list[KeyringEntry]:
        """Return all entries of the keyring, read over D-Bus.

        An entry removed by another program in the meantime is left out.
        """
        with self._connected() as connection:
            while True:
                # Raised by each call for a removed entry, also by the listing of a collection.
                with suppress(secretstorage.ItemNotFoundException):
                    return [
                        _read(item)
                        for collection in secretstorage.get_all_collections(connection)
                        for item in collection.get_all_items()
                    ]

    def wait_for_entries(self, count: int) -> list[KeyringEntry]:
        """Wait until the keyring has this number of entries; return them."""
        return self.wait_until(lambda entries: len(entries) >= count)

    def wait_until(self, holds: Callable[[list[KeyringEntry]], bool]) -> list[KeyringEntry]:
        """Wait until the entries of the keyring meet a condition; return them."""
        deadline = monotonic() + PATIENCE
        # ItemCreated, ItemChanged and ItemDeleted.
        rule = MatchRule(type="signal", interface="org.freedesktop.Secret.Collection")
        with self._connected() as connection, connection.filter(rule) as changed:
            # In this order: a change between a query and the match rule would be missed.
            Proxy(message_bus, connection, timeout=PATIENCE).AddMatch(rule)
            while not holds(entries := self.entries()):
                connection.recv_until_filtered(changed, timeout=max(0.0, deadline - monotonic()))
            return entries

    def check_default_collection(self) -> None:
        """Make a first call to the default collection.

        Raises:
            secretstorage.SecretServiceNotAvailableException: The daemon has left the bus.
        """
        with self._connected() as connection:
            secretstorage.get_default_collection(connection)

    def lock(self) -> None:
        """Lock the keyring, as a user may at any time."""
        with self._connected() as connection:
            secretstorage.get_default_collection(connection).lock()

    def unlock(self) -> None:
        """Unlock the keyring like another program, such as the log-in of the desktop."""
        with self._connected() as connection:
            path = secretstorage.get_default_collection(connection).collection_path
            session = open_session(connection)
            secret = format_secret(session, MASTER_PASSWORD.encode(), "text/plain")
            keyring = DBusAddressWrapper("/org/freedesktop/secrets", _INTERNAL, connection)
            keyring.call("UnlockWithMasterPassword", "o(oayays)", path, secret)

    def freeze(self) -> None:
        """Stop the daemon: it stays on the bus and does not respond."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Continue a frozen daemon."""
        self._signal(signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze the daemon until the end of the block."""
        self.freeze()
        try:
            yield
        finally:
            self.thaw()

    def kill(self) -> None:
        """Kill the daemon."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        assert self._daemon, "this session has no keyring"
        self._daemon.signal(number)

    def _connected(self) -> closing[DBusConnection]:
        return closing(open_dbus_connection(bus=self.bus))


@contextmanager
def keyring_session(
    place: Home, state: DaemonState = DaemonState.UNLOCKED
) -> Iterator[KeyringSession]:
    """Run a session bus with a keyring, unless the keyring is to be absent.

    The next session in the same home finds the same entries.
    """
    with ExitStack() as stack:
        bus = stack.enter_context(session_bus(place))
        environment = place.environment(DBUS_SESSION_BUS_ADDRESS=bus)
        if state is DaemonState.ABSENT:
            yield KeyringSession(place, environment, bus, None)
            return
        yield _start(stack, place, environment, bus, state)


def _start(
    stack: ExitStack, place: Home, environment: dict[str, str], bus: str, state: DaemonState
) -> KeyringSession:
    """Start the daemon; start it again when it ends before the session is ready.

    Under load, gnome-keyring-daemon 42 has ended while it answered the first call.
    """
    argv = ["gnome-keyring-daemon", "--foreground", "--unlock", "--components=secrets"]
    for _ in range(_MAX_STARTS):
        daemon = stack.enter_context(
            running(argv, env=environment, cwd=place.root, stdin=MASTER_PASSWORD.encode())
        )
        session = KeyringSession(place, environment, bus, daemon)
        with suppress(secretstorage.SecretServiceNotAvailableException, TimeoutError):
            wait_for_name(bus, SECRETS)
            session.check_default_collection()
            if state is DaemonState.LOCKED:
                session.lock()
            return session
        daemon.end()
    raise AssertionError(f"the keyring daemon ended {_MAX_STARTS} times: {daemon.err.text}")
