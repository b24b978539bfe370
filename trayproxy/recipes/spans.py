"""The difference between two versions of a file, as spans that can be undone octet for octet."""

import re
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Struct

_LOGIN = re.compile(rb"(?:^|//|=)[^\s/:@]*:[^\s@]*@[^\s@/]")
"""A login in front of a proxy: ``http://user:password@proxy`` or ``user:password@proxy``."""

_WORD = re.compile(rb"(?:\\.|[^\s\"<>\\])*")
_WORD_BEFORE = re.compile(_WORD.pattern + rb"\Z")
"""Octets that may belong to one URL. Passwords may contain apostrophes and commas."""

_LOGIN_LENGTH = 2048
"""The longest part of a URL, in octets, that is searched in front of a change."""

_LINE = re.compile(rb"[^\n]*\n|[^\n]+")
_TOKEN = re.compile(rb"\w+|\W")
_MAX_EDITS = 400
"""The largest number of removed and inserted parts that are distinguished; the time grows with its
square. The settings of a recipe are some lines."""


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
    spans: list[Span] = []
    for at, old, new in _changes(_LINE.findall(original), _LINE.findall(changed)):
        parts = _changes(_TOKEN.findall(old), _TOKEN.findall(new))
        spans += (Span(at + offset, removed, inserted) for offset, removed, inserted in parts)
    return tuple(spans)


def changed(original: bytes, spans: Sequence[Span]) -> bytes | None:
    """Return the file with spans applied; None if it does not have the octets to remove."""
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
    """Return the spans that undo these spans."""
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


def _changes(old: Sequence[bytes], new: Sequence[bytes]) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield each difference of two files: its offset, the old octets and the new octets."""
    start, end = _common_ends(old, new)
    middles = (old[start : len(old) - end], new[start : len(new) - end])
    at = sum(map(len, old[:start]))
    done = put = 0
    for i, j, length in (*_common_parts(*middles), (len(middles[0]), len(middles[1]), 0)):
        removed, inserted = b"".join(middles[0][done:i]), b"".join(middles[1][put:j])
        if removed or inserted:
            yield at, removed, inserted
        at += len(removed) + sum(map(len, middles[0][i : i + length]))
        done, put = i + length, j + length


def _common_parts(old: Sequence[bytes], new: Sequence[bytes]) -> list[tuple[int, int, int]]:
    """Return the common parts of two sequences: the offset in each of them, and the length.

    The algorithm is that of E. W. Myers, "An O(ND) Difference Algorithm and Its Variations" (1986).
    The result is empty if the sequences differ in more than `_MAX_EDITS` places.
    """
    furthest = {1: 0}
    rounds: list[dict[int, int]] = []
    for edits in range(min(_MAX_EDITS, len(old) + len(new)) + 1):
        rounds.append(dict(furthest))
        for diagonal in range(-edits, edits + 1, 2):
            i, _ = _furthest_after_edit(furthest, diagonal, edits)
            while i < len(old) and i - diagonal < len(new) and old[i] == new[i - diagonal]:
                i += 1
            furthest[diagonal] = i
            if i >= len(old) and i - diagonal >= len(new):
                return _backtracked(rounds, diagonal, i)
    return []


def _furthest_after_edit(
    furthest: Mapping[int, int], diagonal: int, edits: int
) -> tuple[int, bool]:
    """Return the furthest offset in the old sequence on a diagonal after one more edit, and whether
    that edit is an insertion.
    """
    below, above = furthest.get(diagonal - 1, -1), furthest.get(diagonal + 1, -1)
    if diagonal == -edits or (diagonal != edits and below < above):
        return above, True
    return below + 1, False


def _backtracked(
    rounds: Sequence[Mapping[int, int]], diagonal: int, i: int
) -> list[tuple[int, int, int]]:
    """Return the parts between the edits that lead to an offset, by ascending offset."""
    parts: list[tuple[int, int, int]] = []
    for edits in range(len(rounds) - 1, -1, -1):
        start, is_insertion = _furthest_after_edit(rounds[edits], diagonal, edits)
        if i > start:
            parts.append((start, start - diagonal, i - start))
        i = start if is_insertion else start - 1
        diagonal += 1 if is_insertion else -1
    return parts[::-1]


def _common_ends(one: Sequence[bytes], other: Sequence[bytes]) -> tuple[int, int]:
    """Return the length of the common beginning and of the common end, which do not overlap."""
    shorter = min(len(one), len(other))
    start = 0
    while start < shorter and one[start] == other[start]:
        start += 1
    end = 0
    while end < shorter - start and one[-1 - end] == other[-1 - end]:
        end += 1
    return start, end
