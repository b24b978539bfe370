"""Measures how long this computer was suspended: the difference between a clock that includes the
time of suspension and a clock that excludes it."""

import sys
import time
from collections.abc import Callable
from functools import partial


def sleep_clock() -> Callable[[], float]:
    """Return a clock that advances only while the computer is suspended.

    The clock is the difference of two clocks of the system:

    - Linux: ``CLOCK_BOOTTIME`` and ``CLOCK_MONOTONIC`` (clock_gettime(2)).
    - macOS: ``CLOCK_MONOTONIC_RAW`` and ``CLOCK_UPTIME_RAW`` (clock_gettime(3)).
    - Windows: the tick count and the unbiased interrupt time (learn.microsoft.com, "Interrupt
      Time").
    - Other systems: the wall clock and the monotonic clock; setting the wall clock therefore looks
      like a suspension.

    It returns seconds. Only differences between two results are meaningful.
    """
    if sys.platform == "win32":
        return _windows_clock()
    elif sys.platform == "darwin":
        return partial(_difference, time.CLOCK_MONOTONIC_RAW, time.CLOCK_UPTIME_RAW)
    elif hasattr(time, "CLOCK_BOOTTIME"):
        return partial(_difference, time.CLOCK_BOOTTIME, time.CLOCK_MONOTONIC)
    else:
        return lambda: time.time() - time.monotonic()


if sys.platform == "win32":

    def _windows_clock() -> Callable[[], float]:
        import ctypes

        kernel = ctypes.WinDLL("kernel32")
        kernel.GetTickCount64.restype = ctypes.c_ulonglong
        awake = ctypes.c_ulonglong()

        def slept() -> float:
            kernel.QueryUnbiasedInterruptTime(ctypes.byref(awake))
            return float(kernel.GetTickCount64()) / 1e3 - awake.value / 1e7

        return slept
else:

    def _difference(with_sleep: int, without: int) -> float:
        return time.clock_gettime(with_sleep) - time.clock_gettime(without)
