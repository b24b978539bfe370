"""The result of running a PAC script for a URL: the answer, or the reason why there is none."""

from dataclasses import dataclass
from enum import StrEnum, auto

from trayproxy.domain.problem import Problem
from trayproxy.pac.answers import Answer, Hop

PROBLEM_ID = "TP-502"
_TITLE = "The automatic configuration does not work"


class FailureKind(StrEnum):
    """The kinds of failures of a script."""

    NO_ENGINE = auto()
    """The JavaScript engine is not installed."""
    WEB_PAGE = auto()
    """HTML in place of a script, such as the sign-in page of a network."""
    SYNTAX = auto()
    NO_FUNCTION = auto()
    """The script defines no ``FindProxyForURL``."""
    EXCEPTION = auto()
    """The script threw an exception that it did not catch."""
    RECURSION = auto()
    TIME_LIMIT = auto()
    MEMORY_LIMIT = auto()
    NO_TEXT = auto()
    """``FindProxyForURL`` returned no string."""
    NO_HOP = auto()
    """The answer contains no entry that TrayProxy can use."""
    BUSY = auto()
    """Too many requests wait for the script."""
    STUCK = auto()
    """A built-in function does not end; the engine cannot interrupt built-in functions."""


@dataclass(frozen=True, slots=True)
class ScriptFailure:
    """The reason why a script gives no answer.

    Attributes:
        reason: Sentences for the user. Texts of the script are shortened to one line.
        line: The line of the script, from 1; None if unknown.
    """

    kind: FailureKind
    reason: str
    line: int | None = None

    def problem(self, source: str = "") -> Problem:
        """Return the failure as TP-502 (ux §5.2).

        Args:
            source: The address of the script, shown to the user; empty if unknown.
        """
        place = f" The script is {source}." if source else ""
        return Problem(PROBLEM_ID, _TITLE, f"{self.reason}{place}")


@dataclass(frozen=True, slots=True)
class ResolvedName:
    """A name that a script looked up.

    Attributes:
        name: The name as the script wrote it, shortened to one line.
        addresses: The IP addresses, IPv4 and IPv6; empty if the name has none.
        timed_out: True if no name server answered in time.
    """

    name: str
    addresses: tuple[str, ...]
    timed_out: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of running a script for a URL.

    `answer` or `failure` is set; both are set if the answer contains no usable entry.

    Attributes:
        url: The URL that the script saw.
        host: The host that the script saw.
        duration_s: The time from the request to the result, in seconds.
        script_s: The CPU time for which the script ran, in seconds.
        rounds: The number of rounds of name look-ups.
        names: The names that the script looked up.
        alerts: The first messages of ``alert``, each on one line.
        is_cached: True if an earlier result was used.
        expires_at: The time of the evaluator's clock until which the result may be used again, in
            seconds; 0 if it may not.
    """

    url: str
    host: str
    answer: Answer | None = None
    failure: ScriptFailure | None = None
    duration_s: float = 0.0
    script_s: float = 0.0
    rounds: int = 0
    names: tuple[ResolvedName, ...] = ()
    alerts: tuple[str, ...] = ()
    is_cached: bool = False
    expires_at: float = 0.0

    @property
    def hops(self) -> tuple[Hop, ...]:
        """The ways to the site in the order of the script; empty if there is none."""
        return self.answer.hops if self.answer else ()
