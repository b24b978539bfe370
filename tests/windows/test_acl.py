"""The folder that TRAYPROXY_HOME names is closed to other users."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.windows.conftest import trayproxy
from trayproxy.desktop.private_folder.windows import make_private_by_acl
from trayproxy.desktop.users import own_user
from trayproxy.paths import PathError

_FILE_OBJECT = 1
_DACL, _PROTECTED_DACL = 0x4, 0x80000000


def advapi32() -> Any:
    load: Any = getattr(ctypes, "WinDLL", None)
    return load("advapi32")


def access(folder: Path) -> str:
    """Return the access control list of a folder in the security descriptor string format."""
    descriptor, text = ctypes.c_void_p(), ctypes.c_wchar_p()
    code = advapi32().GetNamedSecurityInfoW(
        *(ctypes.c_wchar_p(str(folder)), _FILE_OBJECT, _DACL),
        *(None, None, None, None, ctypes.byref(descriptor)),
    )
    assert code == 0
    assert advapi32().ConvertSecurityDescriptorToStringSecurityDescriptorW(
        descriptor, 1, _DACL, ctypes.byref(text), None
    )
    return str(text.value)


def set_access(folder: Path, entries: str) -> None:
    """Set the access control list of a folder."""
    descriptor = ctypes.c_void_p()
    make = advapi32().ConvertStringSecurityDescriptorToSecurityDescriptorW
    assert make(f"D:P{entries}", 1, ctypes.byref(descriptor), None)
    what = ctypes.c_uint32(_DACL | _PROTECTED_DACL)
    assert advapi32().SetFileSecurityW(ctypes.c_wchar_p(str(folder)), what, descriptor)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that is open to everybody, and not in the user's profile.

    It lies in one that is closed: under Wine 8 a folder inherits whatever is set.
    """
    with TemporaryDirectory(dir="C:\\") as made:
        set_access(Path(made), f"(A;OICI;FA;;;{own_user()})")
        folder = Path(made) / "home"
        folder.mkdir()
        set_access(folder, "(A;OICI;FA;;;WD)")
        assert ";;;WD)" in access(folder)
        yield folder


def test_a_folder_that_was_open_is_closed(folder: Path) -> None:
    make_private_by_acl(folder)
    entries = access(folder)
    assert ";;;WD)" not in entries
    assert f"(A;OICI;FA;;;{own_user()})" in entries


def test_a_missing_folder_is_made_closed(folder: Path) -> None:
    (folder.parent / "open").mkdir()
    make_private_by_acl(folder.parent / "new")
    assert ";;;WD)" in access(folder.parent / "open")
    assert ";;;WD)" not in access(folder.parent / "new")


def test_what_is_in_it_can_still_be_used(folder: Path) -> None:
    make_private_by_acl(folder)
    (folder / "file").write_text("text")
    make_private_by_acl(folder)
    assert (folder / "file").read_text() == "text"


def test_a_folder_that_cannot_be_had_is_told(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(PathError):
        make_private_by_acl(folder / "file")


def test_every_command_closes_the_home(folder: Path) -> None:
    code, said = trayproxy(folder, "profiles", "list")
    assert code == 0, said
    assert ";;;WD)" not in access(folder)
    assert os.listdir(folder)
