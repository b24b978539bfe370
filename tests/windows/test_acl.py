"""Tests for trayproxy.desktop.private_folder on Windows."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.windows.conftest import trayproxy
from trayproxy.desktop.private_folder.windows import make_private_by_acl
from trayproxy.desktop.users import own_user
from trayproxy.desktop.windows_library import load_library
from trayproxy.paths import PathError

_FILE_OBJECT = 1
_DACL, _PROTECTED_DACL = 0x4, 0x80000000


def access(folder: Path) -> str:
    """Return the access control list of a folder in the security descriptor string format."""
    descriptor, text = ctypes.c_void_p(), ctypes.c_wchar_p()
    code = load_library("advapi32").GetNamedSecurityInfoW(
        *(str(folder), _FILE_OBJECT, _DACL), *(None, None, None, None, ctypes.byref(descriptor))
    )
    assert code == 0
    assert load_library("advapi32").ConvertSecurityDescriptorToStringSecurityDescriptorW(
        descriptor, 1, _DACL, ctypes.byref(text), None
    )
    return str(text.value)


def set_access(folder: Path, entries: str) -> None:
    """Set the access control list of a folder."""
    descriptor = ctypes.c_void_p()
    make = load_library("advapi32").ConvertStringSecurityDescriptorToSecurityDescriptorW
    assert make(f"D:P{entries}", 1, ctypes.byref(descriptor), None)
    parts = ctypes.c_uint32(_DACL | _PROTECTED_DACL)
    assert load_library("advapi32").SetFileSecurityW(str(folder), parts, descriptor)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that all users can access, outside the user's profile.

    Its parent is private: under Wine 8, a folder inherits entries regardless of the settings.
    """
    with TemporaryDirectory(dir="C:\\") as made:
        set_access(Path(made), f"(A;OICI;FA;;;{own_user()})")
        folder = Path(made) / "home"
        folder.mkdir()
        set_access(folder, "(A;OICI;FA;;;WD)")
        assert ";;;WD)" in access(folder)
        yield folder


def test_an_open_folder_is_made_private(folder: Path) -> None:
    make_private_by_acl(folder)
    entries = access(folder)
    assert ";;;WD)" not in entries
    assert f"(A;OICI;FA;;;{own_user()})" in entries


def test_a_missing_folder_is_created_private(folder: Path) -> None:
    (folder.parent / "open").mkdir()
    make_private_by_acl(folder.parent / "new")
    assert ";;;WD)" in access(folder.parent / "open")
    assert ";;;WD)" not in access(folder.parent / "new")


def test_files_in_the_folder_stay_accessible(folder: Path) -> None:
    make_private_by_acl(folder)
    (folder / "file").write_text("text")
    make_private_by_acl(folder)
    assert (folder / "file").read_text() == "text"


def test_a_path_that_is_a_file_is_an_error(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(PathError):
        make_private_by_acl(folder / "file")


def test_every_command_makes_the_home_private(folder: Path) -> None:
    code, output = trayproxy(folder, "profiles", "list")
    assert code == 0, output
    assert ";;;WD)" not in access(folder)
    assert os.listdir(folder)
