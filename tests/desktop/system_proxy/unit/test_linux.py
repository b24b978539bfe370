"""Which targets belong to which desktop."""

import pytest

from trayproxy.desktop.commands import CommandResult
from trayproxy.desktop.system_proxy.environment_d import EnvironmentTarget
from trayproxy.desktop.system_proxy.gsettings import GSettingsTarget
from trayproxy.desktop.system_proxy.kde import KdeTarget
from trayproxy.desktop.system_proxy.linux import (
    DesktopFamily,
    TargetChoice,
    choose_targets,
    desktop_of,
    find_target,
    proxy_targets,
)
from trayproxy.desktop.system_proxy.linux_commands import session_environment
from trayproxy.system_settings.entries import TargetError

GSETTINGS = {"/usr/bin/gsettings": "/usr/bin/gsettings"}


@pytest.mark.parametrize(
    ("environ", "desktop"),
    [
        *(
            ({"XDG_CURRENT_DESKTOP": names}, DesktopFamily.GNOME)
            for names in (
                "GNOME", "ubuntu:GNOME", "Unity", "Budgie:GNOME", "X-Cinnamon", "MATE", "Pantheon",
                "Deepin", "UKUI", "GNOME-Classic:GNOME", "Unity:Unity7:ubuntu", "pop:GNOME",
            )
        ),
        ({"XDG_CURRENT_DESKTOP": "KDE"}, DesktopFamily.KDE),
        ({"XDG_CURRENT_DESKTOP": "KDE", "DESKTOP_SESSION": "gnome"}, DesktopFamily.KDE),
        *(
            ({"XDG_CURRENT_DESKTOP": names}, DesktopFamily.OTHER)
            for names in ("XFCE", "LXQt", "sway", "Hyprland", "COSMIC", "i3", "GNOMEish")
        ),
        ({"XDG_CURRENT_DESKTOP": "XFCE", "KDE_FULL_SESSION": "true"}, DesktopFamily.OTHER),
        ({"DESKTOP_SESSION": "mate"}, DesktopFamily.GNOME),
        ({"DESKTOP_SESSION": "/usr/share/xsessions/plasma"}, DesktopFamily.KDE),
        ({"DESKTOP_SESSION": "xfce"}, DesktopFamily.OTHER),
        ({"KDE_FULL_SESSION": "true"}, DesktopFamily.KDE),
        ({"GNOME_DESKTOP_SESSION_ID": "this-is-deprecated"}, DesktopFamily.GNOME),
        ({"XDG_CURRENT_DESKTOP": ""}, DesktopFamily.OTHER),
        ({}, DesktopFamily.OTHER),
    ],
)  # fmt: skip
def test_desktops(environ: dict[str, str], desktop: DesktopFamily) -> None:
    assert desktop_of(environ) is desktop


@pytest.mark.parametrize(
    ("desktop", "with_gsettings", "without"),
    [
        ("GNOME", (TargetChoice("gsettings"),), (TargetChoice("gsettings"),)),
        (
            "KDE",
            (TargetChoice("kioslaverc"), TargetChoice("gsettings", is_required=False)),
            (TargetChoice("kioslaverc"),),
        ),
        (
            "XFCE",
            (TargetChoice("gsettings", is_required=False), TargetChoice("environment.d")),
            (TargetChoice("environment.d"),),
        ),
    ],
)
def test_targets_of_desktops(
    desktop: str, with_gsettings: tuple[TargetChoice, ...], without: tuple[TargetChoice, ...]
) -> None:
    environ = {"XDG_CURRENT_DESKTOP": desktop}
    assert choose_targets(environ, GSETTINGS.get, starts_at_log_in=True) == with_gsettings
    assert choose_targets(environ, lambda name: None, starts_at_log_in=True) == without


def test_without_autostart_no_variables_are_set_for_the_next_log_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Programs of the next session would connect to an address at which nothing listens."""
    environ = {"XDG_CURRENT_DESKTOP": "XFCE", "HOME": "/h", "PATH": ""}
    found = choose_targets(environ, GSETTINGS.get, starts_at_log_in=False)
    assert found == (TargetChoice("gsettings"),)
    monkeypatch.setattr("trayproxy.desktop.system_proxy.linux.find_gsettings", lambda which: None)
    with pytest.raises(TargetError, match="trayproxy autostart on"):
        proxy_targets(lambda: False, environ)
    [target] = proxy_targets(lambda: True, environ).required
    assert (target.name, "autostart is on" in target.hint) == ("environment.d", True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("gsettings", GSettingsTarget),
        ("kioslaverc", KdeTarget),
        ("environment.d", EnvironmentTarget),
    ],
)
def test_every_name_has_a_target(name: str, kind: type) -> None:
    target = find_target(name, {"HOME": "/h", "PATH": ""})
    assert isinstance(target, kind)
    assert target.name == name
    assert target.title


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(TargetError, match="there is no target “registry” on Linux"):
        find_target("registry", {})


# --- The environment of commands -----------------------------------------------------------------


def test_the_address_of_the_bus_is_completed() -> None:
    added = {"LC_ALL": "C.UTF-8", "CHARSET": "UTF-8"}
    assert session_environment({}, "/run/user/7") == added | {
        "XDG_RUNTIME_DIR": "/run/user/7",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/7/bus",
    }
    own = {"XDG_RUNTIME_DIR": "/r", "DBUS_SESSION_BUS_ADDRESS": "unix:abstract=x", "A": "b"}
    assert session_environment(own | {"LC_ALL": "de_DE"}, "/run/user/7") == own | added
    del own["DBUS_SESSION_BUS_ADDRESS"]
    found = session_environment(own, "/run/user/7")
    assert found["DBUS_SESSION_BUS_ADDRESS"] == "unix:path=/r/bus"


def test_libraries_of_a_bundle_are_not_used() -> None:
    environ = {"LD_LIBRARY_PATH": "/tmp/_MEI", "GIO_MODULE_DIR": "/tmp/x", "PATH": "/bin"}
    found = session_environment(environ, "/r")
    assert found["PATH"] == "/bin"
    assert not found.keys() & {"LD_LIBRARY_PATH", "GIO_MODULE_DIR"}


@pytest.mark.parametrize(
    ("err", "reason"),
    [("", "exit code 3"), ("\n", "exit code 3"), ("a\n b \n", "b"), ("x" * 300, "x" * 200)],
)
def test_the_reason_is_the_last_line_of_the_errors(err: str, reason: str) -> None:
    assert CommandResult(3, "", err).reason == reason
