"""A simulated end of the process between two writes, as after a power cut."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest


class Crash(BaseException):
    """The end of the process."""


def crash_after(writes: int) -> Callable[[], None]:
    """Return a function to call before each write: it raises `Crash` after the given number."""
    left = iter(range(writes))

    def step() -> None:
        if next(left, None) is None:
            raise Crash

    return step


def is_crashed(action: Callable[[], object]) -> bool:
    """Run an action; return True if it has crashed."""
    try:
        action()
    except Crash:
        return True
    return False


@contextmanager
def crashing_files(operations: int) -> Iterator[None]:
    """Let the process end before an operation on files, within the block.

    The operations are opening a file for writing, syncing, renaming and removing. After the end,
    each further operation fails as well: no file is tidied up.

    Args:
        operations: The number of operations before the end.
    """
    step = crash_after(operations)
    open_file = os.open

    def open_or_crash(path: str, flags: int, *more: int) -> int:
        if flags & os.O_CREAT:
            step()
        return open_file(path, flags, *more)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("replace", "unlink"):
            patch.setattr(os, name, _after(step, getattr(os, name)))
        patch.setattr(os, "open", open_or_crash)
        patch.setattr(os, "fsync", lambda descriptor: step())
        yield


def _after(step: Callable[[], None], run: Callable[..., None]) -> Callable[..., None]:
    def step_and_run(*arguments: object, **options: object) -> None:
        step()
        run(*arguments, **options)

    return step_and_run
