"""Write the command line's output, and choose its exit codes."""

import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import msgspec

from trayproxy.cli.streams import discard_output
from trayproxy.control.messages import Failed
from trayproxy.domain.problem import ExitCode, Problem, single_line

_BODY_LENGTH = 1200
"""The maximum length of a problem's body; the longest texts of TrayProxy itself have some 700
characters."""


class CommandError(Exception):
    """The verb fails with a message for the user, one or more sentences, and an exit code."""

    def __init__(self, text: str, code: int = ExitCode.FAILED) -> None:
        super().__init__(text)
        self.message = text
        self.exit_code = code

    @classmethod
    def from_problem(cls, problem: Problem, code: int = ExitCode.FAILED) -> "CommandError":
        """Return the error with the text of a problem."""
        return cls(problem_line(problem), code)

    @classmethod
    def from_reply(cls, failed: Failed) -> "CommandError":
        """Return the error for a failure reply of the service."""
        return cls.from_problem(failed.problem, failed.exit_code)


def print_line(text: str) -> None:
    """Write a line of the verb's result to standard output.

    Raises:
        CommandError: The line cannot be written (a full disk); further output is discarded.
        BrokenPipeError: The reader has closed the pipe.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_output()
        raise CommandError(f"The output cannot be written: {error.strerror or error}.") from None


def print_message(text: str, end: str = "\n") -> None:
    """Write a message for the user to standard error; ignore a failure, which could not be
    reported."""
    with suppress(OSError):
        print(text, file=sys.stderr, end=end, flush=True)


def printable_line(text: str, limit: int = 400) -> str:
    """Return untrusted text as a truncated `single_line`, without terminal control sequences."""
    line = single_line(text)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def problem_line(problem: Problem) -> str:
    """Return a problem as one line for the terminal.

    The body has a higher length limit than other texts, because its last sentence is the advice.
    """
    body = printable_line(problem.body, _BODY_LENGTH)
    return f"{printable_line(problem.title)}. {body} ({problem.id})"


def json_line(members: Mapping[str, Any]) -> str:
    """Return a JSON object as one line of printable ASCII.

    The texts in the object come from the network and from settings. Terminals interpret some
    characters beyond ASCII as commands (C1 controls), and others change the display order
    (bidirectional controls). Escaped, all characters reach the program that reads the JSON. Only
    surrogates, which stand for octets of a path that are not text (PEP 383), become ``?``.
    """
    try:
        octets = msgspec.json.encode(members)
    except UnicodeEncodeError:
        octets = msgspec.json.encode(_without_surrogates(members))
    return _NOT_PRINTABLE.sub(_escaped, octets.decode())


def _without_surrogates(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "replace").decode()
        case Mapping():
            return {key: _without_surrogates(item) for key, item in value.items()}
        case list() | tuple():
            return [_without_surrogates(item) for item in value]
    return value


# The encoder escapes the control characters below U+0020 itself (RFC 8259, section 7).
_NOT_PRINTABLE = re.compile(r"[^ -~]")


def _escaped(char: re.Match[str]) -> str:
    octets = char[0].encode("utf-16-be")
    return "".join(f"\\u{octets[i : i + 2].hex()}" for i in range(0, len(octets), 2))
