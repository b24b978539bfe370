"""A target of the system proxy in memory."""

from tests.system_settings.fake_target import FakeTarget
from trayproxy.desktop.system_proxy.base import (
    ProxyKind,
    ProxySetting,
    ProxyView,
    Wanted,
    endpoint,
)
from trayproxy.system_settings.entries import Unit, Value, Values

UNITS = (
    Unit("address", ("host", "port")),
    Unit("url", ("url",)),
    Unit("exceptions", ("exceptions",)),
    Unit("mode", ("mode",), used_by=("address", "url")),
)


class FakeProxyTarget(FakeTarget):
    """A target with a manual and a PAC mode, which cannot express bypass rules with a port."""

    hint = ""

    def __init__(self, name: str = "fake", **values: Value) -> None:
        unset: dict[str, Value] = dict.fromkeys(("host", "port", "url", "exceptions", "mode"))
        super().__init__(unset | values, name, UNITS)
        self.title = name.title()
        self.is_managed = False

    def wanted(self, setting: ProxySetting, present: Values) -> Wanted:
        if setting.uses_pac:
            return Wanted({"url": setting.pac_url, "mode": "auto"})
        rules = [rule.subject for rule in setting.bypass if rule.port is None]
        values = {
            "host": setting.host,
            "port": str(setting.port),
            "exceptions": ",".join(rules),
            "mode": "manual",
        }
        return Wanted(values, tuple(rule.text for rule in setting.bypass if rule.port is not None))

    def describe(self, values: Values) -> ProxyView:
        match values["mode"]:
            case "manual":
                address = endpoint(values["host"] or "", values["port"] or "")
                return ProxyView(ProxyKind.MANUAL, address)
            case "auto":
                return ProxyView(ProxyKind.PAC, values["url"] or "")
        return ProxyView(ProxyKind.NONE)

    def without_proxy(self, values: Values) -> Values:
        return {**values, "host": None, "port": None, "mode": None}
