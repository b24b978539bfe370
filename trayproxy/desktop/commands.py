"""Runs the commands of a system that read and change its settings."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from trayproxy.system_settings.entries import TargetError

TIMEOUT_S = 5.0
"""The time limit of a command, in seconds. A command takes some 20 ms; one that waits for a session
bus that does not answer would take 25 s."""

_MAX_REASON_LENGTH = 200


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The result of a command.

    Attributes:
        code: The exit code.
        out: The standard output; octets that are not UTF-8 are surrogates (PEP 383).
        err: The standard error.
    """

    code: int
    out: str = ""
    err: str = ""

    @property
    def reason(self) -> str:
        """The last line of the standard error, shortened, or else the exit code."""
        lines = self.err.strip().splitlines() or [f"exit code {self.code}"]
        return lines[-1].strip()[:_MAX_REASON_LENGTH]


Run = Callable[[Sequence[str]], CommandResult]
"""Runs a command with its arguments. Raises `TargetError` if it cannot be run or does not end."""


def command_runner(environ: Mapping[str, str], timeout_s: float = TIMEOUT_S) -> Run:
    """Return a function that runs commands with an environment.

    Args:
        environ: The whole environment of the commands.
        timeout_s: The time limit of each command, in seconds.
    """

    def run(argv: Sequence[str]) -> CommandResult:
        # Here, because the watchdog waits without it, and must stay small.
        import subprocess

        name = PurePath(argv[0]).name
        try:
            done = subprocess.run(
                argv, env=dict(environ), stdin=subprocess.DEVNULL, capture_output=True,
                timeout=timeout_s, check=False,
                # The command inherits the lock of `changing_settings`, the only descriptor that is
                # inheritable: if this process is killed, the watchdog waits for the command.
                close_fds=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise TargetError(f"{name} does not end within {timeout_s:g} s") from None
        except OSError as error:
            raise TargetError(f"{name} cannot be run: {error.strerror or error}") from None
        return CommandResult(done.returncode, _text(done.stdout), _text(done.stderr))

    return run


def _text(octets: bytes) -> str:
    return octets.decode("utf-8", "surrogateescape")
