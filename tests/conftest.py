"""Fixtures for all tests, the tiers of the tests, and the reports of failed tests."""

import asyncio
import inspect
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.artefacts import artefact, keep_pictures, keep_windows
from tests.support.clients import Clients
from tests.support.origin import Origin
from tests.support.processes import SOURCES, Home, RunPython, home
from tests.support.reports import Reports
from tests.support.tiers import DESCRIPTIONS, UNIT_FOLDER, Tier, folder_tier, tier_of, unit_guard

if TYPE_CHECKING:
    from tests.support.tls import CertificateAuthority

# The tests in this folder need a Python for Windows; packaging/test --windows runs them with Wine.
collect_ignore = [] if sys.platform == "win32" else ["windows"]

# Without a deadline, because the time of an example depends on the load of the machine. Development
# runs draw new examples; CI draws the same examples in each run.
settings.register_profile("trayproxy", deadline=None, derandomize="CI" in os.environ)
# For packaging/test --unit, which runs after every change: fewer examples, the same in each run.
settings.register_profile("unit", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("trayproxy")

_EVERYTHING = "TRAYPROXY_TEST_EVERYTHING"
"""Set by packaging/test, which installs all dependencies: a skipped test counts as failed."""
_CANNOT_BE_INSTALLED = ("only root", "this computer")
"""Parts of the reasons for which a test may be skipped even then: a missing privilege or kernel
feature."""

_MAX_ID_LENGTH = 200
"""The longest value, in characters or octets, that is part of the id of a test."""

_REPORTS = pytest.StashKey[Reports]()
TESTS = Path(__file__).parent
_TIER = pytest.StashKey[Tier]()
_QT_OPTIONS = ("qt_api", "qt_log_level_fail", "qt_log_ignore")


class _Running:
    """The tier of the running test; None between tests."""

    def __init__(self) -> None:
        self.tier: Tier | None = None


_RUNNING = pytest.StashKey[_Running]()


def pytest_addoption(parser: pytest.Parser, pluginmanager: pytest.PytestPluginManager) -> None:
    """Define the options of pytest-qt in its absence: the unit tier runs without Qt."""
    if not pluginmanager.has_plugin("pytest-qt"):
        for name in _QT_OPTIONS:
            parser.addini(name, "an option of pytest-qt", type="linelist")


def pytest_configure(config: pytest.Config) -> None:
    """Define the markers of the tiers, watch unit tests, and restore Ctrl+C.

    A shell that starts the tests in the background ignores SIGINT, which the programs under test
    would inherit.
    """
    for tier, description in DESCRIPTIONS.items():
        config.addinivalue_line("markers", f"{tier}: {description}; given by folder or fixture")
    # All TrayProxys of a user share the journal of the system proxy: the tests have their own.
    folder = tempfile.TemporaryDirectory(prefix="tp-state-")
    config.add_cleanup(folder.cleanup)
    os.environ["XDG_STATE_HOME"] = folder.name
    running = config.stash[_RUNNING] = _Running()
    # On Windows, an event loop connects to itself with loopback sockets.
    if sys.platform != "win32":
        sys.addaudithook(unit_guard(lambda: running.tier is Tier.UNIT))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Ignore the modules of other tiers for ``-m unit``: they import Qt and counterparts."""
    is_unit_run = str(config.getoption("markexpr")).split(" ")[0] == Tier.UNIT
    if not is_unit_run or collection_path == TESTS:
        return None
    path = collection_path.relative_to(TESTS)
    if collection_path.is_dir():
        has_unit_tests = any(collection_path.rglob(UNIT_FOLDER))
        return None if has_unit_tests or folder_tier(path) is Tier.UNIT else True
    return None if folder_tier(path.parent) is Tier.UNIT else True


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test with its tier before ``-m`` selects; skip the tests for Unix on Windows."""
    for item in items:
        if sys.platform == "win32" and item.get_closest_marker("unix"):
            item.add_marker(pytest.mark.skip(reason="needs Unix"))
        fixtures = getattr(item, "fixturenames", ())
        tier = tier_of(item.path.relative_to(TESTS), fixtures)
        item.stash[_TIER] = tier
        item.add_marker(tier.value)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> None:
    """Run a test that is a coroutine function on an event loop of its own."""
    test = pyfuncitem.obj
    if inspect.iscoroutinefunction(test):
        pyfuncitem.obj = lambda **arguments: asyncio.run(test(**arguments))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name a long value by its length.

    pytest sets an environment variable to the id of the test: at most 32,767 characters on Windows.
    """
    if isinstance(val, str | bytes) and len(val) > _MAX_ID_LENGTH:
        return f"{argname} of length {len(val)}"
    return None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(
    item: pytest.Item, nextitem: pytest.Item | None
) -> Generator[None, object, object]:
    """Set the tier of the running test for the audit hook."""
    running = item.config.stash[_RUNNING]
    running.tier = item.stash.get(_TIER, None)
    try:
        return (yield)
    finally:
        running.tier = None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add the descriptions of the counterparts to the report of a failed test and to files."""
    report = yield
    _forbid_skip(report)
    if report.failed and call.when != "teardown":
        for title, describe in item.stash.get(_REPORTS, {}).items():
            text = describe()
            report.sections.append((title, text))
            artefact(f"{item.name} {title}", ".txt").write_text(text, encoding="utf-8")
        for picture in _pictures(item):
            report.sections.append(("picture", str(picture)))
    return report


def _pictures(item: pytest.Item) -> list[Path]:
    """Take pictures of the screens and windows of a failed test; return their paths."""
    fixtures: dict[str, object] = getattr(item, "funcargs", {})
    pictures = keep_pictures(item.name, fixtures.values())
    return pictures + keep_windows(item.name) if "qapp" in fixtures else pictures


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Fail a module without any executed test if every test must run."""
    report = yield
    _forbid_skip(report)
    return report


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Change the outcome of a skipped test to failed if everything is installed."""
    skipped = report.longrepr
    reason = str(skipped[2]) if isinstance(skipped, tuple) else str(skipped)
    can_run = not any(part in reason for part in _CANNOT_BE_INSTALLED)
    if report.skipped and _EVERYTHING in os.environ and can_run:
        report.outcome = "failed"
        report.longrepr = f"skipped, although everything is installed: {skipped}"


@pytest.fixture
def reports(request: pytest.FixtureRequest) -> Reports:
    """Functions for descriptions of counterparts, by title; called if the test fails."""
    found: Reports = request.node.stash.setdefault(_REPORTS, {})
    return found


@pytest.fixture
def run_python() -> RunPython:
    """Return a function: it runs a program in a new Python process and returns its result.

    The function takes the program and its arguments, which it converts to text.
    """

    def run(program: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-c", program, *map(str, arguments)]
        return subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, timeout=60)

    return run


@pytest.fixture
def place() -> Iterator[Home]:
    """A home directory for this test."""
    with home() as made:
        yield made


@pytest.fixture
def clients() -> Iterator[Clients]:
    with home("client-") as made:
        found = Clients(made)
        yield found
        found.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> "CertificateAuthority":
    # Here, because importing the Windows wheel of cryptography ends the process under Wine.
    from tests.support.tls import CertificateAuthority

    return CertificateAuthority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def origin(place: Home) -> Iterator[Origin]:
    """An origin with plain HTTP."""
    with Origin() as server:
        yield server


@pytest.fixture
def secure_origin(authority: "CertificateAuthority") -> Iterator[Origin]:
    """An origin with TLS."""
    with Origin(certificate=authority.issue("www.test.lan")) as server:
        yield server
