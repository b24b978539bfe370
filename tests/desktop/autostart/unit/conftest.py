from pathlib import Path

import pytest

from tests.desktop.autostart.fake_programs import FakePrograms
from trayproxy.desktop.autostart.base import StartCommand
from trayproxy.desktop.installation import InstalledProgram


@pytest.fixture
def programs(tmp_path: Path) -> FakePrograms:
    return FakePrograms(tmp_path / "my programs")


@pytest.fixture
def command(programs: FakePrograms) -> StartCommand:
    """The command of an installation, with a blank and a percent sign in its path."""
    return StartCommand(InstalledProgram(str(programs.add("100%/trayproxy"))), ("--background",))
