"""Tests for trayproxy.importers.system."""

import pytest

from tests.importers.examples import SECRET
from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.desktop.system_proxy.base import ProxyKind
from trayproxy.importers.system import DesktopProxy, from_desktop
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Upstream

PROXY, OTHER = Upstream("proxy.corp.example", 8080), Upstream("tls.corp.example", 8443)


def test_a_manual_proxy_makes_a_profile_with_its_login() -> None:
    setting = SystemSetting(
        ProxyKind.MANUAL, None, PROXY, PROXY, ("localhost", "*.corp.example", "a:b:c"), "GNOME"
    )
    found = from_desktop(DesktopProxy(setting, "CORP\\jdoe", SECRET))
    [profile] = found.profiles
    assert (profile.upstreams, profile.user) == ((PROXY,), "CORP\\jdoe")
    assert profile.password is not None
    assert profile.password.secret == SECRET
    assert str(profile.password.place) == "the settings of GNOME"
    assert profile.bypass == ("localhost", "*.corp.example")
    assert profile.notes == ("Entries without a proxy that have no equivalent: “a:b:c”.",)
    assert SECRET not in repr(found)


def test_the_proxy_for_https_is_another_profile_without_the_login() -> None:
    setting = SystemSetting(ProxyKind.MANUAL, None, PROXY, OTHER, (), "GNOME")
    first, second = from_desktop(DesktopProxy(setting, "jdoe", SECRET)).profiles
    assert (first.upstreams, first.user) == ((PROXY,), "jdoe")
    assert (second.upstreams, second.user, second.password) == ((OTHER,), "", None)


@pytest.mark.parametrize(
    "source", [PacSource(PacKind.URL, "http://pac.example/x.pac"), PacSource(PacKind.WPAD)]
)
def test_a_script_makes_an_automatic_profile(source: PacSource) -> None:
    setting = SystemSetting(ProxyKind.PAC, source, origin="KDE")
    [profile] = from_desktop(DesktopProxy(setting)).profiles
    assert (profile.pac, profile.upstreams) == (source, ())


@pytest.mark.parametrize(
    ("setting", "notes"),
    [
        (SystemSetting(), ()),
        (SystemSetting(origin="GNOME"), ()),
        (
            SystemSetting(origin="GNOME", reason="the address of its proxy cannot be used"),
            ("the settings of GNOME: the address of its proxy cannot be used.",),
        ),
        (SystemSetting(ProxyKind.MANUAL, None, PROXY, origin="environment variables"), ()),
    ],
)
def test_other_settings_make_no_profile(setting: SystemSetting, notes: tuple[str, ...]) -> None:
    found = from_desktop(DesktopProxy(setting))
    assert (found.profiles, found.notes) == ((), notes)
