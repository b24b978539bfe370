"""What the command line says, and how it ends."""

import re
import sys
import unicodedata
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from trayproxy.cli.streams import discard_output
from trayproxy.control.messages import Failed, Problem
from trayproxy.exit_codes import ExitCode

_HUNDREDS = {"2": ExitCode.UPSTREAM, "3": ExitCode.SIGN_IN, "4": ExitCode.KEYRING}
_CODES = {
    "TP-101": ExitCode.PORT,
    "TP-102": ExitCode.PORT,
    "TP-307": ExitCode.UPSTREAM,
    "TP-311": ExitCode.FAILED,
}
"""A password that could not be checked (TP-307) is the proxy's silence, not its verdict; one that
could not be put on record (TP-311) was not sent."""


def exit_code_for(problem: Problem) -> ExitCode:
    """Return the exit code that tells of a problem (ux §5.2): by the hundreds of its id."""
    if problem.id in _CODES:
        return _CODES[problem.id]
    return _HUNDREDS.get(problem.id.removeprefix("TP-")[:1], ExitCode.FAILED)


class CommandError(Exception):
    """The verb ends here, with these words.

    Attributes:
        message: For the person; a sentence or more.
        exit_code: The exit code.
    """

    def __init__(self, words: str, code: int = ExitCode.FAILED) -> None:
        super().__init__(words)
        self.message = words
        self.exit_code = code

    @classmethod
    def from_problem(cls, problem: Problem, code: int = ExitCode.FAILED) -> "CommandError":
        """Return the end that a problem makes."""
        return cls(
            f"{printable_line(problem.title)}. {printable_line(problem.body)} ({problem.id})", code
        )

    @classmethod
    def from_reply(cls, failed: Failed) -> "CommandError":
        """Return the end that a reply of the service makes."""
        return cls.from_problem(failed.problem, failed.exit_code)


def print_line(text: str) -> None:
    """Write a line of what the verb was asked for to standard output.

    Raises:
        CommandError: It cannot be written (a full disk); nothing more will be.
        BrokenPipeError: Whoever reads it has seen enough.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise CommandError(f"The output cannot be written: {error.strerror or error}.") from None


def print_message(words: str, end: str = "\n") -> None:
    """Tell the person something, on standard error. There is no way to say that this fails."""
    with suppress(OSError):
        print(words, file=sys.stderr, end=end, flush=True)


def printable_line(text: str, limit: int = 400) -> str:
    """Return text from elsewhere as one line that a terminal takes for nothing but text.

    Controls, among them the escape that commands a terminal, invisible and bidirectional characters
    are dropped, white space becomes single spaces, and the end is cut.
    """
    kept = (" " if char.isspace() else char for char in text)
    shown = "".join(char for char in kept if not unicodedata.category(char).startswith("C"))
    line = " ".join(shown.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def json_line(members: Mapping[str, Any]) -> str:
    """Return an object of JSON as one line of printable ASCII.

    Texts in it come from the network and from settings. Terminals take some characters beyond
    ASCII for commands (C1 controls), and others change the order of what is shown (bidi controls);
    escaped, each program reads what the text was.
    """
    return _NOT_PRINTABLE.sub(_escaped, msgspec.json.encode(members).decode())


# The controls below are escaped by every writer of JSON (RFC 8259, section 7).
_NOT_PRINTABLE = re.compile(r"[^ -~]")


def _escaped(char: re.Match[str]) -> str:
    octets = char[0].encode("utf-16-be")
    return "".join(f"\\u{octets[i : i + 2].hex()}" for i in range(0, len(octets), 2))
