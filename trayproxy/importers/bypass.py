"""The exception lists of other programs as bypass rules."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address, summarize_address_range

from trayproxy.profiles.host_pattern import parse_address
from trayproxy.profiles.profile import ProfileError
from trayproxy.profiles.validate import check_rule

MAX_RULES = 200
"""The maximum number of rules that are carried over."""

_SEPARATORS = re.compile(r"[,;|\s]+")
_SHORT_NETWORK = re.compile(r"((?:[0-9]{1,3}\.){0,2}[0-9]{1,3})/([0-9]{1,2})")
_RANGE = re.compile(r"([0-9.]+)-([0-9.]+)|([0-9a-f:]+)-([0-9a-f:]+)", re.IGNORECASE)
_MAX_NETWORKS = 16
_MAX_QUOTED = 5


@dataclass(frozen=True, slots=True)
class ImportedBypass:
    """The rules of a list.

    Attributes:
        rules: The rules.
        notes: A sentence about the entries that are left out; empty if there are none.
    """

    rules: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def split_entries(text: str) -> list[str]:
    """Return the entries of a list that are separated by commas, semicolons, bars or blanks."""
    return [entry for entry in _SEPARATORS.split(text) if entry]


def import_bypass(entries: Iterable[str], *, covers_subdomains: bool) -> ImportedBypass:
    """Return the rules for the entries of an exception list.

    Args:
        entries: The entries.
        covers_subdomains: True if, in this list, a name or a domain with a leading dot stands for
            the domain itself and for the names below it, as in ``no_proxy``.
    """
    rules: dict[str, None] = {}
    left_out: list[str] = []
    for entry in entries:
        if len(rules) > MAX_RULES:
            break
        made = list(_rules(entry.strip(), covers_subdomains))
        if made and all(map(_is_rule, made)):
            rules |= dict.fromkeys(made)
        else:
            left_out.append(entry)
    kept = tuple(rules)[:MAX_RULES]
    notes = []
    if len(kept) < len(rules):
        notes.append(f"Only the first {MAX_RULES} rules about hosts without a proxy are used.")
    if left_out:
        quoted = ", ".join(f"“{entry[:60]}”" for entry in left_out[:_MAX_QUOTED])
        more = "" if len(left_out) <= _MAX_QUOTED else f" and {len(left_out) - _MAX_QUOTED} more"
        notes.append(f"Entries without a proxy that have no equivalent: {quoted}{more}.")
    return ImportedBypass(kept, tuple(notes))


def _rules(entry: str, covers_subdomains: bool) -> Iterator[str]:
    if short := _SHORT_NETWORK.fullmatch(entry):
        # macOS writes 169.254/16.
        yield f"{short[1]}{'.0' * (3 - short[1].count('.'))}/{short[2]}"
    elif limits := _RANGE.fullmatch(entry):
        yield from _networks(limits)
    elif entry != "*" and covers_subdomains and _is_name(entry):
        name = entry.removeprefix(".")
        yield name
        yield f"*.{name}"
    elif entry != "*":
        yield entry


def _networks(limits: re.Match[str]) -> Iterator[str]:
    first, last = limits[1] or limits[3], limits[2] or limits[4]
    try:
        networks = list(summarize_address_range(ip_address(first), ip_address(last)))
    except (ValueError, TypeError):
        return
    if len(networks) <= _MAX_NETWORKS:
        yield from map(str, networks)


def _is_name(entry: str) -> bool:
    is_plain = not re.search(r"[*/<\[]", entry) and entry.count(":") <= 1
    return is_plain and parse_address(entry.partition(":")[0]) is None


def _is_rule(text: str) -> bool:
    try:
        check_rule(text)
    except ProfileError:
        return False
    return True
