"""Tests for trayproxy.cli.forward and .devices: with a service and without."""

import json
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.cli.conftest import Cli
from tests.cli.fake_service import FakeServiceHandler
from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    ChangeListeners,
    FurtherListener,
    ListenerKind,
    RefusedDevices,
    SaveDevicesPassword,
)
from trayproxy.domain.problem import Problem
from trayproxy.profiles.config import Config, Forward
from trayproxy.profiles.store import SettingsStore

GIT = Forward("127.0.0.1", 2222, "git.example", 22)
TAKEN = Problem("TP-113", "Port 2222 is taken", "nc (PID 7) already uses 127.0.0.1:2222.")


def settings(config: Path) -> Config:
    return SettingsStore(config).load()


def test_forwards_are_added_listed_and_removed_without_a_service(cli: Cli, config: Path) -> None:
    assert "There are no forwards." in cli("forward")[1]
    added = (0, "127.0.0.1:2222 is a tunnel to git.example:22.\n", "")
    assert cli("forward", "add", "2222", "git.example:22") == added
    assert settings(config).forwards == (GIT,)
    code, out, err = cli("forward", "list")
    assert (code, out) == (0, "127.0.0.1:2222 to git.example:22\n")
    assert "not running" in err
    assert cli("forward", "add", "127.0.0.1:2222", "other.example:22")[0] == 0
    assert [one.target for one in settings(config).forwards] == ["other.example:22"]
    removed = (0, "127.0.0.1:2222 is no longer a tunnel.\n", "")
    assert cli("forward", "remove", "2222") == removed
    assert settings(config).forwards == ()


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (["add", "x", "git.example:22"], 2, "an address and a port"),
        (["add", "2222", "git.example"], 2, "the host and the port"),
        (["add", "0.0.0.0:2222", "git.example:22"], 2, "could use your sign-in"),
        (["add", "3128", "git.example:22"], 1, "used twice"),
        (["remove", "2222"], 1, "There is no forward at 127.0.0.1:2222. There are: none."),
    ],
)
def test_a_mistake_in_a_forward_is_explained(
    cli: Cli, config: Path, arguments: list[str], code: int, reason: str
) -> None:
    found, out, err = cli("forward", *arguments)
    assert (found, out) == (code, "")
    assert reason in err
    assert settings(config).forwards == ()


def test_a_running_service_adds_a_forward_and_names_its_problem(
    cli: Cli, service: FakeServiceHandler, config: Path
) -> None:
    assert cli("forward", "add", "2222", "git.example:22")[0] == 0
    assert ChangeListeners(forwards=(GIT,)) in service.requests
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('[[forward]]\nlisten = "2222"\nto = "git.example:22"\n')
    listener = FurtherListener(ListenerKind.FORWARD, "127.0.0.1:2222", "git.example:22", TAKEN)
    service.status = replace(service.status, listeners=(listener,))
    assert "already uses 127.0.0.1:2222. (TP-113)" in cli("forward", "list")[1]
    (member,) = json.loads(cli("forward", "list", "--json")[1])["forwards"]
    assert (member["listen"], member["open"]) == ("127.0.0.1:2222", False)


def test_devices_are_allowed_after_the_risk_is_shown(cli: Cli, config: Path) -> None:
    assert cli("devices") == (0, "No other device may connect.\n", "")
    risk = "Everyone who can reach this computer could use your company sign-in."
    code, out, err = cli("devices", "allow", "192.168.1.7/24")
    assert (code, out) == (2, "")
    assert risk in err
    assert settings(config).listen.devices == ()
    code, out, err = cli("devices", "allow", "192.168.1.7/24", "10.0.0.7", "--yes")
    assert (code, out) == (0, "Allowed: 192.168.1.0/24, 10.0.0.7\n")
    assert risk in err
    assert settings(config).listen.devices == ("192.168.1.0/24", "10.0.0.7")
    assert "already" in cli("devices", "allow", "10.0.0.7")[1]
    assert cli("devices", "list")[1] == "192.168.1.0/24\n10.0.0.7\nNo password is required.\n"
    assert json.loads(cli("devices", "list", "--json")[1])["devices"] == [
        "192.168.1.0/24",
        "10.0.0.7",
    ]
    assert "is not in the list" in cli("devices", "remove", "10.0.0.8")[2]
    assert cli("devices", "remove", "10.0.0.7")[0] == 0
    assert settings(config).listen.devices == ("192.168.1.0/24",)
    assert cli("devices", "off")[0] == 0
    assert settings(config).listen.devices == ()


@pytest.mark.parametrize(
    ("address", "reason"), [("printer", "such as 10.0.0.7"), ("0.0.0.0/0", "every address")]
)
def test_a_mistake_in_a_device_is_explained(cli: Cli, address: str, reason: str) -> None:
    code, _, err = cli("devices", "allow", address, "--yes")
    assert code == 2
    assert reason in err


def test_devices_stay_listed_while_a_forward_is_for_them(cli: Cli, config: Path) -> None:
    cli("devices", "allow", "10.0.0.7", "--yes")
    assert cli("forward", "add", "192.0.2.1:2222", "git.example:22")[0] == 0
    code, _, err = cli("devices", "off")
    assert code == 1
    assert "The forward at 192.0.2.1:2222 is for other devices. Remove it first." in err
    assert settings(config).listen.devices == ("10.0.0.7",)


def test_a_password_for_devices_is_saved_by_the_service(
    cli: Cli, service: FakeServiceHandler, config: Path
) -> None:
    code, _, err = cli("devices", "password", "--stdin", stdin=b"lock\n")
    assert code == 1
    assert "Allow one first" in err
    config.parent.mkdir(parents=True, exist_ok=True)
    config.write_text('[listen]\ndevices = ["10.0.0.7"]\n')
    assert cli("devices", "password", "--stdin", stdin=b"\n")[0] == 1
    code, out, _ = cli("devices", "password", "--stdin", stdin=b"lock\n")
    assert (code, out) == (0, "Other devices must send this password, with any user name.\n")
    assert service.requests[-2:] == [
        SaveDevicesPassword(Login("", "lock")),
        ChangeListeners(devices_password=True),
    ]
    assert cli("devices", "password", "--off")[0] == 0
    assert service.requests[-2:] == [
        ChangeListeners(devices_password=False),
        SaveDevicesPassword(None),
    ]


def test_containers_are_let_in_and_out(cli: Cli, config: Path) -> None:
    assert cli("containers") == (0, "Off: containers and WSL cannot connect.\n", "")
    code, out, _ = cli("containers", "on")
    assert code == 0
    assert "On: containers and WSL on this computer can use your company sign-in." in out
    assert settings(config).listen.containers
    assert cli("containers", "off")[1].startswith("Off")
    assert not settings(config).listen.containers


def test_the_status_shows_further_listeners(cli: Cli, service: FakeServiceHandler) -> None:
    service.status = replace(
        service.status,
        listeners=(
            FurtherListener(ListenerKind.FORWARD, "127.0.0.1:2222", "git.example:22", TAKEN),
            FurtherListener(ListenerKind.FORWARD, "127.0.0.1:2223", "git.example:22"),
            FurtherListener(ListenerKind.DEVICES, "192.168.1.5:3128", "10.0.0.7"),
            FurtherListener(ListenerKind.CONTAINERS, "172.17.0.1:3128", "docker0"),
        ),
        refused_devices=RefusedDevices(2, "192.168.1.9", 0.0),
    )
    _, out, _ = cli("status")
    assert "Forward:        127.0.0.1:2223 to git.example:22\n" in out
    assert "2222" not in out
    assert "Other devices:  at 192.168.1.5:3128, allowed: 10.0.0.7\n" in out
    assert "Containers:     at 172.17.0.1:3128 (docker0)\n" in out
    assert "2 connections of other devices, the last one of 192.168.1.9" in out
