"""Fixtures for tests of the system proxy."""

from pathlib import Path

import pytest

from trayproxy.system_settings.journal import JournalFile


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    return JournalFile(tmp_path / "journal")
