"""Bypass rules for targets that write them in a syntax of their own."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from trayproxy.desktop.system_proxy.base import BypassRule


@dataclass(frozen=True, slots=True)
class ExceptionList:
    """The rules in the syntax of a target.

    Attributes:
        entries: The entries of the list.
        inexpressible: The texts of the rules that are not in the list, or that some programs
            ignore.
    """

    entries: tuple[str, ...]
    inexpressible: tuple[str, ...]


def exception_list(
    bypass: Iterable[BypassRule],
    entry: Callable[[BypassRule], str | None],
    is_understood: Callable[[BypassRule], bool],
) -> ExceptionList:
    """Return the rules of a profile in the syntax of a target.

    Args:
        bypass: The rules.
        entry: Returns the entry for a rule; None if there is none, or if programs would also
            connect directly to hosts that the rule does not match.
        is_understood: Returns True for rules whose entries all programs understand.
    """
    entries: list[str] = []
    inexpressible: list[str] = []
    for rule in bypass:
        written = entry(rule)
        if written is not None:
            entries.append(written)
        if written is None or not is_understood(rule):
            inexpressible.append(rule.text)
    return ExceptionList(tuple(dict.fromkeys(entries)), tuple(inexpressible))
