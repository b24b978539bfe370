"""How much memory a process uses, as the kernel counts it (proc_pid_status(5))."""

import re
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True, slots=True)
class Memory:
    """In octets.

    Attributes:
        resident: What is in memory now, shared pages in full.
        peak: The most that `resident` ever was, or was since `reset_peak`.
        proportional: What is in memory now, each shared page divided among those who share it.
    """

    resident: int
    peak: int
    proportional: int


def memory_of(pid: int) -> Memory:
    """Read what a process uses now."""
    status = Path(f"/proc/{pid}/status").read_text()
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return Memory(_kib("VmRSS", status), _kib("VmHWM", status), _kib("Pss", rollup))


def reset_peak(pid: int) -> None:
    """Let the peak of a process begin anew (proc_pid_clear_refs(5))."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _kib(name: str, text: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", text, re.MULTILINE)
    assert found, f"no {name} in {text}"
    return int(found[1]) * KIB
