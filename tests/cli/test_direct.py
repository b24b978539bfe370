"""Tests for trayproxy.cli.direct: with a fake service and without a service."""

from pathlib import Path
from time import localtime, strftime

import pytest
from msgspec import structs

from tests.cli.conftest import Cli
from tests.cli.fake_service import OFFICE, FakeServiceHandler
from trayproxy.control.messages import NetworkSwitch, Resume, SwitchCause, UseProfile
from trayproxy.profiles.config import Config
from trayproxy.profiles.profile import DIRECT_ID
from trayproxy.profiles.store import SettingsStore


@pytest.mark.parametrize(("given", "seconds"), [("90s", 90), ("15m", 900), ("1H", 3600)])
def test_direct_connections_for_some_time_end_by_themselves(
    cli: Cli, service: FakeServiceHandler, given: str, seconds: int
) -> None:
    code, out, err = cli("direct", "--for", given)
    assert (code, out) == (0, "")
    assert service.requests == [UseProfile(DIRECT_ID, seconds)]
    end = strftime("%H:%M:%S", localtime(1_800_000_000 + seconds))
    assert f"until {end}," in err
    assert "trayproxy resume" in err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("2h", "at most 1h"),
        ("61m", "at most 1h"),
        ("3601s", "at most 1h"),
        ("99999999999h", "90s, 15m or 1h"),
        ("0m", "90s, 15m or 1h"),
        ("15", "90s, 15m or 1h"),
        ("-5m", "expected one argument"),
        ("1.5h", "90s, 15m or 1h"),
        ("٣m", "90s, 15m or 1h"),
        ("", "90s, 15m or 1h"),
    ],
)
def test_a_time_that_is_too_long_or_malformed_is_a_usage_error(
    cli: Cli, service: FakeServiceHandler, given: str, words: str
) -> None:
    code, out, err = cli("direct", "--for", given)
    assert (code, out) == (2, "")
    assert words in err
    assert service.requests == []


def test_direct_connections_without_an_end_are_ended_by_resume(
    cli: Cli, service: FakeServiceHandler
) -> None:
    assert cli("direct")[0] == 0
    assert service.config.is_direct
    code, out, err = cli("resume")
    assert (code, out, err) == (0, "", "“Office” is in use again.\n")
    assert service.requests == [UseProfile(DIRECT_ID), Resume()]


def test_resume_ends_direct_connections_for_some_time(
    cli: Cli, service: FakeServiceHandler
) -> None:
    cli("direct", "--for", "15m")
    assert cli("resume")[2] == "“Office” is in use again.\n"
    assert service.requests == [UseProfile(DIRECT_ID, 900), Resume()]


def test_resume_changes_nothing_while_a_profile_is_in_use(
    cli: Cli, service: FakeServiceHandler
) -> None:
    code, _, err = cli("resume")
    assert (code, err) == (0, "Programs do not connect directly; nothing was changed.\n")
    assert service.requests == []


def test_a_time_does_not_shorten_direct_connections_without_an_end(
    cli: Cli, service: FakeServiceHandler
) -> None:
    cli("direct")
    code, _, err = cli("direct", "--for", "5m")
    assert (code, err) == (0, "Programs connect directly already, until “trayproxy resume”.\n")
    assert service.requests == [UseProfile(DIRECT_ID)]


def test_direct_connections_because_of_the_network_end_with_the_network(
    cli: Cli, service: FakeServiceHandler
) -> None:
    cli("direct")
    left = NetworkSwitch(DIRECT_ID, "office", SwitchCause.ELSEWHERE, "Office")
    service.status = structs.replace(service.status, network_switch=left)
    code, _, err = cli("direct", "--for", "5m")
    assert (code, err) == (0, "Programs connect directly already, until the network changes.\n")


def test_a_time_needs_a_profile_to_return_to(cli: Cli, service: FakeServiceHandler) -> None:
    service.config = Config()
    code, _, err = cli("direct", "--for", "5m")
    assert code == 1
    assert err.startswith("No profile is in use")
    assert service.requests == []


def test_a_profile_deleted_meanwhile_is_reported(cli: Cli, service: FakeServiceHandler) -> None:
    service.status = structs.replace(service.status, direct=True, direct_until=1.0)
    service.config = Config()
    code, _, err = cli("resume")
    assert (code, err) == (
        1,
        "The profile was deleted meanwhile. Choose one: trayproxy profiles use.\n",
    )


def test_without_a_service_a_time_is_refused_and_the_settings_change(
    cli: Cli, config: Path
) -> None:
    store = SettingsStore(config)
    assert cli("direct", "--for", "5m")[0] == 3
    assert cli("profiles", "add", "Office", "proxy.example:8080")[0] == 0
    assert cli("direct")[0] == 0
    assert store.load().is_direct
    assert cli("resume") == (0, "", "“Office” is in use again.\n")
    assert store.load().active == OFFICE.id


def test_without_an_earlier_profile_resume_fails(cli: Cli, config: Path) -> None:
    assert cli("direct")[0] == 0
    code, _, err = cli("resume")
    assert (code, err) == (1, "There is no earlier profile. Choose one: trayproxy profiles use.\n")
    assert SettingsStore(config).load().is_direct
