"""The state of an automatic configuration, and the problem TP-501 of one that cannot be loaded."""

from dataclasses import dataclass
from time import localtime, strftime

from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.domain.problem import Problem
from trayproxy.profiles.pac_source import PacSource

NOT_LOADED_ID = "TP-501"


@dataclass(frozen=True, slots=True)
class PacState:
    """What is known about a PAC script.

    Attributes:
        script: The text of the script in use; None if there is none.
        origin: Where the script was found: never `PacKind.SYSTEM` or `PacKind.WPAD`.
        loaded_at: The time at which the source last confirmed the script, in seconds since the
            epoch.
        is_stored: True if the script is the last good copy, because its source has not answered.
        setting: If there is no script to use: the system's own setting, a proxy or none. With
            `ProxyKind.NONE`, programs connect directly.
        is_undetected: True if automatic detection has found no server with a script. The name
            servers of a network may be known later than its first address.
        problem: TP-501 if the source cannot be loaded now.
    """

    script: str | None = None
    origin: PacSource | None = None
    loaded_at: float = 0.0
    is_stored: bool = False
    setting: SystemSetting | None = None
    is_undetected: bool = False
    problem: Problem | None = None

    @property
    def is_settled(self) -> bool:
        """True if requests need not wait: there is a script, or none is needed."""
        return self.script is not None or self.setting is not None


def not_loaded(
    title: str, reason: str, reserve: PacState, *, is_copy_damaged: bool = False
) -> Problem:
    """Return the problem of a source that cannot be loaded (ux §5.2).

    Args:
        title: The source, `PacSource.title`.
        reason: The reason, a clause.
        reserve: What is used instead.
        is_copy_damaged: True if there is a copy, and it is damaged.
    """
    if reserve.script is not None:
        date = strftime("%Y-%m-%d %H:%M", localtime(reserve.loaded_at))
        end = f"The last good copy from {date} is in use."
    elif reserve.setting is not None:
        end = "The setting from before is in use."
    elif is_copy_damaged:
        end = "The last good copy is damaged. Requests wait for the script."
    else:
        end = "Requests wait for it."
    body = f"{title}: {reason}. {end}"
    return Problem(NOT_LOADED_ID, "The automatic configuration could not be loaded", body)
