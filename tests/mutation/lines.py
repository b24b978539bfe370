"""A pytest plugin: records the executed lines of the program and the time of each test.

Loaded by ``PYTEST_PLUGINS``, also in each worker of pytest-xdist. Lines executed by
other processes of a test are not recorded.
"""

import json
import os
import sys
import threading
from collections import defaultdict
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

INTO = "TRAYPROXY_LINES_INTO"
"""The folder of the records, one file for each process."""
OF = "TRAYPROXY_LINES_OF"
"""The folder whose modules are recorded."""

_MOST_CALLS = 32
"""A function called more often by one test is no longer traced, to save time: all its lines count
as executed."""
_AT_IMPORT = ""
"""The name for code that runs outside of tests."""


class LineRecorder:
    """Records executed lines.

    Attributes:
        lines: The lines of each module by its path, by the id of the test, or of the test module
            for lines executed by its import.
        seconds: The time of each test.
        failed: The failed tests.
    """

    def __init__(self, package: str) -> None:
        """Create a recorder of the modules in a folder, given with a separator at its end."""
        self.lines: defaultdict[str, defaultdict[str, set[int]]] = defaultdict(
            lambda: defaultdict(set)
        )
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.failed: set[str] = set()
        self._package = package
        self._calls: dict[CodeType, int] = {}
        self._foreign: set[CodeType] = set()
        self._now = self.lines[_AT_IMPORT]

    def follow(self, test: str) -> None:
        """Record lines for this test from now on."""
        self._now = self.lines[test]
        self._calls = {}

    def trace(self, frame: FrameType, event: str, argument: object) -> Any:
        """Trace the functions of the package; see `sys.settrace`."""
        code = frame.f_code
        if code in self._foreign:
            return None
        calls = self._calls.get(code, 0)
        if calls > _MOST_CALLS:
            return None
        if not code.co_filename.startswith(self._package):
            self._foreign.add(code)
            return None
        self._calls[code] = calls + 1
        if calls == _MOST_CALLS:
            self._now[code.co_filename].update(line for *_, line in code.co_lines() if line)
            return None
        return self._line(frame, event, argument)

    def _line(self, frame: FrameType, event: str, argument: object) -> Any:
        if event in ("line", "call"):
            self._now[frame.f_code.co_filename].add(frame.f_lineno)
        return self._line

    def write(self, folder: Path) -> None:
        """Write the records to a file of this process."""
        record = {
            "lines": {
                test: {path: sorted(lines) for path, lines in modules.items()}
                for test, modules in self.lines.items()
            },
            "seconds": self.seconds,
            "failed": sorted(self.failed),
        }
        (folder / f"{os.getpid()}.json").write_text(json.dumps(record), encoding="utf-8")


_RECORDER = pytest.StashKey[LineRecorder]()


def pytest_configure(config: pytest.Config) -> None:
    """Trace this thread and all threads started later."""
    recorder = config.stash[_RECORDER] = LineRecorder(os.environ[OF] + os.sep)
    config.pluginmanager.register(_Hooks(recorder))
    threading.settrace(recorder.trace)
    sys.settrace(recorder.trace)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Write the records."""
    sys.settrace(None)
    config.stash[_RECORDER].write(Path(os.environ[INTO]))


class _Hooks:
    def __init__(self, recorder: LineRecorder) -> None:
        self._recorder = recorder

    def pytest_collectstart(self, collector: pytest.Collector) -> None:
        # Lines executed by the import of a test module count for each of its tests.
        if isinstance(collector, pytest.Module):
            self._recorder.follow(collector.nodeid)

    def pytest_collection_finish(self) -> None:
        self._recorder.follow(_AT_IMPORT)

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self._recorder.follow(nodeid)
        # Python stops tracing a thread after an exception in the tracer, such as a stack overflow.
        sys.settrace(self._recorder.trace)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._recorder.seconds[report.nodeid] += report.duration
        if report.failed:
            self._recorder.failed.add(report.nodeid)
