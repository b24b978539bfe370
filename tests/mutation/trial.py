"""Runs tests in copies of the sources, and finds the tests that can detect a mutant."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from tests.mutation import chosen, lines
from tests.mutation.mutants import Mutant

PROGRAM = "trayproxy"
START_S = 60.0
"""The time for a test run in addition to the time of the tests."""
SLOWER = 5
"""The time limit of a run, as a multiple of the recorded time of its tests. A run that exceeds it
counts as detection."""
NOTHING_RAN = 5
"""The exit status of pytest if no test was collected or selected."""


class UnreadyError(Exception):
    """The tests failed to run without a mutant; the message is the output of pytest."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The executed lines by test.

    Attributes:
        lines: The lines of each module, by its path below the top of the sources, by the test or
            the test module.
        seconds: The time of each test.
        failing: Tests with a failure without any mutant; they detect nothing.
    """

    lines: Mapping[str, Mapping[str, frozenset[int]]]
    seconds: Mapping[str, float]
    failing: frozenset[str]

    @classmethod
    def read(cls, path: Path) -> "Coverage":
        """Return the coverage read from a file of `write`."""
        return msgspec.json.decode(path.read_bytes(), type=cls)

    def write(self, path: Path) -> None:
        """Write the coverage to a file."""
        path.write_bytes(msgspec.json.encode(self))

    def tests_of(self, mutant: Mutant, files: Container[str] = ()) -> list[str]:
        """Return the tests with lines of a mutant and all tests of some files, beginning with the
        fastest files."""
        found = [
            test
            for test in self.seconds.keys() - self.failing
            if _file_of(test) in files
            or self._executes(test, mutant)
            or self._executes(_file_of(test), mutant)
        ]
        by_file: dict[str, list[str]] = {}
        for test in found:
            by_file.setdefault(_file_of(test), []).append(test)
        mean = {name: self.duration(tests) / len(tests) for name, tests in by_file.items()}
        return [test for name in sorted(by_file, key=mean.__getitem__) for test in by_file[name]]

    def _executes(self, test: str, mutant: Mutant) -> bool:
        first, last = mutant.lines
        lines = self.lines.get(test, {}).get(mutant.path, ())
        return any(mutant.at_import or first <= line <= last for line in lines)

    def rest(self, tests: Iterable[str]) -> list[str]:
        """Return all other tests except `failing`."""
        return sorted(self.seconds.keys() - set(tests) - self.failing)

    def duration(self, tests: Iterable[str]) -> float:
        """Return the total time of tests."""
        return sum(self.seconds[test] for test in tests)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result for a mutant.

    Attributes:
        change: The location of the change and its diff.
        detected_by: The failed test, or the reason of another end of the run; empty if none.
        tests: The executed tests.
        seconds: The time of the run.
    """

    mutant: Mutant
    change: str
    detected_by: str
    tests: str
    seconds: float


class Copy:
    """A copy of the sources for one mutant at a time."""

    def __init__(self, sources: Path, folder: Path) -> None:
        """Copy all files that git tracks or would add to a new folder."""
        self._top = folder / "sources"
        self._notes = folder
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=sources,
            capture_output=True,
            check=True,
        )
        for name in filter(None, listed.stdout.decode().split("\0")):
            if (sources / name).is_file():
                (self._top / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(sources / name, self._top / name)

    def coverage(self, package: str) -> Coverage:
        """Run the tests of a package; return the lines executed by each test.

        Raises:
            UnreadyError: The tests did not run.
        """
        with TemporaryDirectory(dir=self._notes) as into:
            settings = {
                lines.INTO: into,
                lines.OF: str(self._top / PROGRAM),
                "PYTEST_PLUGINS": lines.__name__,
            }
            arguments = ["-n", "2", "--dist", "loadgroup", f"tests/{package}"]
            run = self._run(arguments, settings, limit_s=3600)
            if run.returncode not in (0, 1):
                raise UnreadyError(run.stdout + run.stderr)
            records = [json.loads(path.read_text("utf-8")) for path in Path(into).iterdir()]
        found: dict[str, dict[str, frozenset[int]]] = {}
        seconds: dict[str, float] = {}
        for record in records:
            for test, modules in record["lines"].items():
                for path, executed in modules.items():
                    name = Path(path).relative_to(self._top).as_posix()
                    found.setdefault(test, {})[name] = frozenset(executed)
            seconds |= record["seconds"]
        failed = {test for record in records for test in record["failed"]}
        return Coverage(found, seconds, frozenset(self._fail_again(failed)))

    def _fail_again(self, failed: set[str]) -> set[str]:
        """Return the tests among these with a failure also without recording."""
        return {test for test in failed if self._first_failure([test], limit_s=300.0)}

    def outcome_of(self, mutant: Mutant, coverage: Coverage, *, whole: bool) -> Outcome:
        """Try a mutant with the tests that execute its lines, then if `whole` with all others."""
        begin = time.monotonic()
        tests = coverage.tests_of(mutant, self._importers(mutant) if mutant.at_import else ())
        noticed = ""
        with self._changed(mutant) as change:
            for some in (tests, coverage.rest(tests) if whole else []):
                if some and not noticed:
                    limit = START_S + SLOWER * coverage.duration(some)
                    noticed = self._first_failure(some, limit)
        return Outcome(mutant, change, noticed, f"{len(tests)} tests", time.monotonic() - begin)

    def _importers(self, mutant: Mutant) -> set[str]:
        """Return the test files which name the module of a mutant.

        Only the first import of a module executes its lines, so no line of the module is recorded
        for the other files.
        """
        name = ".".join(Path(mutant.path).with_suffix("").parts[-2:])
        return {
            path.relative_to(self._top).as_posix()
            for path in (self._top / "tests").rglob("test_*.py")
            if name in path.read_text("utf-8")
        }

    def outcome_by(self, mutant: Mutant, tests: Sequence[str], limit_s: float) -> Outcome:
        """Try a mutant with tests, named by arguments of pytest."""
        begin = time.monotonic()
        with self._changed(mutant) as change:
            noticed = self._failure_of(tests, {}, limit_s)
        return Outcome(mutant, change, noticed, "tests as named", time.monotonic() - begin)

    @contextlib.contextmanager
    def _changed(self, mutant: Mutant) -> Iterator[str]:
        """Apply a mutant to the copy until the end of the block; yield its description."""
        path = self._top / mutant.path
        source = path.read_bytes()
        try:
            path.write_bytes(mutant.apply(source))
            _forget_compiled(path)
            yield mutant.describe(source)
        finally:
            path.write_bytes(source)
            _forget_compiled(path)

    def _first_failure(self, tests: Sequence[str], limit_s: float) -> str:
        """Run tests by their ids until a test fails; return its id, empty if all pass."""
        names = self._notes / "tests.json"
        names.write_text(json.dumps(tests), encoding="utf-8")
        files = list(dict.fromkeys(_file_of(test) for test in tests))
        settings = {chosen.CHOSEN: str(names), "PYTEST_PLUGINS": chosen.__name__}
        return self._failure_of(files, settings, limit_s)

    def _failure_of(
        self, arguments: Sequence[str], settings: Mapping[str, str], limit_s: float
    ) -> str:
        try:
            run = self._run(["-x", *arguments], settings, limit_s)
        except subprocess.TimeoutExpired:
            return f"no end within {limit_s:.0f} s"
        if run.returncode in (0, NOTHING_RAN):
            return ""
        failed = [line for line in run.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return failed[-1] if failed else f"pytest ended with {run.returncode}"

    def _run(
        self, arguments: Sequence[str], settings: Mapping[str, str], limit_s: float
    ) -> "subprocess.CompletedProcess[str]":
        command = [
            *(sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"),
            *arguments,
        ]
        environment = {
            **os.environ,
            **settings,
            # Programs started by tests use the copy too.
            "PYTHONPATH": str(self._top),
            "QT_QPA_PLATFORM": "offscreen",
            "CI": "1",  # Hypothesis draws the same examples in each run.
        }
        with subprocess.Popen(
            command,
            cwd=self._top,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
        ) as process:
            try:
                out, _ = process.communicate(timeout=limit_s)
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(
                        process.pid, signal.SIGKILL
                    )  # Includes the programs started by the tests.
        return subprocess.CompletedProcess(command, process.returncode, out, "")


def _file_of(test: str) -> str:
    return test.partition("::")[0]


def _forget_compiled(path: Path) -> None:
    """Remove compiled files: Python compares modification times in seconds, which may be equal."""
    for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        compiled.unlink()
