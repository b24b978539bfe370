"""Interpret the values of the system proxy: on, changed by another program, a leftover."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from trayproxy.desktop.system_proxy.base import ProxyTarget, ProxyView
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
        view: The proxy that programs which read the target use now.
        program: The name of the program that listens at that proxy; empty if unknown.
    """

    target: str
    view: ProxyView
    program: str = ""


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
        journal: The changes of TrayProxy.
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


def program_at(port: int) -> str:
    """Return the program that usually listens on a port, empty if there is no usual one."""
    return _LEFT_BY.get(port, "")


def _written(record: TargetRecord, present: Values) -> Values:
    """Return the present values, with those replaced that TrayProxy has changed: by the values
    that TrayProxy has written last."""
    return {**present, **{key: values[-1] for key, values in record.written.items()}}
