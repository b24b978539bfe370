"""Maps the exceptions of keyring libraries to keyring states and reasons.

The exceptions are recognized by the names of their classes: their libraries are not installed on
every system, and importing them takes long.
"""

from trayproxy.domain.signin import KeyringState

_MAX_REASON_LENGTH = 120


class KeyringUnusableError(Exception):
    """No back-end can be used now.

    Attributes:
        state: Why.
    """

    def __init__(self, state: KeyringState) -> None:
        super().__init__(state.value)
        self.state = state


def state_after(error: Exception) -> KeyringState:
    """Return the state of the keyring after an exception."""
    if isinstance(error, KeyringUnusableError):
        return error.state
    if isinstance(error, UnicodeError):
        return KeyringState.OK
    names = {each.__name__ for each in type(error).__mro__}
    # InitError: the user declined to create or unlock the keyring.
    if names & {"KeyringLocked", "InitError", "LockedException", "PromptDismissedException"}:
        return KeyringState.LOCKED
    if names & {"PasswordSetError", "PasswordDeleteError"}:
        return KeyringState.OK
    if "DBusErrorResponse" in names:
        return _state_after_dbus(str(getattr(error, "name", "")))
    return KeyringState.MISSING


def is_entry_gone(error: Exception) -> bool:
    """Return True if an exception of the Secret Service means that the entry no longer exists."""
    names = {each.__name__ for each in type(error).__mro__}
    return bool(names & {"ItemNotFoundException", "PasswordDeleteError"})


def _state_after_dbus(name: str) -> KeyringState:
    last = name.rpartition(".")[2]
    if last in ("NoReply", "Timeout", "TimedOut"):
        return KeyringState.SILENT
    return KeyringState.LOCKED if last == "IsLocked" else KeyringState.MISSING


def reason_of(error: Exception) -> str:
    """Return the reason for an exception in a few words without any part of a login."""
    if isinstance(error, KeyringUnusableError):
        return f"it is {error.state.value}"
    if isinstance(error, UnicodeError):
        return "it cannot keep these characters"
    text = str(getattr(error, "strerror", "") or "")
    if not text and "KeyringError" in {each.__name__ for each in type(error).__mro__}:
        text = str(error)
    text = " ".join(text.split()).rstrip(".!")
    return text[:_MAX_REASON_LENGTH] or type(error).__name__
