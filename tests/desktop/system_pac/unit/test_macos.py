from collections.abc import Sequence

import pytest

from trayproxy.desktop.commands import CommandResult
from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.desktop.system_pac.macos import present_setting, services_setting
from trayproxy.desktop.system_proxy.base import ProxyKind
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import ProxyScheme, Upstream
from trayproxy.system_settings.entries import Change, TargetError, Unit, Values
from trayproxy.system_settings.journal import Journal
from trayproxy.system_settings.record import TargetRecord

SCRIPT = PacSource(PacKind.URL, "http://pac.example/x.pac")
PROXY = Upstream("proxy.example", 8080)
MANUAL = """\
<dictionary> {
  ExceptionsList : <array> {
    0 : *.local
    1 : 169.254/16
  }
  ExcludeSimpleHostnames : 1
  FTPPassive : 1
  HTTPEnable : 1
  HTTPPort : 8080
  HTTPProxy : proxy.example
  HTTPSEnable : 0
  HTTPSPort : 8081
  HTTPSProxy : old.example
  ProxyAutoConfigEnable : 0
  ProxyAutoConfigURLString : http://pac.example/x.pac
  ProxyAutoDiscoveryEnable : 1
}
"""


def present(text: str) -> SystemSetting:
    def run(argv: Sequence[str]) -> CommandResult:
        assert argv == ("/usr/sbin/scutil", "--proxy")
        return CommandResult(0, text)

    return present_setting(run)


def test_the_addresses_of_the_services_in_use() -> None:
    setting = present(MANUAL)
    assert (setting.kind, setting.http, setting.https) == (ProxyKind.MANUAL, PROXY, None)
    assert setting.bypass == ("*.local", "169.254.0.0/16", "<local>")


def test_a_script_detection_and_no_proxy_of_the_services_in_use() -> None:
    assert present(MANUAL.replace("ConfigEnable : 0", "ConfigEnable : 1")).source == SCRIPT
    detected = present(MANUAL.replace("HTTPEnable : 1", "HTTPEnable : 0"))
    assert detected.source == PacSource(PacKind.WPAD)
    assert present("<dictionary> {\n}\n") == SystemSetting(origin="macOS")
    socks = "<dictionary> {\n  SOCKSEnable : 1\n  SOCKSPort : 1080\n  SOCKSProxy : s.example\n}\n"
    assert present(socks).https == Upstream("s.example", 1080, ProxyScheme.SOCKS5)


def test_a_failure_of_scutil_is_reported() -> None:
    with pytest.raises(TargetError, match="scutil: no such option"):
        present_setting(lambda argv: CommandResult(1, "", "no such option\n"))


class FakeServices:
    """The network services after TrayProxy has changed them."""

    name = "networksetup"
    units: Sequence[Unit] = ()

    def __init__(self, values: Values) -> None:
        self.values = values

    def read(self) -> Values:
        return self.values

    def write(self, changes: Sequence[Change]) -> None:
        raise AssertionError


def test_the_setting_from_before_trayproxy_is_that_of_the_first_service_with_one() -> None:
    unit = Unit("script", ("script url of Wi-Fi", "script state of Wi-Fi"), (), "Wi-Fi")
    ours = {"script url of Wi-Fi": "http://127.0.0.1:3128/x.pac", "script state of Wi-Fi": "on"}
    original = {"script url of Wi-Fi": SCRIPT.location, "script state of Wi-Fi": "on"}
    journal = Journal(
        1,
        "",
        0.0,
        (
            TargetRecord(
                "networksetup", (unit,), original, {key: (value,) for key, value in ours.items()}
            ),
        ),
    )
    others = {"script state of LAN": "off", "web state of LAN": "off"}
    assert services_setting(journal, FakeServices({**others, **ours})).source == SCRIPT
    manual = {
        "web state of VPN of Büro": "on",
        "web address of VPN of Büro": "fd00::1 8080",
        "exceptions of VPN of Büro": "*.local\n10/8",
    }
    journal = Journal(1, "", 0.0, ())
    setting = services_setting(journal, FakeServices({**others, **manual}))
    assert (setting.http, setting.https) == (Upstream("fd00::1", 8080), None)
    assert setting.bypass == ("*.local", "10.0.0.0/8")
    assert services_setting(journal, FakeServices(others)) == SystemSetting(origin="macOS")
