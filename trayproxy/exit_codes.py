"""The exit codes of ``trayproxy`` (ux §7.1)."""

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of ``trayproxy`` (ux §7.1)."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    SIGN_IN = 4
    UPSTREAM = 5
    KEYRING = 6
    PORT = 7
    INTERRUPTED = 130
