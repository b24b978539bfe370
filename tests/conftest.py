"""What every test may use: the real counterparts, and a report of what they said when one fails."""

import os
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.support.clients import Clients
from tests.support.origin import Origin
from tests.support.processes import Home, home
from tests.support.reports import Reports

if TYPE_CHECKING:
    from tests.support.tls import Authority

# These need a Windows Python: packaging/test --windows runs them, by Wine.
collect_ignore = [] if sys.platform == "win32" else ["windows"]

# Two cores are shared by many processes here: how long one example takes says nothing.
# Whoever develops looks for new examples; what decides about landing must say the same twice.
settings.register_profile("trayproxy", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("trayproxy")

_EVERYTHING = "TRAYPROXY_TEST_EVERYTHING"
"""Set by packaging/test, which installs all that the tests need: a skipped test is a failed one."""
_CANNOT_BE_INSTALLED = ("only root", "this computer")
"""What the reasons name for which a test may be skipped even then: a privilege, or what the kernel
lacks."""

_REPORTS = pytest.StashKey[Reports]()
_ARTEFACTS = Path(__file__).parent / "artefacts"


def pytest_configure() -> None:
    """Let Ctrl+C mean something to the programs under test.

    A shell that starts the tests in the background ignores the signal, and so would all they start.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add what the counterparts said to the report of a failed test, and keep it in a file."""
    report = yield
    if report.skipped and _must_run(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped, although everything is there: {report.longrepr}"
    if report.failed and call.when != "teardown":
        for title, describe in item.stash.get(_REPORTS, {}).items():
            text = describe()
            report.sections.append((title, text))
            _keep(f"{item.name} {title}", text)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Let a module that skips all its tests fail where everything must run."""
    report = yield
    if report.skipped and _must_run(report.longrepr):
        report.outcome = "failed"
        report.longrepr = f"skipped, although everything is there: {report.longrepr}"
    return report


def _must_run(skipped: object) -> bool:
    reason = str(skipped[2]) if isinstance(skipped, tuple) else str(skipped)
    return _EVERYTHING in os.environ and not any(one in reason for one in _CANNOT_BE_INSTALLED)


def _keep(name: str, text: str) -> None:
    _ARTEFACTS.mkdir(exist_ok=True)
    safe = "".join(c if c.isalnum() or c in "-_.[]" else "-" for c in name)
    (_ARTEFACTS / f"{safe[:120]}.txt").write_text(text, encoding="utf-8")


@pytest.fixture
def reports(request: pytest.FixtureRequest) -> Reports:
    """Whatever is put here is described when the test fails."""
    found: Reports = request.node.stash.setdefault(_REPORTS, {})
    return found


@pytest.fixture
def place() -> Iterator[Home]:
    """A home of this test's own."""
    with home() as made:
        yield made


@pytest.fixture
def clients() -> Iterator[Clients]:
    with home("client-") as made:
        found = Clients(made)
        yield found
        found.close()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> "Authority":
    # Here: the wheel of cryptography for Windows ends the process under Wine.
    from tests.support.tls import Authority

    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def origin(place: Home) -> Iterator[Origin]:
    """An origin that speaks plain HTTP."""
    with Origin() as server:
        yield server


@pytest.fixture
def secure_origin(authority: "Authority") -> Iterator[Origin]:
    """An origin that speaks TLS."""
    with Origin(certificate=authority.issue("www.test.lan")) as server:
        yield server
