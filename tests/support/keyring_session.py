"""A real GNOME Keyring on a D-Bus session bus of its own, in a home of its own."""

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
"""What opens the keyring of a session."""

SECRETS = "org.freedesktop.secrets"
"""The bus name of the keyring daemon."""

_MAX_STARTS = 3
_INTERNAL = "org.gnome.keyring.InternalUnsupportedGuiltRiddenInterface"


class DaemonState(Enum):
    """How a program finds the keyring."""

    UNLOCKED = "unlocked"
    LOCKED = "locked"
    """There is no display, so nobody can be asked to unlock it."""
    ABSENT = "absent"
    """There is a session bus, and no keyring on it."""


@dataclass(frozen=True, slots=True)
class KeyringEntry:
    """What a keyring holds.

    Attributes:
        label: What a person sees in the desktop's keyring program.
        attributes: What it is found by.
        secret: The password.
    """

    label: str
    attributes: dict[str, str]
    secret: str


def _read(item: secretstorage.Item) -> KeyringEntry:
    return KeyringEntry(item.get_label(), dict(item.get_attributes()), item.get_secret().decode())


class KeyringSession:
    """A session that runs.

    Attributes:
        environment: What a program needs to belong to it; nothing of anyone else's session.
        bus: The address of its session bus.
        home: Below it lie the keyring's files.
    """

    def __init__(
        self, place: Home, environment: dict[str, str], bus: str, daemon: Process | None
    ) -> None:
        self.home = place.root
        self.environment = environment
        self.bus = bus
        self._daemon = daemon

    def entries(self) -> list[KeyringEntry]:
        """Return all that lies in the keyring, read over D-Bus as any program would.

        An entry that another program removes before it is read is left out.
        """
        entries = []
        with self._connected() as connection:
            for collection in secretstorage.get_all_collections(connection):
                for item in collection.get_all_items():
                    with suppress(secretstorage.ItemNotFoundException):
                        entries.append(_read(item))
        return entries

    def wait_for_entries(self, count: int, timeout: float = PATIENCE) -> list[KeyringEntry]:
        """Wait until the keyring holds that many; return them."""
        return self.wait_until(lambda entries: len(entries) >= count, timeout)

    def wait_until(
        self, holds: Callable[[list[KeyringEntry]], bool], timeout: float = PATIENCE
    ) -> list[KeyringEntry]:
        """Wait until this is true of the entries of the keyring; return them."""
        deadline = monotonic() + timeout
        # ItemCreated, ItemChanged and ItemDeleted.
        rule = MatchRule(type="signal", interface="org.freedesktop.Secret.Collection")
        with self._connected() as connection, connection.filter(rule) as changed:
            # In this order: who looks first may miss what happens before the match is there.
            Proxy(message_bus, connection, timeout=timeout).AddMatch(rule)
            while not holds(entries := self.entries()):
                connection.recv_until_filtered(changed, timeout=max(0.0, deadline - monotonic()))
            return entries

    def wait_for_name(self, name: str) -> None:
        """Wait until a program of the session owns a name on its bus."""
        wait_for_name(self.bus, name)

    def check_default_collection(self) -> None:
        """Make a first call to the default collection.

        Raises:
            secretstorage.SecretServiceNotAvailableException: The daemon has left the bus.
        """
        with self._connected() as connection:
            secretstorage.get_default_collection(connection)

    def lock(self) -> None:
        """Lock the keyring, as a person may at any time."""
        with self._connected() as connection:
            secretstorage.get_default_collection(connection).lock()

    def unlock(self) -> None:
        """Unlock the keyring as another program does, such as the log-in of the desktop."""
        with self._connected() as connection:
            path = secretstorage.get_default_collection(connection).collection_path
            session = open_session(connection)
            secret = format_secret(session, MASTER_PASSWORD.encode(), "text/plain")
            keyring = DBusAddressWrapper("/org/freedesktop/secrets", _INTERNAL, connection)
            keyring.call("UnlockWithMasterPassword", "o(oayays)", path, secret)

    def freeze(self) -> None:
        """Stop the daemon: it stays on the bus and answers nothing."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen daemon go on."""
        self._signal(signal.SIGCONT)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let the daemon be frozen for a while."""
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
    """Run a session bus, and a keyring on it unless it is to be absent.

    Args:
        place: The home of the session. What a keyring there holds stays for the next session.
        state: How programs find the keyring.
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
