import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "packaging" / "linux" / "desktop-entry"
APP_ID = "io.github.trayproxy.TrayProxy"

NEWER_THAN_THE_VALIDATOR = ('value "1.5" for key "Version"', '"SingleMainWindow"')
"""Of version 1.5 of the Desktop Entry Specification; the validator of Debian 12 knows 1.4."""


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a data folder into which the entry of a program with a blank in its path was put."""
    program = tmp_path / "my programs" / "trayproxy"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    run(tmp_path, f"{program.parent}:{os.environ['PATH']}")
    return tmp_path / "data"


def run(folder: Path, path: str, *arguments: str) -> None:
    subprocess.run(
        [SCRIPT, *arguments],
        env={"PATH": path, "HOME": str(folder), "XDG_DATA_HOME": str(folder / "data")},
        check=True,
    )


def test_the_desktop_entry_is_valid_and_names_the_program_in_full(
    installed: Path, tmp_path: Path
) -> None:
    entry = installed / "applications" / f"{APP_ID}.desktop"
    checked = subprocess.run(
        ["desktop-file-validate", entry], capture_output=True, encoding="utf-8", check=False
    )
    complaints = [line for line in checked.stdout.splitlines() if ": error: " in line]
    assert [c for c in complaints if not any(new in c for new in NEWER_THAN_THE_VALIDATOR)] == []
    lines = entry.read_text("utf-8").splitlines()
    assert f'Exec="{tmp_path}/my programs/trayproxy"' in lines
    assert f'Exec="{tmp_path}/my programs/trayproxy" quit' in lines


def test_the_icons_have_the_names_in_the_tray_and_the_entry(installed: Path) -> None:
    entry = (installed / "applications" / f"{APP_ID}.desktop").read_text("utf-8")
    hicolor = installed / "icons" / "hicolor"
    assert f"Icon={APP_ID}\n" in entry
    assert (hicolor / "scalable" / "apps" / f"{APP_ID}.svg").is_file()
    states = {path.name for path in (ROOT / "resources/icons/tray").glob("*-symbolic.svg")}
    assert {p.name for p in (hicolor / "symbolic/status").iterdir()} == {
        f"{APP_ID}-{state}" for state in states
    }


def test_removing_removes_all_files(installed: Path, tmp_path: Path) -> None:
    run(tmp_path, os.environ["PATH"], "--remove")
    assert [path for path in installed.rglob("*") if APP_ID in path.name] == []


def test_without_the_program_nothing_is_installed(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run(tmp_path, "/usr/bin:/bin")
    assert not (tmp_path / "data").exists()


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    program = tmp_path / ".local" / "bin" / "trayproxy"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\n", "utf-8")
    program.chmod(0o755)
    subprocess.run(
        ["systemd-analyze", "--user", "verify", ROOT / "packaging/systemd/trayproxy.service"],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)},
        check=True,
    )
