import pytest

from trayproxy.desktop.system_pac.base import (
    SystemSetting,
    detection_setting,
    manual_setting,
    script_setting,
    suffix_rules,
    upstream_of,
    whole_network,
    without_own_address,
)
from trayproxy.desktop.system_pac.environment import environment_setting
from trayproxy.desktop.system_proxy.base import ProxyKind
from trayproxy.profiles.host_pattern import HostPattern
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import ProxyScheme, Upstream

PROXY = Upstream("proxy.example", 8080)
OWN = [("127.0.0.1", 3128), ("::1", 3128)]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("proxy.example:8080", PROXY),
        (" http://Proxy.Example:8080/ ", PROXY),
        ("http://user:secret@proxy.example:8080", PROXY),
        (r"http://CORP\user:se:cret@proxy.example:8080", PROXY),
        ("proxy.example", Upstream("proxy.example", 80)),
        ("https://proxy.example", Upstream("proxy.example", 443, ProxyScheme.HTTPS)),
        ("socks://proxy.example", Upstream("proxy.example", 1080, ProxyScheme.SOCKS5)),
        ("socks5h://proxy.example:1081", Upstream("proxy.example", 1081, ProxyScheme.SOCKS5)),
        ("[fd00::1]:8080", Upstream("fd00::1", 8080)),
        ("[fd00::1]", Upstream("fd00::1", 80)),
        ("socks4://proxy.example:1080", None),
        ("http://proxy.example:8080/path", None),
        ("proxy example:8080", None),
        ("proxy:99999", None),
        ("", None),
    ],
)
def test_the_notations_of_addresses(address: str, expected: Upstream | None) -> None:
    assert upstream_of(address) == expected


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("http://pac.example/x.pac", PacSource(PacKind.URL, "http://pac.example/x.pac")),
        ("file:///etc/x.pac", PacSource(PacKind.FILE, "/etc/x.pac")),
        ("/etc/x.pac", PacSource(PacKind.FILE, "/etc/x.pac")),
        ("", None),
        ("system", None),
        ("wpad", None),
        ("ftp://pac.example/x.pac", None),
        ("http://user:secret@pac.example/x.pac", None),
    ],
)
def test_the_script_of_a_system(address: str, source: PacSource | None) -> None:
    setting = script_setting("GNOME", address)
    assert setting.source == source
    if source is None:
        assert setting.kind is ProxyKind.NONE
        assert setting.reason == "the address of its PAC script cannot be used"


@pytest.mark.parametrize(
    ("entries", "rules"),
    [
        (["corp.example"], ["corp.example", ".corp.example"]),
        ([".corp.example"], ["corp.example", ".corp.example"]),
        (["*.corp.example"], ["corp.example", ".corp.example"]),
        (["intranet:8080"], ["intranet:8080", ".intranet:8080"]),
        (["*"], ["*"]),
        (["dev*.example"], ["dev*.example"]),
        (["10.0.0.0/8", "192.0.2.1", "fd00::1", "[fd00::1]", "192.0.2.1:80"],) * 2,
        ([""], []),
        (["a b", "a|b"], []),
    ],
)
def test_exceptions_become_rules(entries: list[str], rules: list[str]) -> None:
    setting = manual_setting("KDE", "proxy.example:8080", "", suffix_rules(entries))
    assert list(setting.bypass) == rules
    for rule in rules:
        HostPattern.parse(rule)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("169.254/16", "169.254.0.0/16"),
        ("10/8", "10.0.0.0/8"),
        ("192.168.1/24", "192.168.1.0/24"),
        ("10.1/8", "10.1/8"),
        ("10/99", "10/99"),
        ("*.local", "*.local"),
    ],
)
def test_a_network_without_its_last_octets(entry: str, expected: str) -> None:
    assert whole_network(entry) == expected


def test_without_a_usable_address_there_is_no_proxy() -> None:
    assert manual_setting("KDE", "", "", ["x"]) == SystemSetting(origin="KDE")
    setting = manual_setting("KDE", "socks4://proxy:1080", "", [])
    assert setting == SystemSetting(origin="KDE", reason="the address of its proxy cannot be used")


@pytest.mark.parametrize(
    ("setting", "is_own"),
    [
        (script_setting("KDE", "http://127.0.0.1:3128/4f1c.pac"), True),
        (script_setting("KDE", "http://localhost:3128/4f1c.pac"), True),
        (script_setting("KDE", "http://[::1]:3128/4f1c.pac"), True),
        (script_setting("KDE", "http://127.0.0.1:8000/4f1c.pac"), False),
        (script_setting("KDE", "http://pac.example:3128/4f1c.pac"), False),
        (script_setting("KDE", "/etc/x.pac"), False),
        (manual_setting("KDE", "127.0.0.1:3128", "", []), True),
        (manual_setting("KDE", "", "127.0.0.2:3128", []), True),
        (manual_setting("KDE", "127.0.0.1:8888", "proxy.example:3128", []), False),
        (detection_setting("KDE"), False),
        (SystemSetting(), False),
    ],
)
def test_trayproxy_never_uses_itself(setting: SystemSetting, is_own: bool) -> None:
    found = without_own_address(setting, OWN)
    expected = SystemSetting(origin="KDE", reason="it is the address of TrayProxy itself")
    assert found == (expected if is_own else setting)


def test_environment_variables() -> None:
    environ = {
        "http_proxy": "http://user:secret@proxy.example:8080",
        "HTTPS_PROXY": "proxy.example:8080",
        "no_proxy": "localhost, corp.example",
    }
    setting = environment_setting(environ)
    assert (setting.http, setting.https) == (PROXY, PROXY)
    assert setting.bypass == ("localhost", ".localhost", "corp.example", ".corp.example")
    assert environment_setting({"ALL_PROXY": "proxy.example:8080"}).http == PROXY
    assert environment_setting({"http_proxy": ""}).kind is ProxyKind.NONE
