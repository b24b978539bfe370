"""The status of the system proxy: computed from its values, and published when it changes."""

from collections.abc import Callable

from msgspec import structs

from trayproxy.control.messages import SystemProxyState, SystemProxyStatus
from trayproxy.desktop.system_proxy.repair import Repair
from trayproxy.profiles.config import SystemProxyMode
from trayproxy.service.system_proxy.operations import ReadBack
from trayproxy.service.system_proxy.problems import WITHHELD_ID, damaged, withheld


def status_of(found: ReadBack) -> SystemProxyStatus:
    """Return the status for the system proxy as read."""
    state = SystemProxyState.ON if found.titles else SystemProxyState.OFF
    value = program = ""
    if found.is_managed:
        state = SystemProxyState.MANAGED
    elif found.foreign is not None:
        state, value = SystemProxyState.CHANGED, found.foreign.view.address
        program = found.foreign.program
    return SystemProxyStatus(
        state,
        value=value,
        program=program,
        targets=found.titles,
        hints=found.hints,
        waiting=found.waiting,
        withheld=found.withheld,
        holder=found.holder,
    )


def refreshed(known: SystemProxyStatus, found: ReadBack) -> SystemProxyStatus:
    """Return the status for the system proxy as read, with the results of its last change.

    Args:
        known: The status with the results of the last change.
        found: The system proxy as read.
    """
    new = status_of(found)
    problem = known.problem
    if new.withheld:
        problem = problem or withheld(new.withheld)
    elif problem is not None and problem.id == WITHHELD_ID:
        problem = None
    return structs.replace(
        new,
        mode=known.mode,
        inexpressible=known.inexpressible,
        skipped=known.skipped,
        was_repaired=known.was_repaired,
        problem=problem,
    )


def status_after(result: Repair, mode: SystemProxyMode, *, is_repair: bool) -> SystemProxyStatus:
    """Return the status after the system proxy was restored.

    Args:
        result: The result of the restoration.
        mode: The mode of the user's settings.
        is_repair: True if an earlier run of the service has left the settings.
    """
    return SystemProxyStatus(
        mode=mode,
        problem=damaged(result.damaged) if result.damaged is not None else None,
        was_repaired=is_repair and result.was_set and bool(result.restored.changed),
    )


class PublishedStatus:
    """A status that is published when it changes.

    Attributes:
        status: The status, as last published.
    """

    def __init__(
        self, publish: Callable[[SystemProxyStatus], None], status: SystemProxyStatus
    ) -> None:
        """Set the first status, which is not published.

        Args:
            publish: Called with each new status.
            status: The first status.
        """
        self._publish = publish
        self.status = status

    def set(self, **fields: object) -> None:
        """Replace fields of the status."""
        self.replace(structs.replace(self.status, **fields))

    def replace(self, status: SystemProxyStatus) -> None:
        """Replace the status, and publish it if it has changed."""
        if status != self.status:
            self.status = status
            self._publish(status)
