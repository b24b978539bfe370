"""The problems of the system proxy (ux §5.2)."""

from pathlib import Path

from trayproxy.desktop.system_proxy.base import ADMINISTRATOR_NEEDED
from trayproxy.domain.problem import Problem
from trayproxy.service.system_proxy.operations import HeldError, LeftoverError, ManagedError
from trayproxy.service.system_proxy.state import Leftover
from trayproxy.system_settings.apply import NotAppliedError
from trayproxy.system_settings.entries import TargetError
from trayproxy.system_settings.journal import JournalError
from trayproxy.system_settings.lock import SettingsBusyError
from trayproxy.system_settings.restore import Failure

NOT_RESTORED_ID = "TP-607"
WITHHELD_ID = "TP-614"

NOT_LISTENING = Problem(
    "TP-604",
    "The system proxy could not be changed",
    "TrayProxy does not listen at its local address, so programs would not reach it. Free the "
    "port or choose another one, then try again.",
)

Error = (
    HeldError
    | JournalError
    | LeftoverError
    | ManagedError
    | NotAppliedError
    | OSError
    | SettingsBusyError
    | TargetError
)
"""The exceptions of `trayproxy.service.system_proxy.operations`."""

ERRORS = (
    HeldError,
    JournalError,
    LeftoverError,
    ManagedError,
    NotAppliedError,
    OSError,
    SettingsBusyError,
    TargetError,
)
"""The classes of `Error`, for ``except``."""


def problem_of(error: Error, address: str) -> Problem:
    """Return the problem for an exception.

    Args:
        error: The exception.
        address: TrayProxy's local address.
    """
    match error:
        case ManagedError():
            return Problem(
                "TP-602",
                "Managed by your organisation",
                "The system proxy is set by a policy and cannot be changed here. Programs can "
                f"still use {address}: choose “Copy settings for” in the menu, or run trayproxy "
                "recipe.",
            )
        case HeldError():
            return held(error.settings, error.pid)
        case LeftoverError(leftover=leftover):
            return _leftover_problem(leftover)
        case NotAppliedError(is_rolled_back=False):
            return _not_changed(
                f"{error.target or 'the journal'}: {error.reason}. Not all settings could be put "
                "back; TrayProxy tries again when it starts, or with: trayproxy system-proxy "
                "restore"
            )
        case NotAppliedError(reason=reason) if reason == ADMINISTRATOR_NEEDED:
            return Problem(
                "TP-601",
                "macOS wants an administrator",
                "Your Mac allows only administrators to change the proxy, and no administrator has "
                "allowed it. The settings are as they were before. Try again with the password of "
                f"an administrator, or set {address} by hand in the network settings.",
            )
        case NotAppliedError():
            return _not_changed(
                f"{error.target or 'the journal'}: {error.reason}. The settings are as they were "
                "before."
            )
        case JournalError():
            return _not_changed(f"The journal cannot be used: {error.reason}.")
        case SettingsBusyError():
            return _not_changed(
                "Another process of TrayProxy is changing it and does not finish. Try again."
            )
        case OSError():
            return _not_changed(f"{error.strerror or error}.")
    return _not_changed(f"The reason: {error}.")


def not_restored(failures: tuple[Failure, ...]) -> Problem:
    """Return the problem for targets that could not be restored."""
    reasons = "; ".join(f"{failure.target}: {failure.reason}" for failure in failures)
    return Problem(
        NOT_RESTORED_ID,
        "The system proxy could not be restored",
        f"{reasons}. The earlier settings are kept. Try again with: trayproxy system-proxy restore",
    )


def withheld(address: str) -> Problem:
    """Return the notice about an earlier system proxy that was not restored.

    Args:
        address: The address of the proxy, on this computer.
    """
    return Problem(
        WITHHELD_ID,
        "Your earlier system proxy was not put back",
        f"It is {address}, and no program answers there: programs connect directly instead. To "
        "have it back nevertheless: trayproxy system-proxy restore --keep. To forget it: trayproxy "
        "system-proxy restore --forget",
    )


def held(settings: str, pid: int = 0) -> Problem:
    """Return the problem of a system proxy that another TrayProxy of the user has set.

    Args:
        settings: The settings file of the other TrayProxy.
        pid: The id of its process; 0 if unknown.
    """
    process = f", process {pid}," if pid else ""
    return Problem(
        "TP-615",
        "Another TrayProxy has set the system proxy",
        f"The TrayProxy with the settings {settings}{process} uses the system proxy. Turn the "
        "system proxy off there, or quit that TrayProxy, then try again. To put the earlier "
        "settings back at once: trayproxy system-proxy restore",
    )


def damaged(aside: Path) -> Problem:
    """Return the notice about a damaged journal.

    Args:
        aside: Where the journal is kept now.
    """
    return Problem(
        "TP-606",
        "The record of your system proxy is damaged",
        f"TrayProxy cannot tell what the system proxy was before. The record is kept as {aside}. "
        "Check the proxy in your network settings.",
    )


def _leftover_problem(leftover: Leftover) -> Problem:
    by = f" It was perhaps left by {leftover.program}." if leftover.program else ""
    return Problem(
        "TP-605",
        "The present system proxy does not work",
        f"Programs use {leftover.address} now, and nothing answers there.{by} Forget it, or keep "
        "it: TrayProxy then restores this address when it is turned off.",
    )


def _not_changed(body: str) -> Problem:
    return Problem("TP-604", "The system proxy could not be changed", body)
