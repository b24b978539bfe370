"""The memory of a process, as reported by the kernel (proc_pid_status(5))."""

import re
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Memory:
    """The memory of a process in octets.

    Attributes:
        resident: The resident set size, with shared pages in full.
        peak: The maximum of `resident` since the start or since `reset_peak`.
        proportional: The resident set size with each shared page divided by its number of users.
    """

    resident: int
    peak: int
    proportional: int


def memory_of(pid: int) -> Memory:
    """Return the present memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return Memory(_kib("VmRSS", status), _kib("VmHWM", status), _kib("Pss", rollup))


def reset_peak(pid: int) -> None:
    """Reset the peak of a process to its present value (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _kib(name: str, text: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, f"no {name} in {text}"
    return int(found[1]) * KIB
