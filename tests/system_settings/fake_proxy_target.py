"""A target of the system proxy in memory."""

from tests.system_settings.fake_target import FakeTarget
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxySetting, ProxyView, Wanted, endpoint
from trayproxy.system_settings.entries import Unit, Value, Values

UNITS = (
    Unit("address", ("host", "port")),
    Unit("url", ("url",)),
    Unit("exceptions", ("exceptions",)),
    Unit("mode", ("mode",), used_by=("address", "url")),
)


VPN = "vpn"
VPN_UNITS = (
    Unit("address of vpn", ("host of vpn", "port of vpn"), part="vpn"),
    Unit("mode of vpn", ("mode of vpn",), used_by=("address of vpn",), part="vpn"),
)
"""The units of a connection that may be missing."""


_PROXY = ("host", "port", "mode")


class FakeProxyTarget(FakeTarget):
    """A target with a manual and a PAC mode, which cannot express bypass rules with a port.

    It can have a connection, `VPN`, with a proxy of its own.

    Attributes:
        effect: What programs use, if the target tells.
    """

    hint = ""

    def __init__(self, name: str = "fake", *, has_vpn: bool = False, **values: Value) -> None:
        units = (*UNITS, *VPN_UNITS) if has_vpn else UNITS
        unset: dict[str, Value] = dict.fromkeys(key for unit in units for key in unit.keys)
        super().__init__(unset | values, name, units)
        self._suffixes = ("", " of vpn") if has_vpn else ("",)
        self.title = name.title()
        self.is_managed = False
        self.effect: ProxyView | None = None

    def wanted(self, setting: ProxySetting, present: Values) -> Wanted:
        if setting.uses_pac:
            return Wanted({"url": setting.pac_url, "mode": "auto"})
        rules = [rule.subject for rule in setting.bypass if rule.port is None]
        values = {
            f"{name}{suffix}": value
            for suffix in self._suffixes
            for name, value in (
                ("host", setting.host),
                ("port", str(setting.port)),
                ("mode", "manual"),
            )
        }
        values["exceptions"] = ",".join(rules)
        return Wanted(values, tuple(rule.text for rule in setting.bypass if rule.port is not None))

    def describe(self, values: Values, part: str | None = None) -> ProxyView:
        suffix = " of vpn" if part == VPN else ""
        match values[f"mode{suffix}"]:
            case "manual":
                host, port = values[f"host{suffix}"], values[f"port{suffix}"]
                address = endpoint(host or "", port or "")
                return ProxyView(ProxyKind.MANUAL, address)
            case "auto":
                return ProxyView(ProxyKind.PAC, values["url"] or "")
        return ProxyView(ProxyKind.NONE)

    def in_effect(self) -> ProxyView | None:
        return self.effect

    def without_proxy(self, values: Values) -> Values:
        names = (f"{name}{suffix}" for name in _PROXY for suffix in self._suffixes)
        return {**values, **dict.fromkeys(names)}
