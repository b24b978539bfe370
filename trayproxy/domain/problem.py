"""Problems for the user, their exit codes, and functions for untrusted text."""

import unicodedata
from enum import IntEnum

from msgspec import Struct


class Problem(Struct, frozen=True):
    """An error or a warning for the user (ux §5.2).

    Attributes:
        id: The stable, searchable code, ``TP-201``.
        title: At most 60 characters, no full stop.
        body: The event, its cause, and the user's next step.
        url: A page to open in a browser, ``http`` or ``https``; empty if there is no page.
            Untrusted.
    """

    id: str
    title: str
    body: str
    url: str = ""


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


_CODES_BY_HUNDREDS = {
    "2": ExitCode.UPSTREAM,
    "3": ExitCode.SIGN_IN,
    "4": ExitCode.KEYRING,
    "5": ExitCode.UPSTREAM,
}
_CODES_BY_ID = {
    "TP-101": ExitCode.PORT,
    "TP-102": ExitCode.PORT,
    "TP-307": ExitCode.UPSTREAM,
    "TP-311": ExitCode.FAILED,
}
"""The exit codes of the problems to which `_CODES_BY_HUNDREDS` does not apply: an unverified login
(TP-307) was not rejected, and an unrecorded login (TP-311) was not sent."""


def exit_code_for(problem: Problem) -> ExitCode:
    """Return the exit code for a problem (ux §5.2), chosen by the hundreds of the problem's id."""
    if problem.id in _CODES_BY_ID:
        return _CODES_BY_ID[problem.id]
    return _CODES_BY_HUNDREDS.get(problem.id.removeprefix("TP-")[:1], ExitCode.FAILED)


def single_line(untrusted: str, *, kept: str = "") -> str:
    """Return a text as a single line without invisible characters.

    White space and line ends become single spaces. Control, format (including all bidirectional
    controls), surrogate, private-use and unassigned characters are removed.

    Args:
        untrusted: A text from the network or from the settings.
        kept: The invisible characters that are not removed.
    """
    spaced = (" " if char.isspace() else char for char in untrusted)
    visible = (c for c in spaced if c in kept or not unicodedata.category(c).startswith("C"))
    return " ".join("".join(visible).split())


def utf16_units(text: str) -> int:
    """Return the length of a text in UTF-16 code units, in which Qt and Windows count."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
