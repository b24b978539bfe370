"""Protects the memory of this process from other programs, and raises its descriptor limit.

The protection concerns passwords in memory (security.md, T15 and T16). A malicious program of the
same user can still read the memory.
"""

import contextlib
import faulthandler
import sys

_MAX_DESCRIPTORS = 65_536
"""The largest useful number of descriptors: the engine serves 16,384 clients."""

_PR_SET_DUMPABLE = 4
_WER_FAULT_REPORTING_FLAG_NOHEAP = 1


def harden(*, uses_portals: bool = False) -> None:
    """Protect the memory of this process from other processes, and prevent memory dumps.

    A process calls this before it reads a password.

    - Linux: the process becomes not dumpable (prctl(2), PR_SET_DUMPABLE). It leaves no core dump,
      regardless of the system's settings, and its files below ``/proc`` with memory, environment
      and descriptors belong to root.
    - All Unix systems: the size limit of core dumps becomes 0 (setrlimit(2)).
    - macOS: only the hardened runtime of a signed application protects the memory of a process. A
      program cannot enable it for itself.
    - Windows: crash reports leave out the heap (learn.microsoft.com, WerSetFlags). Other processes
      of the same user can read the memory.

    The code for macOS and Windows was not run there. A crash of the interpreter still prints the
    names of the active functions, without values.

    Args:
        uses_portals: True if the process shows windows. xdg-desktop-portal opens
            ``/proc/PID/root`` of each calling process, and rejects the call if the process is
            not dumpable (flatpak/xdg-desktop-portal, issues 785 and 1490): file dialogs and the
            light or dark colour scheme of the desktop would not work. So this process stays
            dumpable, and only core dumps are prevented.
    """
    if sys.platform == "win32":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):
            ctypes.WinDLL("kernel32").WerSetFlags(_WER_FAULT_REPORTING_FLAG_NOHEAP)
    else:
        import resource

        # With a limit of 0, Linux still passes the core dump of a dumpable process to a handler
        # such as systemd-coredump. With a limit of one octet it does not (fs/coredump.c), and no
        # dump fits.
        largest = 1 if uses_portals and sys.platform == "linux" else 0
        # ValueError: the limit is lower already.
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_CORE, (largest, largest))
    if sys.platform == "linux" and not uses_portals:
        import ctypes

        # Every C library for Linux has prctl(2), but a sandbox may reject the call.
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    # Standard error may be missing, or may have no descriptor.
    with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
        faulthandler.enable()


def raise_descriptor_limit() -> int:
    """Raise the descriptor limit of this process as far as the system permits; return the limit.

    On most systems the initial (soft) limit is 1,024, for the sake of programs that use select(2);
    a program may raise it up to the hard limit.
    """
    if sys.platform == "win32":
        # Sockets on Windows are not descriptors of the C library, and have no such limit.
        return _MAX_DESCRIPTORS
    else:
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        allowed = (
            _MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MAX_DESCRIPTORS)
        )
        # macOS reports "unlimited", but rejects more than OPEN_MAX (setrlimit(2) of macOS).
        for wanted in (allowed, min(allowed, 10_240)):
            if soft == resource.RLIM_INFINITY or soft >= wanted:
                break
            with contextlib.suppress(OSError, ValueError):
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                soft = wanted
        return _MAX_DESCRIPTORS if soft == resource.RLIM_INFINITY else soft
