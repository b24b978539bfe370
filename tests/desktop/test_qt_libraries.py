"""Tests for trayproxy.desktop.qt_libraries: the list agrees with the wheels and the README."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import PySide6
import pytest

from tests.support.namespaces import ALONE
from trayproxy.desktop.qt_libraries import FONTS, PACKAGES, command, missing_packages

ROOT = Path(__file__).parents[2]
WHEEL = Path(PySide6.__path__[0])
MODULES = ("QtCore", "QtGui", "QtWidgets", "QtDBus", "QtSvg")
PLUGINS = (
    "iconengines/libqsvgicon.so",
    "imageformats/libqsvg.so",
    "platforms/libqoffscreen.so",
    "platforms/libqwayland.so",
    "platforms/libqxcb.so",
    "platformthemes/libqxdgdesktopportal.so",
    "wayland-graphics-integration-client/libqt-plugin-wayland-egl.so",
    "wayland-shell-integration/libxdg-shell.so",
    "xcbglintegrations/libqxcb-egl-integration.so",
    "xcbglintegrations/libqxcb-glx-integration.so",
)
ESSENTIAL = (
    "ld-linux", "libc.", "libdl.", "libgcc_s.", "libm.", "libpthread.", "libresolv.", "libstdc++.",
    "libz.", "libzstd.",
)  # fmt: skip
"""The prefixes of the libraries that dpkg and apt depend on; they are always installed."""


def linked_with(file: Path) -> list[str]:
    done = subprocess.run(["readelf", "-d", file], capture_output=True, text=True, check=True)
    return re.findall(r"\(NEEDED\).*\[(.+)\]", done.stdout)


def test_the_list_equals_the_libraries_that_the_wheels_are_linked_with() -> None:
    folders = (WHEEL / "Qt" / "lib", WHEEL, WHEEL.parent / "shiboken6")
    own = {file.name: file for folder in folders for file in folder.glob("*.so*")}
    pending = [WHEEL / f"{module}.abi3.so" for module in MODULES]
    pending += [WHEEL / "Qt" / "plugins" / plugin for plugin in PLUGINS]
    seen: set[Path] = set()
    needed: set[str] = set()
    while pending:
        file = pending.pop()
        if file in seen:
            continue
        seen.add(file)
        for name in linked_with(file):
            if name in own:
                pending.append(own[name])
            elif not name.startswith(ESSENTIAL):
                needed.add(name)
    assert needed == set(PACKAGES)


def test_the_checked_modules_are_the_imported_modules() -> None:
    imported = {
        module
        for path in (ROOT / "trayproxy").rglob("*.py")
        for module in re.findall(r"from PySide6\.(\w+) import", path.read_text("utf-8"))
    }
    assert imported == set(MODULES)


def test_the_readme_names_all_packages() -> None:
    text = (ROOT / "README.md").read_text("utf-8").replace("\\\n", " ")
    (line,) = re.findall(r"^sudo apt-get install .*libegl1.*$", text, re.MULTILINE)
    assert shlex.split(line) == command(missing_packages(lambda library: False)).split()


def test_all_missing_packages_are_named() -> None:
    assert missing_packages(lambda library: True) == ()
    gone = {"libEGL.so.1", "libgthread-2.0.so.0", "libglib-2.0.so.0"}
    assert missing_packages(lambda library: library not in gone) == (
        FONTS,
        "libegl1",
        "libglib2.0-0",
    )


def test_a_renamed_package_is_not_missing() -> None:
    """Debian 13 has libglib-2.0.so.0 in libglib2.0-0t64."""
    script = ROOT / "trayproxy" / "desktop" / "qt_libraries.py"
    # As in packaging/setup.sh: by a Python without the packages of this project.
    done = subprocess.run(
        [sys.executable, "-I", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == ""


@pytest.mark.parametrize(
    "hidden",
    [
        ("libEGL.so.1", "libxcb-cursor.so.0", "libxkbcommon-x11.so.0"),
        ("libxcb-cursor.so.0", "libxkbcommon-x11.so.0", "libxcb-icccm.so.4"),
    ],
    ids=["before Qt starts", "its plugin only"],
)
def test_the_program_names_the_packages_of_all_missing_libraries(
    tmp_path: Path, hidden: tuple[str, ...]
) -> None:
    loaded = subprocess.run(
        ["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True
    ).stdout
    paths = [
        path for name in hidden for path in re.findall(rf"{re.escape(name)} .*=> (.+)", loaded)
    ]
    hide = "".join(f"mount --bind /dev/null {shlex.quote(path)}; " for path in paths)
    start = f"set -e; {hide}exec {shlex.quote(sys.executable)} -m trayproxy"
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [*ALONE, "sh", "-c", start],
        cwd=ROOT,
        # With WAYLAND_SOCKET, TrayProxy does not check the display before it starts Qt.
        env={
            **environment,
            "DISPLAY": ":1",
            "WAYLAND_SOCKET": "0",
            "TRAYPROXY_HOME": str(tmp_path),
        },
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    (line,) = re.findall("sudo apt-get install (.*)", done.stderr)
    assert set(line.split()) >= {PACKAGES[name] for name in hidden}
    assert "Traceback" not in done.stderr
