"""A simulated end of the process between two writes, as after a power cut."""

from collections.abc import Callable


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
