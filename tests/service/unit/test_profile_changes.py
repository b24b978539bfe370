"""Tests for trayproxy.service.profile_changes: the first profile, switches and deletions."""

import asyncio
from concurrent.futures import Future
from pathlib import Path
from typing import cast

import pytest

from tests.support.values import LAB, OFFICE, upstream_of
from trayproxy.control.messages import SwitchCause
from trayproxy.desk.desk import Desk
from trayproxy.options import RunOptions
from trayproxy.profiles.config import Config
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import DIRECT_ID, Profile, ProfileError, Upstream
from trayproxy.profiles.store import SettingsStore
from trayproxy.service.profile_changes import (
    TEMPORARY_ID,
    ProfileChanges,
    UnknownProfileError,
    first_profile,
    starts_directly,
)
from trayproxy.service.router import Router
from trayproxy.service.settings_changes import SettingsChanges
from trayproxy.service.status_publisher import StatusPublisher

CONFIG = Config(active="office", profiles=(OFFICE, LAB))


class FakeDesk:
    """Records its calls."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str]] = []

    def profile_changed(self, profile: Profile) -> None:
        self.changes.append(("changed", profile.id))

    def profile_deleted(self, profile_id: str) -> None:
        self.changes.append(("deleted", profile_id))

    def profile_switched(self, profile: Profile | None) -> None:
        self.changes.append(("switched", profile.id if profile else ""))

    def forget(self, profile: Profile) -> "asyncio.Future[None]":
        self.changes.append(("forgotten", profile.id))
        done: Future[None] = Future()
        done.set_result(None)
        return asyncio.wrap_future(done)


class ChangesHarness:
    """A `ProfileChanges` that has started with the settings of `CONFIG`, on a running loop.

    After a restart, the settings are those of the folder.
    """

    def __init__(self, folder: Path, *, is_restart: bool = False) -> None:
        self.desk = FakeDesk()
        self.store = SettingsStore(folder / "config.toml")
        self.store.load()
        if not is_restart:
            self.store.save(CONFIG)
        self.router = Router()
        loop = asyncio.get_running_loop()
        self.publisher = StatusPublisher(loop, lambda status: None, lambda: False)
        self.forgotten = 0
        self.profiles = ProfileChanges(
            cast(Desk, self.desk),
            SettingsChanges(self.store),
            self.router,
            self.publisher,
            self._forget,
        )
        config = self.store.config
        self.profiles.start(config.profile, directly=config.is_direct)

    def _forget(self) -> None:
        self.forgotten += 1


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (RunOptions(), OFFICE),
        (RunOptions(profile_name="LAB"), LAB),
        (RunOptions(profile_name="Connect directly"), None),
    ],
)
def test_the_first_profile_is_the_active_or_the_given_profile(
    options: RunOptions, expected: Profile | None
) -> None:
    assert first_profile(options, CONFIG) == expected
    assert starts_directly(options, CONFIG) is (expected is None)


def test_a_given_upstream_is_a_profile_for_this_run_only() -> None:
    options = RunOptions(upstream=Upstream("PROXY.example", 8080), user="jdoe")
    profile = first_profile(options, Config(active=DIRECT_ID))
    assert profile is not None
    assert (profile.id, profile.user) == (TEMPORARY_ID, "jdoe")
    assert upstream_of(profile).host == "proxy.example"
    assert not starts_directly(options, Config(active=DIRECT_ID))


def test_a_pac_script_of_the_command_line_is_a_profile_for_this_run() -> None:
    script = PacSource(PacKind.URL, "https://pac.example/x.pac?key=1")
    profile = first_profile(RunOptions(upstream=script, user="jdoe"), Config())
    assert profile is not None
    assert (profile.upstream, profile.pac, profile.user) == (None, script, "jdoe")
    assert profile.name == "https://pac.example/x.pac"


def test_an_unknown_first_profile_is_an_error() -> None:
    with pytest.raises(ProfileError, match="no profile “Home”"):
        first_profile(RunOptions(profile_name="Home"), CONFIG)


async def test_a_switch_changes_the_route_and_the_settings(tmp_path: Path) -> None:
    harness = ChangesHarness(tmp_path)
    await harness.profiles.use("lab", 0)
    assert harness.router.profile == LAB
    assert harness.store.load().active == "lab"
    assert harness.desk.changes == [("switched", "office"), ("switched", "lab")]
    assert harness.forgotten == 2
    with pytest.raises(UnknownProfileError):
        await harness.profiles.use("home", 0)


async def test_a_deleted_profile_is_not_used_after_a_direct_connection(tmp_path: Path) -> None:
    harness = ChangesHarness(tmp_path)
    await harness.profiles.use(DIRECT_ID, 1)
    assert harness.router.is_direct
    assert harness.publisher.status().direct_until is not None
    assert harness.store.load().active == "office"  # The settings are not changed.
    assert await harness.profiles.delete("office", forget=True) is None
    assert ("forgotten", "office") in harness.desk.changes
    await asyncio.sleep(1.1)
    assert (harness.router.profile, harness.router.is_direct) == (None, False)
    assert harness.publisher.status().direct_until is None


async def test_a_new_time_for_direct_connections_replaces_the_rest_of_the_old_time(
    tmp_path: Path,
) -> None:
    harness = ChangesHarness(tmp_path)
    await harness.profiles.use(DIRECT_ID, 60)
    first = harness.publisher.status().direct_until
    await harness.profiles.use(DIRECT_ID, 7200)
    last = harness.publisher.status().direct_until
    assert first is not None
    assert last is not None
    assert 3500 < last - first <= 3541
    assert harness.store.load().active == "office"
    await harness.profiles.resume()
    assert harness.router.profile == OFFICE
    assert harness.publisher.status().direct_until is None


async def test_the_earlier_profile_is_used_again_after_permanent_direct_connections(
    tmp_path: Path,
) -> None:
    harness = ChangesHarness(tmp_path)
    await harness.profiles.resume()
    assert harness.router.profile == OFFICE
    await harness.profiles.use("lab", 0)
    await harness.profiles.use(DIRECT_ID, 60)
    await harness.profiles.use(DIRECT_ID, 0)
    assert harness.publisher.status().direct_until is None
    assert harness.store.load().is_direct
    await harness.profiles.use(DIRECT_ID, 0)
    await harness.profiles.resume()
    assert harness.router.profile == LAB
    assert harness.store.load().active == "lab"


async def test_the_earlier_profile_is_known_after_a_restart(tmp_path: Path) -> None:
    await ChangesHarness(tmp_path).profiles.use(DIRECT_ID, 0)
    again = ChangesHarness(tmp_path, is_restart=True)
    assert again.router.is_direct
    await again.profiles.resume()
    assert again.router.profile == OFFICE


async def test_resume_uses_the_profile_of_this_run(tmp_path: Path) -> None:
    harness = ChangesHarness(tmp_path)
    harness.profiles.start(LAB)  # As with ``run --profile Lab``.
    await harness.profiles.use(DIRECT_ID, 0)
    await harness.profiles.resume()
    assert harness.router.profile == LAB


async def test_a_deleted_earlier_profile_is_not_used_again(tmp_path: Path) -> None:
    harness = ChangesHarness(tmp_path)
    await harness.profiles.use(DIRECT_ID, 0)
    await harness.profiles.delete("office", forget=False)
    with pytest.raises(ProfileError, match="no earlier profile"):
        await harness.profiles.resume()
    assert harness.router.is_direct


async def test_the_user_name_of_an_accepted_login_is_saved_in_its_profile(tmp_path: Path) -> None:
    harness = ChangesHarness(tmp_path)
    harness.profiles.save_user_name("office", "jdoe")
    await harness.profiles.wait_for_user_names()
    assert harness.store.load().by_id("office") == harness.router.profile
    assert harness.profiles.get("office").user == "jdoe"
    assert harness.forgotten == 1  # Only by the start: the route is the same.


async def test_a_switch_because_of_the_network_is_not_saved_and_can_be_undone(
    tmp_path: Path,
) -> None:
    harness = ChangesHarness(tmp_path)
    profiles = harness.profiles
    assert (profiles.present_id, profiles.is_direct) == ("office", False)
    profiles.switch_by_network("lab", SwitchCause.WIFI, "Lab-Wi-Fi")
    assert harness.router.profile == LAB
    switch = harness.publisher.status().network_switch
    assert switch is not None
    assert (switch.previous_id, switch.cause, switch.fact) == ("office", "wifi", "Lab-Wi-Fi")
    assert harness.store.load().active == "office"  # A restart begins with the person's choice.
    await profiles.undo_network_switch()
    assert harness.router.profile == OFFICE
    assert harness.publisher.status().network_switch is None
    with pytest.raises(ProfileError, match="nothing to undo"):
        await profiles.undo_network_switch()


async def test_direct_connections_because_of_the_network_can_be_undone_and_resumed(
    tmp_path: Path,
) -> None:
    harness = ChangesHarness(tmp_path)
    profiles = harness.profiles
    for go_back in (profiles.undo_network_switch, profiles.resume):
        profiles.switch_by_network(DIRECT_ID, SwitchCause.ELSEWHERE, "Office")
        assert harness.router.is_direct
        assert profiles.present_id == "office"
        assert harness.store.load().active == "office"
        await go_back()
        assert harness.router.profile == OFFICE
    # Coming back to the network of the profile, and undoing this, connects directly again.
    profiles.switch_by_network(DIRECT_ID, SwitchCause.ELSEWHERE, "Office")
    profiles.switch_by_network("office", SwitchCause.DNS, "corp.example")
    await profiles.undo_network_switch()
    assert harness.router.is_direct


async def test_a_switch_because_of_the_network_ends_a_temporary_direct_connection(
    tmp_path: Path,
) -> None:
    harness = ChangesHarness(tmp_path)
    await harness.profiles.use(DIRECT_ID, 300)
    harness.profiles.switch_by_network("lab", SwitchCause.VPN, "tun0")
    assert harness.router.profile == LAB
    assert harness.publisher.status().direct_until is None


async def test_a_reload_keeps_the_choice_of_the_network_unless_a_person_has_chosen(
    tmp_path: Path,
) -> None:
    harness = ChangesHarness(tmp_path)
    profiles, file = harness.profiles, tmp_path / "config.toml"
    for profile_id in ("lab", DIRECT_ID):
        profiles.switch_by_network(profile_id, SwitchCause.WIFI, "Lab-Wi-Fi")
        file.write_text(file.read_text() + "\n# a comment\n")
        profiles.reload()
        assert harness.publisher.status().network_switch is not None
        assert harness.router.is_direct is (profile_id == DIRECT_ID)
        assert (harness.router.profile == LAB) is (profile_id == "lab")
    file.write_text(file.read_text().replace('active = "office"', 'active = "lab"'))
    profiles.reload()
    assert harness.router.profile == LAB
    assert harness.publisher.status().network_switch is None
