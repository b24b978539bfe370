"""The difference between two versions of a file, as spans that can be undone octet for octet."""

import re
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from msgspec import Struct

_LOGIN = re.compile(rb"(?:^|//|=)[^\s/:@]*:[^\s@]*@[^\s@/]")
"""A login in front of a proxy: ``http://user:password@proxy`` or ``user:password@proxy``."""

_WORD = re.compile(rb"(?:\\.|[^\s\"<>\\])*")
_WORD_BEFORE = re.compile(_WORD.pattern + rb"\Z")
"""Octets that may belong to one URL. Passwords may contain apostrophes and commas."""

_LOGIN_LENGTH = 2048
"""The longest part of a URL, in octets, that is searched in front of a change."""

_TOKEN = re.compile(rb"\w+|\W")
_MAX_TOKENS = 4000
"""The largest part that is compared token by token; the time grows with the square of the size."""


class Span(Struct, frozen=True, forbid_unknown_fields=True):
    """One change.

    Attributes:
        offset: The offset in the original, in octets.
        removed: The octets of the original.
        inserted: The octets in their place.
    """

    offset: int
    removed: bytes
    inserted: bytes


def difference(original: bytes, changed: bytes) -> tuple[Span, ...]:
    """Return the spans that change one version of a file into another, by ascending offset.

    The spans contain no more of the file than necessary, because they are stored, and the files of
    programs contain passwords.
    """
    start, end = _common_ends(original, changed)
    # Whole lines, because the lines are compared first.
    start = original.rfind(b"\n", 0, start) + 1
    next_line = original.find(b"\n", len(original) - end)
    end = len(original) - next_line - 1 if next_line >= 0 else 0
    middles = (original[start : len(original) - end], changed[start : len(changed) - end])
    spans: list[Span] = []
    for at, old, new in _changes(*(middle.splitlines(keepends=True) for middle in middles)):
        parts = _TOKEN.findall(old), _TOKEN.findall(new)
        if max(map(len, parts)) > _MAX_TOKENS:
            parts = _in_three(old, *_common_ends(old, new)), _in_three(new, *_common_ends(old, new))
        spans += (Span(start + at + n, removed, put) for n, removed, put in _changes(*parts))
    return tuple(spans)


def changed(original: bytes, spans: Sequence[Span]) -> bytes | None:
    """Return the original with spans applied; None if the original has other octets there."""
    parts: list[bytes] = []
    end = 0
    for span in spans:
        after = span.offset + len(span.removed)
        if not end <= span.offset <= len(original) or original[span.offset : after] != span.removed:
            return None
        parts += (original[end : span.offset], span.inserted)
        end = after
    return b"".join((*parts, original[end:]))


def inverse(spans: Sequence[Span]) -> tuple[Span, ...]:
    """Return the spans that change the file back."""
    result: list[Span] = []
    moved = 0
    for span in spans:
        result.append(Span(span.offset + moved, span.inserted, span.removed))
        moved += len(span.inserted) - len(span.removed)
    return tuple(result)


def line_with_login(original: bytes, spans: Sequence[Span]) -> int | None:
    """Return the number of a line from which the spans remove a login; None if there is none.

    Args:
        original: The file before the change.
        spans: The change.
    """
    for span in spans:
        after = span.offset + len(span.removed)
        before = _WORD_BEFORE.search(original, max(0, span.offset - _LOGIN_LENGTH), span.offset)
        behind = _WORD.match(original, after)
        start = before.start() if before else span.offset
        touched = original[start : behind.end() if behind else after]
        if span.removed and any(map(_LOGIN.search, _WORD.findall(touched))):
            return original.count(b"\n", 0, span.offset) + 1
    return None


def _changes(old: list[bytes], new: list[bytes]) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the offset, the old and the new octets of each changed part."""
    starts = [0]
    for part in old:
        starts.append(starts[-1] + len(part))
    for kind, i, j, k, m in SequenceMatcher(None, old, new).get_opcodes():
        if kind != "equal":
            yield starts[i], b"".join(old[i:j]), b"".join(new[k:m])


def _in_three(octets: bytes, start: int, end: int) -> list[bytes]:
    return [octets[:start], octets[start : len(octets) - end], octets[len(octets) - end :]]


def _common_ends(one: bytes, other: bytes) -> tuple[int, int]:
    """Return the length of the common beginning and of the common end, which do not overlap."""
    shorter = min(len(one), len(other))
    start = 0
    while start < shorter and one[start] == other[start]:
        start += 1
    end = 0
    while end < shorter - start and one[-1 - end] == other[-1 - end]:
        end += 1
    return start, end
