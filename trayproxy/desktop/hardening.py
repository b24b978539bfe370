"""Keeping what a process knows to itself, and letting it have as many connections as it may.

This makes it no easier than it has to be to get at a password that is in memory (security.md, T15
and T16). It is no protection from a program that already runs as the same user and means harm.
"""

import contextlib
import faulthandler
import sys

_MAX_DESCRIPTORS = 65_536
"""More than this are of no use: the engine serves 16,384 clients."""


def harden(*, uses_portals: bool = False) -> None:
    """Let nobody read the memory of this process, nor find it in a dump.

    A process that will hold a password calls this first, before it reads one.

    On Linux the process becomes "not dumpable" (prctl(2), PR_SET_DUMPABLE): no core dump whatever
    the system's settings are, and its files below ``/proc`` that show memory, environment and
    descriptors belong to root. On all of Unix the largest core dump is set to nothing
    (setrlimit(2)). macOS protects the memory of processes by the hardened runtime of a signed
    application, which a program cannot switch on itself. On Windows reports of a crash leave out
    the heap (learn.microsoft.com, WerSetFlags); the memory of a process is open to its user. What
    is done on these two was not run.

    A crash of the interpreter still says where it was, in the functions' names without their
    values.

    Args:
        uses_portals: Whether the process shows windows. xdg-desktop-portal opens
            ``/proc/PID/root`` of each process that calls it, and refuses the call of one that is
            not dumpable (flatpak/xdg-desktop-portal, issues 785 and 1490): there would be no file
            dialog, and no light or dark as the desktop has it. Such a process stays dumpable, and
            only the core dump is forbidden.
    """
    if sys.platform == "win32":
        _exclude_heap_from_crash_reports()
    else:
        import resource

        # Of a dumpable process Linux gives the dump to a handler such as systemd-coredump whatever
        # the limit is, but not when the limit is one octet (fs/coredump.c). No dump fits in that.
        largest = 1 if uses_portals and sys.platform == "linux" else 0
        # ValueError: of a limit that is lower already.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (largest, largest))
    if sys.platform == "linux" and not uses_portals:
        _become_undumpable()
    # There may be no standard error, or none with a descriptor.
    with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
        faulthandler.enable()


def raise_descriptor_limit() -> int:
    """Allow this process as many descriptors as the system lets it have; return how many.

    Most systems let programs have 1,024 at first, because of those that use select(2), and many
    more if they ask.
    """
    if sys.platform == "win32":
        # Sockets are no descriptors of the C library there, and have no such limit.
        return _MAX_DESCRIPTORS
    else:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = (
            _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
        )
        # macOS says "unlimited", and then refuses more than OPEN_MAX (setrlimit(2) there).
        for wanted in (allowed, min(allowed, 10_240)):
            if soft == resource.RLIM_INFINITY or soft >= wanted:
                break
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
        return _MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft


if sys.platform == "linux":
    _PR_SET_DUMPABLE = 4

    def _become_undumpable() -> None:
        import ctypes

        # prctl(2) is missing from the C library of no Linux; a sandbox may refuse it.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


if sys.platform == "win32":
    _WER_FAULT_REPORTING_FLAG_NOHEAP = 1

    def _exclude_heap_from_crash_reports() -> None:
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.WinDLL("kernel32").WerSetFlags(_WER_FAULT_REPORTING_FLAG_NOHEAP)
