"""A person at a desktop: the real tray, typed and clicked at, and everything behind it."""

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
from tests.support.tray import Tray, ending, tray_on
from tests.support.tray_host import NotificationService, TrayHost
from tests.support.window_manager import fluxbox, open_menu
from trayproxy.control.messages import Status

# Each test runs a desktop of its own: one after the other they are quicker than side by side.
pytestmark = pytest.mark.xdist_group("display")

SHOTS = SOURCES / "tests/artefacts/screenshots"
SIGN_IN = "^Sign in to proxy"
WINDOW = "^TrayProxy$"
NOT_ACCEPTED = "The proxy did not accept"
SIZE = 3_000_000


@pytest.fixture
def desktop(place: Home, keyring: KeyringSession) -> Iterator[Desktop]:
    """A desktop in the session that the keyring belongs to, without a panel."""
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
def tray(desktop: Desktop, reader: ScreenReader, reports: Reports) -> Iterator[Tray]:
    with tray_on(desktop, reader.environment(desktop.bus)) as made:
        reports["trayproxy"] = made.describe
        yield made


@pytest.fixture
def window_manager(desktop: Desktop) -> Iterator[None]:
    """A window manager, whose toolbar is the panel."""
    with fluxbox(desktop):
        yield


@pytest.fixture
def host(desktop: Desktop) -> Iterator[TrayHost]:
    """A panel that speaks D-Bus."""
    with TrayHost(desktop.bus) as made:
        yield made


@dataclass(frozen=True, slots=True)
class Person:
    """A person at a desktop with a TrayProxy, and with programs that need it.

    Attributes:
        tray: Their TrayProxy; nothing of it runs yet.
        desktop: The desktop.
        proxy: The upstream of the office.
        clients: The programs.
        origin: What they go to.
        onlookers: Ends what only looks on.
    """

    tray: Tray
    desktop: Desktop
    proxy: Squid
    clients: Clients
    origin: Origin
    onlookers: ExitStack

    def start(self) -> tuple[Process, Status]:
        """Start the tray; return it, and what the service says once programs can connect."""
        return self.tray.start(), self.tray.wait_for_service()

    def set_up(self, *arguments: str) -> None:
        """Make the profile of the office, which is the first one and so is used."""
        self.tray.run("profiles", "add", "Office", self.proxy.address, *arguments)

    def visit(self) -> Job:
        """Start a program that needs the proxy, and tells the status that it gets."""
        code = ("-o", "/dev/null", "-w", "%{http_code}")
        return self.clients.curl("-x", self.tray.url, *code, self.origin.url("/hello"))

    def sign_in(self, account: SearchableSecret) -> None:
        """Fill in the dialog that appears, as a person does whose user name is not known yet."""
        self.desktop.wait_until_active(self.desktop.wait_for_window(SIGN_IN))
        self.desktop.type(account.user)
        self.desktop.press("Tab")
        self.correct(account)

    def correct(self, account: SearchableSecret) -> None:
        """Type the password over what is selected."""
        self.desktop.type(account.password)
        self.desktop.press("Return")

    def look_on(self) -> FrontEnd:
        """Look on, without being able to ask."""
        return self.onlookers.enter_context(FrontEnd(self.tray.paths, can_prompt=False))


@pytest.fixture
def person(
    tray: Tray, desktop: Desktop, proxy: Squid, clients: Clients, origin: Origin
) -> Iterator[Person]:
    with ExitStack() as onlookers:
        yield Person(tray, desktop, proxy, clients, origin, onlookers)


@pytest.fixture
def lab(reports: Reports) -> Iterator[Squid]:
    """Another upstream, which demands no sign-in."""
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
def test_a_person_signs_in_once_and_is_never_asked_again(
    person: Person, keyring: KeyringSession, account: SearchableSecret
) -> None:
    person.set_up()
    person.start()
    program = person.visit()
    person.sign_in(account)
    assert program.result().out == "200"
    person.desktop.wait_until_gone(SIGN_IN)
    (entry,) = keyring.wait_for_entries(1)
    assert (entry.attributes["username"], entry.secret) == (account.user, account.password)
    before = len(person.proxy.accesses())
    assert person.visit().result().out == "200"
    assert [access.status for access in person.proxy.accesses()[before:]] == [200]
    assert not person.desktop.windows(SIGN_IN)


@pytest.mark.usefixtures("window_manager")
def test_a_mistyped_password_is_said_and_costs_one_failed_log_on(
    person: Person, reader: ScreenReader, account: SearchableSecret
) -> None:
    person.set_up()
    person.start()
    program = person.visit()
    person.sign_in(SearchableSecret())
    reader.wait_until_said(NOT_ACCEPTED)
    assert person.proxy.failed_logons() == 1
    # What was typed is selected: typing replaces it.
    person.correct(account)
    assert program.result().out == "200"
    assert person.proxy.failed_logons() == 1


@pytest.mark.usefixtures("window_manager")
def test_a_password_is_left_nowhere_but_in_the_keyring(
    person: Person,
    reader: ScreenReader,
    keyring: KeyringSession,
    account: SearchableSecret,
    place: Home,
) -> None:
    mistyped = SearchableSecret()
    person.set_up()
    process, _ = person.start()
    front_end = person.look_on()
    program = person.visit()
    person.sign_in(mistyped)
    reader.wait_until_said(NOT_ACCEPTED)
    heard = reader.read()
    person.correct(account)
    assert program.result().out == "200"
    keyring.wait_for_entries(1)
    running = list(process_and_children(process.pid))
    assert any(b"\0run\0" in octets for _, octets in running), "the service is a child of the tray"
    for secret in (mistyped, account):
        secret.assert_absent(running)
        secret.assert_absent(files_below(place.root))
        secret.assert_absent(files_below(keyring.home))
        said = [text("programs", person.tray.describe()), text("screen reader", heard)]
        secret.assert_absent([*said, ("control socket", front_end.trace)])


# --- The menu -------------------------------------------------------------------------------------


@pytest.fixture
def two_profiles(person: Person, lab: Squid) -> None:
    """Office is in use, and there is Lab."""
    person.set_up()
    person.tray.run("profiles", "add", "Lab", lab.address, "--sign-in", "none")


@pytest.mark.usefixtures("two_profiles")
def test_a_profile_is_switched_from_the_menu_of_a_panel_on_d_bus(
    person: Person, host: TrayHost, lab: Squid
) -> None:
    person.start()
    item = host.wait_for_item()
    host.wait_until(lambda: any(label.startswith("Lab") for label in item.labels()))
    assert item.row("Office — 127").is_checked
    item.click("Lab")
    person.look_on().wait_for_status(uses_lab)
    assert person.visit().result().out == "200"
    assert [access.status for access in lab.accesses()] == [200]
    assert person.proxy.accesses() == []


@pytest.mark.usefixtures("window_manager", "two_profiles")
def test_a_profile_is_switched_from_the_menu_with_mouse_and_keys(
    person: Person, reader: ScreenReader, lab: Squid
) -> None:
    person.start()
    choose(person.desktop, reader, "Lab")
    person.look_on().wait_for_status(uses_lab)
    assert person.visit().result().out == "200"
    assert [access.status for access in lab.accesses()] == [200]
    assert person.proxy.accesses() == []


@pytest.mark.usefixtures("window_manager")
def test_quit_ends_the_tray_and_the_service(person: Person, reader: ScreenReader) -> None:
    person.set_up()
    process, service = person.start()
    with ending(service.pid):
        choose(person.desktop, reader, "Quit")
        assert process.wait() == 0


def test_a_second_start_shows_the_window_of_the_first(person: Person, host: TrayHost) -> None:
    person.set_up()
    first, service = person.start()
    host.wait_for_item()
    assert not person.desktop.windows(WINDOW)
    second = person.tray.start()
    assert second.wait() == 0
    assert person.desktop.wait_for_window(WINDOW)
    assert first.running
    again = person.tray.status()
    assert again
    assert again.pid == service.pid


@pytest.mark.parametrize("appearance", ColorScheme, ids=lambda wanted: wanted.name.lower())
@pytest.mark.usefixtures("window_manager")
def test_windows_are_light_or_dark_as_the_person_wants(
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
        person = Person(tray, desktop, proxy, clients, origin, stack)
        person.set_up()
        person.start()
        menu = open_menu(desktop, "TrayProxy")
        reader.follow(lambda: desktop.press("Down"), to="Office")
        shots = [shoot(desktop, menu, f"menu-{name}")]
        desktop.press("Escape")
        person.visit()
        dialog = desktop.wait_for_window(SIGN_IN)
        desktop.wait_until_active(dialog)
        shots.append(shoot(desktop, dialog, f"sign-in-{name}"))
        shoot(desktop, "root", f"desktop-{name}")
        person.sign_in(SearchableSecret())
        reader.wait_until_said(NOT_ACCEPTED)
        shots.append(shoot(desktop, dialog, f"rejected-{name}"))
    assert [is_dark(desktop, shot) for shot in shots] == [appearance is ColorScheme.DARK] * len(
        shots
    )


# --- Crashes --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("window_manager", "two_profiles")
def test_a_killed_tray_cuts_no_transfer_and_loses_no_question(
    person: Person, account: SearchableSecret
) -> None:
    desktop, tray, origin = person.desktop, person.tray, person.origin
    gate = origin.gate("half")
    got = person.clients.home.root / "got"
    tray.run("profiles", "use", "Lab")
    killed, service = person.start()
    slow = origin.url(f"/gate/half/{SIZE}")
    transfer = person.clients.curl("-x", tray.url, "-o", str(got), slow)
    assert gate.reached.wait(20)
    tray.run("profiles", "use", "Office")
    program = person.visit()
    shown = person.look_on().wait_for_prompt()
    desktop.wait_for_window(SIGN_IN)
    killed.signal(signal.SIGKILL)
    killed.wait()
    desktop.wait_until_gone(SIGN_IN)
    gate.opened.set()
    assert transfer.result().code == 0
    tray.start()
    again = person.look_on()
    person.sign_in(account)
    assert program.result().out == "200"
    assert [question.number for question in again.prompts] == [shown.number]
    assert tray.wait_for_service().pid == service.pid
    assert digest_of(got) == digest(SIZE)


@pytest.mark.usefixtures("window_manager")
def test_a_killed_service_comes_back_and_nobody_is_asked(
    person: Person, account: SearchableSecret
) -> None:
    person.set_up("--user", account.user)
    person.tray.run("login", "Office", "--stdin", stdin=f"{account.password}\n".encode())
    process, killed = person.start()
    assert person.visit().result().out == "200"
    with ending(killed.pid):
        os.kill(killed.pid, signal.SIGKILL)
    again = person.tray.wait_for_service(instead_of=killed.pid)
    assert again.address == killed.address
    front_end = person.look_on()
    assert person.visit().result().out == "200"
    assert front_end.prompts == []
    assert not person.desktop.windows(SIGN_IN)
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
def test_a_sign_in_page_of_the_network_is_told_and_programs_connect_directly_for_a_while(
    person: Person, notifications: NotificationService, gateway: ScriptedUpstream
) -> None:
    person.tray.run("profiles", "add", "Hotel", f"127.0.0.1:{gateway.port}", "--sign-in", "none")
    person.start()
    front_end = person.look_on()
    assert person.visit().result().out == "511"
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
    assert person.tray.start().wait() == 0
    window = person.desktop.wait_for_window(WINDOW)
    shoot(person.desktop, window, "sign-in-page")
    notifications.choose(shown, "connect-directly")
    told = front_end.wait_for_status(lambda status: status.direct)
    assert told.direct_until is not None
    notifications.wait_until(lambda: not notifications.open)
    # The name of the site is known to no proxy here.
    url = f"http://127.0.0.1:{person.origin.port}/hello"
    assert person.clients.curl("-x", person.tray.url, url).result().out == "hello"
    shoot(person.desktop, window, "sign-in-page-direct")
