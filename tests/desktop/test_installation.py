"""Tests for trayproxy.desktop.installation."""

import os
import subprocess
import sys
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from tests.support.processes import SOURCES
from trayproxy import __version__
from trayproxy.desktop import installation
from trayproxy.desktop.installation import InstallationError, InstalledProgram, installed_program

MODULE = ("-P", "-m", "trayproxy")


@pytest.fixture
def clean(tmp_path: Path) -> dict[str, str]:
    """An environment as at log-in."""
    return {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "LANG": "C.UTF-8"}


def write_installation(folder: Path, script: str = "bin/trayproxy") -> Distribution:
    """Create the metadata of an installation of this TrayProxy in a folder, with a script."""
    metadata = folder / "lib" / "trayproxy-1.dist-info"
    metadata.mkdir(parents=True)
    (folder / "lib" / "trayproxy").symlink_to(SOURCES / "trayproxy")
    (metadata / "METADATA").write_text("Name: trayproxy\nVersion: 1\n")
    (metadata / "RECORD").write_text(f"trayproxy/__init__.py,,\n../{script},,\n")
    path = folder / script
    path.parent.mkdir(exist_ok=True)
    path.write_text("")
    path.chmod(0o755)
    return Distribution.at(metadata)


def test_the_program_starts_this_trayproxy_without_the_environment(clean: dict[str, str]) -> None:
    program = installed_program()
    assert os.path.isabs(program.path)
    found = subprocess.run(
        [*program.argv, "--version"], env=clean, cwd="/", capture_output=True, text=True, check=True
    )
    assert found.stdout == f"trayproxy {__version__}\n"


def test_a_script_is_preferred_to_the_interpreter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = write_installation(tmp_path)
    monkeypatch.setattr(installation, "own_distribution", lambda: found)
    assert installed_program() == InstalledProgram(str(tmp_path / "bin" / "trayproxy"))
    (tmp_path / "bin" / "trayproxy").chmod(0o644)
    assert installed_program() == InstalledProgram(sys.executable, MODULE)


def test_a_package_of_the_system_may_record_no_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = write_installation(tmp_path)
    (tmp_path / "lib" / "trayproxy-1.dist-info" / "RECORD").unlink()
    monkeypatch.setattr(installation, "own_distribution", lambda: found)
    assert installed_program() == InstalledProgram(sys.executable, MODULE)


def test_an_interpreter_that_finds_trayproxy_without_metadata(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(installation, "own_distribution", lambda: None)
    assert installed_program() == InstalledProgram(sys.executable, MODULE)


def test_a_source_folder_that_is_not_installed_is_refused(tmp_path: Path) -> None:
    code = (
        "from trayproxy.desktop.installation import installed_program; print(installed_program())"
    )
    copy = tmp_path / "trayproxy"
    for name in ("__init__.py", "paths.py", "desktop/__init__.py", "desktop/installation.py"):
        path = copy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((SOURCES / "trayproxy" / name).read_bytes())
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert InstallationError.__name__ in done.stderr


def test_a_frozen_program_is_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert installed_program(environ={}) == InstalledProgram(sys.executable)
    image = {"APPIMAGE": "/home/u/TrayProxy.AppImage"}
    assert installed_program(environ=image) == InstalledProgram("/home/u/TrayProxy.AppImage")
