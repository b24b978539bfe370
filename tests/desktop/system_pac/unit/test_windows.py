import pytest

from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.desktop.system_pac.windows import MACHINE, POLICIES, SETTINGS, USER, windows_setting
from trayproxy.desktop.system_proxy.base import ProxyKind
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import Upstream

PAC = "http://pac.example/x.pac"
SCRIPT = PacSource(PacKind.URL, PAC)
PROXY = Upstream("proxy.example", 8080)


def read(
    lan: dict[str, str], *registry: tuple[str, str, str, object], is_original: bool = True
) -> SystemSetting:
    values = {f"{name} of LAN": value for name, value in lan.items()}
    known = {entry[:3]: entry[3] for entry in registry}
    return windows_setting(
        values, lambda root, key, name: known.get((root, key, name)), is_original=is_original
    )


@pytest.mark.parametrize(
    ("lan", "kind"),
    [
        ({"flags": "5", "script": PAC}, ProxyKind.PAC),
        ({"flags": "15", "script": PAC, "server": "proxy.example:8080"}, ProxyKind.PAC),
        ({"flags": "11", "script": PAC, "server": "proxy.example:8080"}, ProxyKind.MANUAL),
        ({"flags": "9"}, ProxyKind.DETECT),
        ({"flags": "13"}, ProxyKind.DETECT),
        ({"flags": "3"}, ProxyKind.NONE),
        ({"flags": "1", "script": PAC, "server": "proxy.example:8080"}, ProxyKind.NONE),
        ({}, ProxyKind.NONE),
    ],
)
def test_the_setting_of_the_lan(lan: dict[str, str], kind: ProxyKind) -> None:
    assert read(lan).kind is kind


@pytest.mark.parametrize(
    ("server", "http", "https"),
    [
        ("proxy.example:8080", PROXY, PROXY),
        ("proxy.example", Upstream("proxy.example", 80), Upstream("proxy.example", 80)),
        ("http=proxy.example:8080;https=other:81", PROXY, Upstream("other", 81)),
        ("http=http://proxy.example:8080 https=other:81", PROXY, Upstream("other", 81)),
        ("HTTP=proxy.example:8080;ftp=x:1", PROXY, None),
        ("https=proxy.example:8080;socks=x:1080", None, PROXY),
    ],
)
def test_the_addresses(server: str, http: Upstream | None, https: Upstream | None) -> None:
    setting = read({"flags": "3", "server": server, "bypass": "<local>; *.corp;<-loopback>;10.*"})
    assert (setting.http, setting.https) == (http, https)
    assert setting.bypass == ("<local>", "*.corp", "10.*")


def test_a_policy_comes_first() -> None:
    lan = {"flags": "3", "server": "proxy.example:8080"}
    for root in (MACHINE, USER):
        setting = read(lan, (root, POLICIES, "AutoConfigURL", PAC))
        assert (setting.source, setting.origin) == (SCRIPT, "Windows (policy)")
    assert read(lan, (MACHINE, POLICIES, "AutoConfigURL", 5)).http == PROXY


def test_the_setting_of_the_computer_counts_if_a_policy_says_so() -> None:
    policy = (MACHINE, POLICIES, "ProxySettingsPerUser", 0)
    script = (MACHINE, SETTINGS, "AutoConfigURL", PAC)
    assert read({"flags": "1"}, policy, script).source == SCRIPT
    assert read({"flags": "1"}, script).kind is ProxyKind.NONE
    enabled = (MACHINE, SETTINGS, "ProxyEnable", 1)
    server = (MACHINE, SETTINGS, "ProxyServer", "proxy.example:8080")
    assert read({"flags": "1"}, policy, enabled, server).http == PROXY
    assert read({"flags": "9"}, policy, server).kind is ProxyKind.DETECT


def test_a_script_that_was_written_into_the_registry_counts_unless_trayproxy_hid_it() -> None:
    script = (USER, SETTINGS, "AutoConfigURL", PAC)
    assert read({"flags": "9"}, script).source == SCRIPT
    assert read({"flags": "9"}, script, is_original=False).kind is ProxyKind.DETECT
