"""macOS: the proxies of network services, with a replacement of networksetup(8)."""

import shlex
from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.desktop.system_proxy.turning_on import turn_on
from trayproxy.desktop.commands import CommandResult
from trayproxy.desktop.system_proxy.base import (
    ADMINISTRATOR_NEEDED,
    BypassKind,
    BypassRule,
    ProxyKind,
    ProxySetting,
    ProxyView,
)
from trayproxy.desktop.system_proxy.macos import MacTarget
from trayproxy.system_settings.apply import NotAppliedError, TargetChange, apply
from trayproxy.system_settings.entries import TargetError
from trayproxy.system_settings.journal import Journal, JournalFile
from trayproxy.system_settings.restore import restore

URL = "http://127.0.0.1:3128/4f1c.pac"
SETTING = ProxySetting("127.0.0.1", 3128, URL)
LISTED = ("An asterisk (*) denotes that a network service is disabled.", "*Thunderbolt Bridge")
SCUTIL = """\
<dictionary> {
  ExceptionsList : <array> {
    0 : localhost
  }
  HTTPEnable : 1
  HTTPPort : 3128
  HTTPProxy : 127.0.0.1
  HTTPSEnable : 1
  HTTPSPort : 3128
  HTTPSProxy : 127.0.0.1
  ProxyAutoConfigEnable : 0
}
"""
"""The output of ``scutil --proxy``."""
RIGHT = """\
<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0"><dict><key>shared</key><{}/></dict></plist>
"""
NOT_ALLOWED = "** Error: Command requires admin privileges.\n"


class FakeNetworkService:
    """The proxies of a network service."""

    def __init__(self) -> None:
        self.addresses = {"webproxy": ("", "0"), "securewebproxy": ("", "0")}
        self.states = dict.fromkeys(("webproxy", "securewebproxy", "autoproxy"), "off")
        self.states["proxyautodiscovery"] = "off"
        self.login = {"webproxy": "0", "securewebproxy": "0"}
        self.url = "(null)"
        self.exceptions: list[str] = []

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FakeNetworkService) and vars(self) == vars(other)

    __hash__ = None  # type: ignore[assignment]


class FakeMac:
    """networksetup, security and osascript for two enabled services."""

    def __init__(self) -> None:
        self.services = {"Wi-Fi": FakeNetworkService(), "VPN of Büro": FakeNetworkService()}
        self.is_administrator = True
        self.is_shared = True
        self.gives_password = True
        self.prompts = 0
        self.broken: set[str] = set()
        self.hanging: set[str] = set()
        self.disabled: set[str] = set()
        self.failing = ""
        self.proxies = "<dictionary> {\n}\n"

    def run(self, argv: Sequence[str]) -> CommandResult:
        program, *arguments = argv
        if program == "/usr/bin/security":
            return CommandResult(0, RIGHT.format(str(self.is_shared).lower()))
        if program == "/usr/sbin/scutil":
            return CommandResult(0, self.proxies)
        assert program == "/usr/sbin/networksetup"
        return self._networksetup(arguments, self.is_administrator)

    def run_as_administrator(self, argv: Sequence[str]) -> CommandResult:
        program, option, source = argv
        assert (program, option) == ("/usr/bin/osascript", "-e")
        self.prompts += 1
        if not self.gives_password:
            return CommandResult(1, "", "execution error: User canceled. (-128)")
        script = source.removeprefix('do shell script "').removesuffix(
            '" with administrator privileges'
        )
        for command in script.replace('\\"', '"').replace("\\\\", "\\").split("; "):
            result = self._networksetup(shlex.split(command)[1:], True)
            if result.code:
                return result
        return CommandResult(0)

    def _networksetup(self, arguments: list[str], is_allowed: bool) -> CommandResult:
        command, *rest = arguments
        if command == "-listallnetworkservices":
            names = [f"*{name}" if name in self.disabled else name for name in self.services]
            return CommandResult(0, "\n".join((*LISTED, *names, "")))
        name, *values = rest
        if name in self.hanging:
            raise TargetError("networksetup does not end within 5 s")
        if name in self.broken:
            return CommandResult(4, f"{name} is not a recognized network service.\n** Error: …\n")
        service = self.services[name]
        if command.startswith("-get"):
            return CommandResult(0, self._get(service, command.removeprefix("-get"), name))
        if not is_allowed:
            return CommandResult(14, NOT_ALLOWED)
        if command == self.failing:
            return CommandResult(4, "** Error: The parameters were not valid.\n")
        self._set(service, command.removeprefix("-set"), values)
        return CommandResult(0)

    def _get(self, service: FakeNetworkService, name: str, title: str) -> str:
        if name == "proxybypassdomains":
            if not service.exceptions:
                return f"There aren't any bypass domains set on {title}.\n"
            return "".join(f"{line}\n" for line in service.exceptions)
        if name == "proxyautodiscovery":
            return f"Auto Proxy Discovery: {service.states[name].title()}\n"
        if name == "autoproxyurl":
            enabled = "Yes" if service.states["autoproxy"] == "on" else "No"
            return f"URL: {service.url}\nEnabled: {enabled}\n"
        host, port = service.addresses[name]
        enabled = "Yes" if service.states[name] == "on" else "No"
        return (
            f"Enabled: {enabled}\nServer: {host}\nPort: {port}\n"
            f"Authenticated Proxy Enabled: {service.login[name]}\n"
        )

    def _set(self, service: FakeNetworkService, name: str, values: list[str]) -> None:
        if name == "proxybypassdomains":
            service.exceptions = [] if values == ["Empty"] else values
        elif name == "autoproxyurl":
            service.url, service.states["autoproxy"] = values[0] or "(null)", "on"
        elif name in service.addresses:
            service.addresses[name] = (values[0], values[1])
            service.states[name] = "on"
        else:
            service.states[name.removesuffix("state")] = values[0]


@pytest.fixture
def mac() -> FakeMac:
    return FakeMac()


@pytest.fixture
def target(mac: FakeMac) -> MacTarget:
    return MacTarget(mac.run, mac.run_as_administrator)


def company() -> FakeNetworkService:
    service = FakeNetworkService()
    service.addresses = {"webproxy": ("old", "8080"), "securewebproxy": ("old", "8080")}
    service.url = "http://wpad/wpad.dat"
    service.states |= {"autoproxy": "on", "webproxy": "off", "proxyautodiscovery": "on"}
    service.exceptions = ["*.local", "169.254/16"]
    return service


def test_every_enabled_service_is_set_and_restored(
    mac: FakeMac, target: MacTarget, file: JournalFile
) -> None:
    mac.services["VPN of Büro"] = company()
    turn_on(file, target, SETTING)
    for service in mac.services.values():
        assert service.addresses["securewebproxy"] == ("127.0.0.1", "3128")
        assert service.states == {
            "webproxy": "on",
            "securewebproxy": "on",
            "autoproxy": "off",
            "proxyautodiscovery": "off",
        }
        assert service.exceptions == ["localhost", "127.0.0.0/8", "::1"]
    assert target.describe(target.read()) == ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128")
    restore(file, lambda name: target)
    assert mac.services == {"Wi-Fi": FakeNetworkService(), "VPN of Büro": company()}
    assert mac.prompts == 0


def test_with_a_pac_file_the_addresses_stay(
    mac: FakeMac, target: MacTarget, file: JournalFile
) -> None:
    mac.services["Wi-Fi"] = company()
    turn_on(file, target, replace(SETTING, uses_pac=True))
    service = mac.services["Wi-Fi"]
    assert (service.url, service.addresses["webproxy"]) == (URL, ("old", "8080"))
    assert service.states["autoproxy"] == "on"
    assert target.describe(target.read()) == ProxyView(ProxyKind.PAC, URL)
    restore(file, lambda name: target)
    assert mac.services == {"Wi-Fi": company(), "VPN of Büro": FakeNetworkService()}


def test_a_proxy_with_a_login_is_not_replaced(
    mac: FakeMac, target: MacTarget, file: JournalFile
) -> None:
    """macOS does not show the login, so it could not be restored: the PAC file is used instead."""
    service = mac.services["Wi-Fi"]
    service.addresses["webproxy"], service.login["webproxy"] = ("old", "8080"), "1"
    service.states["webproxy"] = "on"
    turn_on(file, target, SETTING)
    assert service.addresses["webproxy"] == ("old", "8080")
    assert (service.states["webproxy"], service.states["autoproxy"]) == ("off", "on")
    assert service.url == URL
    assert mac.services["VPN of Büro"].addresses["webproxy"] == ("127.0.0.1", "3128")
    restore(file, lambda name: target)
    assert (service.states["webproxy"], service.url) == ("on", "(null)")
    assert service.states["autoproxy"] == "off"


def test_a_login_that_another_program_has_added_is_left(
    mac: FakeMac, target: MacTarget, file: JournalFile
) -> None:
    turn_on(file, target, SETTING)
    service = mac.services["Wi-Fi"]
    service.addresses["webproxy"], service.login["webproxy"] = ("new", "8080"), "1"
    assert ("networksetup", "web address of Wi-Fi") in restore(file, lambda name: target).left
    assert (service.addresses["webproxy"], service.states["webproxy"]) == (("new", "8080"), "on")
    assert service.states["securewebproxy"] == "off"
    assert file.load() is None


@pytest.mark.parametrize(("administrator", "shared"), [(False, True), (True, False)])
def test_the_password_is_asked_for_once(
    mac: FakeMac, target: MacTarget, file: JournalFile, administrator: bool, shared: bool
) -> None:
    mac.is_administrator, mac.is_shared = administrator, shared
    turn_on(file, target, SETTING)
    assert mac.prompts == 1
    assert mac.services["Wi-Fi"].addresses["webproxy"] == ("127.0.0.1", "3128")
    restore(file, lambda name: target)
    assert mac.prompts == 2
    assert mac.services == {"Wi-Fi": FakeNetworkService(), "VPN of Büro": FakeNetworkService()}


def test_without_the_password_nothing_is_changed(
    mac: FakeMac, target: MacTarget, file: JournalFile
) -> None:
    mac.is_shared = mac.gives_password = False
    with pytest.raises(NotAppliedError) as failure:
        turn_on(file, target, SETTING)
    assert failure.value.reason == ADMINISTRATOR_NEEDED
    assert failure.value.is_rolled_back
    assert mac.services == {"Wi-Fi": FakeNetworkService(), "VPN of Büro": FakeNetworkService()}
    assert mac.prompts == 1
    assert file.load() is None


@pytest.mark.parametrize("command", ["-setwebproxy", "-setproxybypassdomains"])
def test_after_a_failed_command_nothing_is_changed(
    mac: FakeMac, target: MacTarget, file: JournalFile, command: str
) -> None:
    mac.services["Wi-Fi"] = company()
    failing, mac.failing = command, command

    class Once(MacTarget):
        def write(self, changes: object) -> None:
            try:
                super().write(changes)  # type: ignore[arg-type]
            finally:
                mac.failing = ""

    with pytest.raises(NotAppliedError, match="not valid"):
        turn_on(file, Once(mac.run, mac.run_as_administrator), SETTING)
    assert failing
    assert mac.services == {"Wi-Fi": company(), "VPN of Büro": FakeNetworkService()}


def test_a_service_that_cannot_be_read_is_left_alone(
    mac: FakeMac, target: MacTarget, file: JournalFile
) -> None:
    mac.broken.add("VPN of Büro")
    turn_on(file, target, SETTING)
    assert mac.services["Wi-Fi"].addresses["webproxy"] == ("127.0.0.1", "3128")
    mac.broken.clear()
    restore(file, lambda name: target)
    assert mac.services == {"Wi-Fi": FakeNetworkService(), "VPN of Büro": FakeNetworkService()}


@pytest.mark.parametrize("kind", ["broken", "hanging", "disabled"])
def test_a_service_that_is_not_there_for_the_moment_is_restored_later(
    mac: FakeMac, target: MacTarget, file: JournalFile, kind: str
) -> None:
    turn_on(file, target, SETTING)
    getattr(mac, kind).add("VPN of Büro")
    restore(file, lambda name: MacTarget(mac.run, mac.run_as_administrator))
    assert mac.services["Wi-Fi"] == FakeNetworkService()
    assert mac.services["VPN of Büro"].addresses["webproxy"] == ("127.0.0.1", "3128")
    getattr(mac, kind).clear()
    restore(file, lambda name: target)
    assert mac.services == {"Wi-Fi": FakeNetworkService(), "VPN of Büro": FakeNetworkService()}
    assert file.load() is None


def test_a_service_that_refuses_a_command_is_skipped(
    mac: FakeMac, target: MacTarget, file: JournalFile
) -> None:
    mac.services["Wi-Fi"] = company()
    mac.failing = "-setautoproxystate"
    assert [refusal.part for refusal in turn_on(file, target, SETTING)] == ["Wi-Fi"]
    assert mac.services["VPN of Büro"].addresses["webproxy"] == ("127.0.0.1", "3128")
    mac.failing = ""
    restore(file, lambda name: target)
    assert mac.services == {"Wi-Fi": company(), "VPN of Büro": FakeNetworkService()}


def test_a_service_that_hangs_is_skipped(
    mac: FakeMac, target: MacTarget, file: JournalFile
) -> None:
    present = target.read()
    mac.hanging.add("Wi-Fi")
    change = TargetChange(target, present, target.wanted(SETTING, present).values)
    [refusal] = apply(file, [change], lambda records: Journal(1, "", 0.0, records))
    assert (refusal.part, refusal.reason) == ("Wi-Fi", "networksetup does not end within 5 s")
    assert mac.services["VPN of Büro"].addresses["webproxy"] == ("127.0.0.1", "3128")


@pytest.mark.parametrize(
    ("proxies", "view"),
    [
        (SCUTIL, ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128")),
        (
            "<dictionary> {\n  ProxyAutoConfigEnable : 1\n"
            f"  ProxyAutoConfigURLString : {URL}\n}}\n",
            ProxyView(ProxyKind.PAC, URL),
        ),
        ("<dictionary> {\n}\n", ProxyView(ProxyKind.NONE)),
        ("** Error: it does not work\n", None),
    ],
)
def test_the_proxies_in_use_are_read(
    mac: FakeMac, target: MacTarget, proxies: str, view: ProxyView | None
) -> None:
    mac.proxies = proxies
    assert target.in_effect() == view


def test_without_a_service_nothing_can_be_read(mac: FakeMac, target: MacTarget) -> None:
    mac.broken |= {"Wi-Fi", "VPN of Büro"}
    with pytest.raises(TargetError, match="not a recognized network service"):
        target.read()


def test_the_settings_of_another_program_stay(
    mac: FakeMac, target: MacTarget, file: JournalFile
) -> None:
    turn_on(file, target, SETTING)
    mac.services["Wi-Fi"].addresses["webproxy"] = ("127.0.0.1", "8888")
    restore(file, lambda name: target)
    service = mac.services["Wi-Fi"]
    assert service.addresses["webproxy"] == ("127.0.0.1", "8888")
    assert service.states == FakeNetworkService().states | {"webproxy": "on"}


def test_a_proxy_is_removed_and_the_rest_stays(mac: FakeMac, target: MacTarget) -> None:
    mac.services["Wi-Fi"].addresses["webproxy"] = ("127.0.0.1", "8888")
    mac.services["Wi-Fi"].states["webproxy"] = "on"
    values = target.read()
    assert target.without_proxy(values) == {**values, "web state of Wi-Fi": "off"}


@pytest.mark.parametrize(
    ("kind", "subject", "port", "entry"),
    [
        (BypassKind.NAME, "intranet", None, "intranet"),
        (BypassKind.SUBDOMAINS, "corp.example", None, "*.corp.example"),
        (BypassKind.PATTERN, "dev-*.example", None, "dev-*.example"),
        (BypassKind.ADDRESS, "fd00::1", None, "fd00::1"),
        (BypassKind.NETWORK, "172.16.0.0/12", None, "172.16.0.0/12"),
        (BypassKind.NETWORK, "fd00::/8", None, None),
        (BypassKind.LOCAL, "<local>", None, None),
        (BypassKind.NAME, "intranet", 8080, None),
    ],
)
def test_bypass_rules_in_the_syntax_of_macos(
    target: MacTarget, kind: BypassKind, subject: str, port: int | None, entry: str | None
) -> None:
    rule = BypassRule("as typed", kind, subject, port)
    wanted = target.wanted(replace(SETTING, bypass=(rule,)), target.read())
    expected = "localhost\n127.0.0.0/8\n::1" + (f"\n{entry}" if entry else "")
    assert wanted.values["exceptions of Wi-Fi"] == expected
    assert wanted.inexpressible == (() if entry else ("as typed",))
