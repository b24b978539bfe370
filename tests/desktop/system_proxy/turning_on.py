"""Sets the system proxy with a journal, as the service does."""

from collections.abc import Sequence

from trayproxy.desktop.system_proxy.base import ProxySetting, ProxyTarget
from trayproxy.system_settings.apply import RefusedPart, TargetChange, apply
from trayproxy.system_settings.journal import Journal, JournalFile


def turn_on(
    file: JournalFile, target: ProxyTarget, setting: ProxySetting
) -> tuple[RefusedPart, ...]:
    """Set a target; return the parts that refuse the change."""
    return turn_on_all(file, [target], setting)


def turn_on_all(
    file: JournalFile, targets: Sequence[ProxyTarget], setting: ProxySetting
) -> tuple[RefusedPart, ...]:
    """Set several targets; return the parts that refuse the change."""
    states = [(target, target.read()) for target in targets]
    changes = [TargetChange(t, now, t.wanted(setting, now).values) for t, now in states]
    return apply(file, changes, lambda records: Journal(1, "", 1.0, records))
