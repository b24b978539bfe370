"""Decide what the system proxy's values mean: on, changed by another program, a leftover."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

from trayproxy.desktop.system_proxy.base import ProxyKind, ProxyTarget, ProxyView
from trayproxy.system_settings.entries import Values
from trayproxy.system_settings.journal import Journal
from trayproxy.system_settings.record import TargetRecord

_LEFT_BY = {
    1080: "Shadowsocks",
    1081: "V2RayU",
    2080: "NekoRay",
    7890: "Clash",
    7897: "Clash Verge",
    8080: "mitmproxy or Burp",
    8118: "Privoxy",
    8888: "Fiddler or Charles",
    9090: "Proxyman",
    10808: "v2rayN",
    10809: "v2rayN",
}
"""Programs that set the system proxy, by the port on which they listen by default."""


@dataclass(frozen=True, slots=True)
class Foreign:
    """A system proxy that another program has set.

    Attributes:
        target: The title of the target.
        view: What programs that read the target use now.
    """

    target: str
    view: ProxyView


@dataclass(frozen=True, slots=True)
class Leftover:
    """A system proxy on this computer at which no program listens.

    Attributes:
        target: The name of the target.
        address: The address, ``127.0.0.1:8888``.
        program: The program that usually listens there; empty if unknown.
    """

    target: str
    address: str
    program: str


def find_foreign(
    journal: Journal, targets: Sequence[ProxyTarget], present: Mapping[str, Values]
) -> Foreign | None:
    """Return the first target that another program has changed, None if all are TrayProxy's.

    Only what programs use counts: a changed list of exceptions, for example, is the user's own.

    Args:
        journal: What TrayProxy has changed.
        targets: The targets of the journal that could be read.
        present: The values of these targets by the names of the targets.
    """
    for target in targets:
        record = journal.record_of(target.name)
        if record is None:
            continue
        now = target.describe(present[target.name])
        if now != target.describe(_written(record, present[target.name])):
            return Foreign(target.title, now)
    return None


def loopback_endpoints(view: ProxyView) -> tuple[tuple[str, int], ...]:
    """Return the host and the port of each manual proxy on this computer.

    The address may name several proxies: ``127.0.0.1:7890, 127.0.0.1:7891``, or on Windows
    ``http=127.0.0.1:8888;https=127.0.0.1:8888``.
    """
    if view.kind is not ProxyKind.MANUAL:
        return ()
    parts = view.address.replace(";", ",").split(",")
    found = (_endpoint(part.rpartition("=")[2].strip()) for part in parts)
    return tuple(dict.fromkeys(endpoint for endpoint in found if endpoint is not None))


def _endpoint(address: str) -> tuple[str, int] | None:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    if not port.isascii() or not port.isdecimal() or not 0 < int(port) < 1 << 16:
        return None
    return (host, int(port)) if _is_loopback(host) else None


def program_at(port: int) -> str:
    """Return the program that usually listens on a port, empty if there is no usual one."""
    return _LEFT_BY.get(port, "")


def _written(record: TargetRecord, present: Values) -> Values:
    """Return the present values with those that TrayProxy has written last."""
    return {**present, **{key: values[-1] for key, values in record.written.items()}}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
