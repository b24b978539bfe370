"""Tests for tests.support.memory: a missed peak would make other tests pass wrongly."""

import signal
import sys

from tests.support.memory import MIB, memory_of, reset_peak
from tests.support.processes import Home, running

_GROW_AND_SHRINK = """\
import signal
held = b"x" * (64 << 20)
del held
print("over", flush=True)
signal.pause()
"""


def test_a_past_peak_is_reported_until_it_is_reset(place: Home) -> None:
    argv = [sys.executable, "-c", _GROW_AND_SHRINK]
    with running(argv, env=place.environment(), cwd=place.root) as process:
        process.out.wait_for("over")
        before = memory_of(process.pid)
        assert before.peak - before.resident > 60 * MIB
        assert 0 < before.proportional <= before.resident
        reset_peak(process.pid)
        after = memory_of(process.pid)
        assert after.peak - after.resident < MIB
        process.signal(signal.SIGTERM)
