"""A user at a desktop: the real tray, typed and clicked at, and everything behind it."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.clients import Clients
from tests.support.display import Desktop, x_server
from tests.support.front_end import FrontEnd
from tests.support.keyring_session import KeyringSession
from tests.support.octets import digest, digest_of
from tests.support.origin import Origin
from tests.support.processes import SOURCES, Home, Job, Process
from tests.support.reports import Reports
from tests.support.screen_reader import ScreenReader
from tests.support.scripted_upstream import OK, ScriptedConnection, ScriptedUpstream
from tests.support.searchable_secret import (
    SearchableSecret,
    files_below,
    process_and_children,
    text,
)
from tests.support.settings_portal import ColorScheme, SettingsPortal
from tests.support.squid import Squid, SquidSetup, squid
from tests.support.tray import TrayProcesses, ending, tray_on
from tests.support.tray_host import FakeTrayHost, NotificationService
from tests.support.window_manager import fluxbox, open_menu
from trayproxy.control.messages import Status

# Each test runs a separate desktop: in sequence, the tests are faster than in parallel.
pytestmark = pytest.mark.xdist_group("display")

SHOTS = SOURCES / "tests/artefacts/screenshots"
SIGN_IN = "^Sign in to proxy"
WINDOW = "^TrayProxy$"
NOT_ACCEPTED = "The proxy did not accept"
SIZE = 3_000_000


@pytest.fixture
def desktop(place: Home, keyring: KeyringSession) -> Iterator[Desktop]:
    """A desktop in the session of the keyring, without a panel."""
    with x_server(place) as display:
        made = Desktop(place, display, keyring.bus)
        # The letters of the passwords are keys there.
        assert made.run("setxkbmap", "de").code == 0
        yield made


@pytest.fixture
def reader(desktop: Desktop) -> Iterator[ScreenReader]:
    with ScreenReader(desktop.bus) as made:
        yield made


@pytest.fixture
def tray(desktop: Desktop, reader: ScreenReader, reports: Reports) -> Iterator[TrayProcesses]:
    with tray_on(desktop, reader.environment(desktop.bus)) as made:
        reports["trayproxy"] = made.describe
        yield made


@pytest.fixture
def window_manager(desktop: Desktop) -> Iterator[None]:
    """A window manager with a toolbar, which is the panel."""
    with fluxbox(desktop):
        yield


@pytest.fixture
def host(desktop: Desktop) -> Iterator[FakeTrayHost]:
    """A panel on D-Bus."""
    with FakeTrayHost(desktop.bus) as made:
        yield made


@dataclass(frozen=True, slots=True)
class DesktopUser:
    """A user of a desktop with TrayProxy and programs.

    Attributes:
        tray: TrayProxy, not started yet.
        observers: Closes the front ends of `observe`.
    """

    tray: TrayProcesses
    desktop: Desktop
    proxy: Squid
    clients: Clients
    origin: Origin
    observers: ExitStack

    def start(self) -> tuple[Process, Status]:
        """Start the tray; return it and the status of the service once programs can connect."""
        return self.tray.start(), self.tray.wait_for_service()

    def set_up(self, *arguments: str) -> None:
        """Add the profile of the office; the first profile becomes active."""
        self.tray.run("profiles", "add", "Office", self.proxy.address, *arguments)

    def visit(self) -> Job:
        """Start a program with the proxy; its output is the status code of the response."""
        code = ("-o", "/dev/null", "-w", "%{http_code}")
        return self.clients.curl("-x", self.tray.url, *code, self.origin.url("/hello"))

    def sign_in(self, account: SearchableSecret) -> None:
        """Type the user name and the password into the sign-in dialog."""
        self.desktop.wait_until_active(self.desktop.wait_for_window(SIGN_IN))
        self.desktop.type(account.user)
        self.desktop.press("Tab")
        self.correct(account)

    def correct(self, account: SearchableSecret) -> None:
        """Type the password; it replaces the selected text."""
        self.desktop.type(account.password)
        self.desktop.press("Return")

    def observe(self) -> FrontEnd:
        """Return a front end without prompts, for the status."""
        return self.observers.enter_context(FrontEnd(self.tray.paths, can_prompt=False))


@pytest.fixture
def user(
    tray: TrayProcesses, desktop: Desktop, proxy: Squid, clients: Clients, origin: Origin
) -> Iterator[DesktopUser]:
    with ExitStack() as observers:
        yield DesktopUser(tray, desktop, proxy, clients, origin, observers)


@pytest.fixture
def lab(reports: Reports) -> Iterator[Squid]:
    """Another upstream, which requires no sign-in."""
    with squid(SquidSetup(rules=("http_access allow ours",), realm="Lab")) as running:
        reports["squid of the lab"] = running.describe
        yield running


def uses_lab(status: Status) -> bool:
    return status.profile is not None and status.profile.name == "Lab"


def shoot(desktop: Desktop, window: str, name: str) -> Path:
    """Take a picture of a window, and keep it."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / f"{name}.png"
    desktop.shoot(path, window)
    return path


def is_dark(desktop: Desktop, picture: Path) -> bool:
    mean = ("-colorspace", "gray", "-format", "%[fx:mean]", "info:")
    return float(desktop.run("convert", picture, *mean).out) < 0.5


def choose(desktop: Desktop, reader: ScreenReader, row: str) -> None:
    """Choose a row of the menu with mouse and keys."""
    open_menu(desktop, "TrayProxy")
    reader.follow(lambda: desktop.press("Down"), to=row)
    desktop.press("Return")


# --- The main job ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("window_manager")
def test_a_user_signs_in_once_without_a_second_prompt(
    user: DesktopUser, keyring: KeyringSession, account: SearchableSecret
) -> None:
    user.set_up()
    user.start()
    program = user.visit()
    user.sign_in(account)
    assert program.result().out == "200"
    user.desktop.wait_until_gone(SIGN_IN)
    (entry,) = keyring.wait_for_entries(1)
    assert (entry.attributes["username"], entry.secret) == (account.user, account.password)
    before = len(user.proxy.accesses())
    assert user.visit().result().out == "200"
    assert [access.status for access in user.proxy.accesses()[before:]] == [200]
    assert not user.desktop.windows(SIGN_IN)


@pytest.mark.usefixtures("window_manager")
def test_a_mistyped_password_is_reported_and_costs_one_failed_log_on(
    user: DesktopUser, reader: ScreenReader, account: SearchableSecret
) -> None:
    user.set_up()
    user.start()
    program = user.visit()
    user.sign_in(SearchableSecret())
    reader.wait_until_said(NOT_ACCEPTED)
    assert user.proxy.failed_logons() == 1
    # The typed text is selected: typing replaces it.
    user.correct(account)
    assert program.result().out == "200"
    assert user.proxy.failed_logons() == 1


@pytest.mark.usefixtures("window_manager")
def test_a_password_is_left_only_in_the_keyring(
    user: DesktopUser,
    reader: ScreenReader,
    keyring: KeyringSession,
    account: SearchableSecret,
    place: Home,
) -> None:
    mistyped = SearchableSecret()
    user.set_up()
    process, _ = user.start()
    front_end = user.observe()
    program = user.visit()
    user.sign_in(mistyped)
    reader.wait_until_said(NOT_ACCEPTED)
    heard = reader.read()
    user.correct(account)
    assert program.result().out == "200"
    keyring.wait_for_entries(1)
    running = list(process_and_children(process.pid))
    assert any(b"\0run\0" in octets for _, octets in running), "the service is a child of the tray"
    for secret in (mistyped, account):
        secret.assert_absent(running)
        secret.assert_absent(files_below(place.root))
        secret.assert_absent(files_below(keyring.home))
        said = [text("programs", user.tray.describe()), text("screen reader", heard)]
        secret.assert_absent([*said, ("control socket", front_end.trace)])


# --- The menu -------------------------------------------------------------------------------------


@pytest.fixture
def two_profiles(user: DesktopUser, lab: Squid) -> None:
    """Office is in use, and there is Lab."""
    user.set_up()
    user.tray.run("profiles", "add", "Lab", lab.address, "--sign-in", "none")


@pytest.mark.usefixtures("two_profiles")
def test_a_profile_is_switched_from_the_menu_of_a_panel_on_d_bus(
    user: DesktopUser, host: FakeTrayHost, lab: Squid
) -> None:
    user.start()
    item = host.wait_for_item()
    host.wait_until(lambda: any(label.startswith("Lab") for label in item.labels()))
    assert item.row("Office — 127").is_checked
    item.click("Lab")
    user.observe().wait_for_status(uses_lab)
    assert user.visit().result().out == "200"
    assert [access.status for access in lab.accesses()] == [200]
    assert user.proxy.accesses() == []


@pytest.mark.usefixtures("window_manager", "two_profiles")
def test_a_profile_is_switched_from_the_menu_with_mouse_and_keys(
    user: DesktopUser, reader: ScreenReader, lab: Squid
) -> None:
    user.start()
    choose(user.desktop, reader, "Lab")
    user.observe().wait_for_status(uses_lab)
    assert user.visit().result().out == "200"
    assert [access.status for access in lab.accesses()] == [200]
    assert user.proxy.accesses() == []


@pytest.mark.usefixtures("window_manager")
def test_quit_ends_the_tray_and_the_service(user: DesktopUser, reader: ScreenReader) -> None:
    user.set_up()
    process, service = user.start()
    with ending(service.pid):
        choose(user.desktop, reader, "Quit")
        assert process.wait() == 0


def test_a_second_start_shows_the_window_of_the_first(
    user: DesktopUser, host: FakeTrayHost
) -> None:
    user.set_up()
    first, service = user.start()
    host.wait_for_item()
    assert not user.desktop.windows(WINDOW)
    second = user.tray.start()
    assert second.wait() == 0
    assert user.desktop.wait_for_window(WINDOW)
    assert first.running
    again = user.tray.status()
    assert again
    assert again.pid == service.pid


@pytest.mark.parametrize("appearance", ColorScheme, ids=lambda wanted: wanted.name.lower())
@pytest.mark.usefixtures("window_manager")
def test_windows_are_light_or_dark_as_the_user_prefers(
    desktop: Desktop,
    reader: ScreenReader,
    proxy: Squid,
    clients: Clients,
    origin: Origin,
    appearance: ColorScheme,
) -> None:
    name = appearance.name.lower()
    with ExitStack() as stack:
        stack.enter_context(SettingsPortal(desktop.bus, appearance))
        more = {**reader.environment(desktop.bus), **SettingsPortal.ENVIRONMENT}
        tray = stack.enter_context(tray_on(desktop, more))
        user = DesktopUser(tray, desktop, proxy, clients, origin, stack)
        user.set_up()
        user.start()
        menu = open_menu(desktop, "TrayProxy")
        reader.follow(lambda: desktop.press("Down"), to="Office")
        shots = [shoot(desktop, menu, f"menu-{name}")]
        desktop.press("Escape")
        user.visit()
        dialog = desktop.wait_for_window(SIGN_IN)
        desktop.wait_until_active(dialog)
        shots.append(shoot(desktop, dialog, f"sign-in-{name}"))
        shoot(desktop, "root", f"desktop-{name}")
        user.sign_in(SearchableSecret())
        reader.wait_until_said(NOT_ACCEPTED)
        shots.append(shoot(desktop, dialog, f"rejected-{name}"))
    assert [is_dark(desktop, shot) for shot in shots] == [appearance is ColorScheme.DARK] * len(
        shots
    )


# --- Crashes --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("window_manager", "two_profiles")
def test_a_killed_tray_cuts_no_transfer_and_loses_no_prompt(
    user: DesktopUser, account: SearchableSecret
) -> None:
    desktop, tray, origin = user.desktop, user.tray, user.origin
    gate = origin.gate("half")
    got = user.clients.home.root / "got"
    tray.run("profiles", "use", "Lab")
    killed, service = user.start()
    slow = origin.url(f"/gate/half/{SIZE}")
    transfer = user.clients.curl("-x", tray.url, "-o", str(got), slow)
    assert gate.reached.wait(20)
    tray.run("profiles", "use", "Office")
    program = user.visit()
    shown = user.observe().wait_for_prompt()
    desktop.wait_for_window(SIGN_IN)
    killed.signal(signal.SIGKILL)
    killed.wait()
    desktop.wait_until_gone(SIGN_IN)
    gate.opened.set()
    assert transfer.result().code == 0
    tray.start()
    again = user.observe()
    user.sign_in(account)
    assert program.result().out == "200"
    assert [question.number for question in again.prompts] == [shown.number]
    assert tray.wait_for_service().pid == service.pid
    assert digest_of(got) == digest(SIZE)


@pytest.mark.usefixtures("window_manager")
def test_a_killed_service_is_restarted_without_a_prompt(
    user: DesktopUser, account: SearchableSecret
) -> None:
    user.set_up("--user", account.user)
    user.tray.run("login", "Office", "--stdin", stdin=f"{account.password}\n".encode())
    process, killed = user.start()
    assert user.visit().result().out == "200"
    with ending(killed.pid):
        os.kill(killed.pid, signal.SIGKILL)
    again = user.tray.wait_for_service(instead_of=killed.pid)
    assert again.address == killed.address
    front_end = user.observe()
    assert user.visit().result().out == "200"
    assert front_end.prompts == []
    assert not user.desktop.windows(SIGN_IN)
    assert process.running


# --- A network with a sign-in page ----------------------------------------------------------------


def wants_page(peer: ScriptedConnection) -> None:
    """Answer as the gateway of a hotel does."""
    while True:
        head = peer.read_head()
        if head.startswith(b"GET http://known."):
            peer.send(OK)
        else:
            peer.send(
                b"HTTP/1.1 511 Network Authentication Required\r\n"
                b"Location: http://portal.example/login\r\nContent-Length: 0\r\n\r\n"
            )


@pytest.fixture
def notifications(desktop: Desktop) -> Iterator[NotificationService]:
    with NotificationService(desktop.bus) as made:
        yield made


@pytest.fixture
def gateway(reports: Reports) -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream(wants_page) as upstream:
        yield upstream


@pytest.mark.usefixtures("window_manager")
def test_a_sign_in_page_is_reported_and_programs_connect_directly_for_a_while(
    user: DesktopUser, notifications: NotificationService, gateway: ScriptedUpstream
) -> None:
    user.tray.run("profiles", "add", "Hotel", f"127.0.0.1:{gateway.port}", "--sign-in", "none")
    user.start()
    front_end = user.observe()
    assert user.visit().result().out == "511"
    shown = notifications.wait_for_one()
    assert shown.title == "This network wants you to sign in on its own page"
    assert "portal" not in shown.body
    assert shown.actions[2:] == (
        "open-page",
        "Open sign-in page…",
        "connect-directly",
        "Connect directly for 5 minutes",
    )
    assert shown.hints["suppress-sound"] is True
    assert user.tray.start().wait() == 0
    window = user.desktop.wait_for_window(WINDOW)
    shoot(user.desktop, window, "sign-in-page")
    notifications.choose(shown, "connect-directly")
    told = front_end.wait_for_status(lambda status: status.direct)
    assert told.direct_until is not None
    notifications.wait_until(lambda: not notifications.open)
    # The name of the site is known to no proxy here.
    url = f"http://127.0.0.1:{user.origin.port}/hello"
    assert user.clients.curl("-x", user.tray.url, url).result().out == "hello"
    shoot(user.desktop, window, "sign-in-page-direct")
