"""Windows: restrict the access to a folder to its user, the administrators and the system.

`SetNamedSecurityInfoW` sets a *protected* access control list: the folder inherits no entries from
its parent, and files and folders inside it inherit its entries (learn.microsoft.com, aclapi.h and
"Security Descriptor String Format"). On Unix, the mode 0700 has this effect.

This module was run under Wine, which stores three of the entries as the mode of a Unix folder and
ignores the protection from inheritance. It was not run on Windows.
"""

import ctypes
import os
from pathlib import Path
from typing import Any

from trayproxy.desktop.users import own_user
from trayproxy.desktop.windows_library import load_library
from trayproxy.paths import PathError

_FILE_OBJECT = 1
"""The type of object for a folder: ``SE_FILE_OBJECT`` (accctrl.h)."""
_OWNER, _DACL, _PROTECTED_DACL = 0x1, 0x4, 0x80000000
"""The parts of a security descriptor to read or set: ``…_SECURITY_INFORMATION`` (winnt.h)."""
_REVISION = 1
"""The version of the string format of a security descriptor: ``SDDL_REVISION_1`` (sddl.h)."""

_OWNERS = ("S-1-5-32-544", "S-1-5-18")
"""The permitted owners of the folder besides the user: the system, and the administrators group,
which owns the folders created by an administrator with elevated rights. Both can access any folder
anyway."""


def make_private_by_acl(folder: Path) -> None:
    """Create a folder with this absolute path if it is missing, and deny access to all other users.

    Raises:
        PathError: The folder cannot be created or protected, or belongs to another user.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        user = str(own_user())
        functions = _SecurityFunctions()
        owner = functions.owner_of(folder)
        if owner not in (user, *_OWNERS):
            raise PathError(f"{folder} belongs to another user ({owner})")
        functions.restrict_to(folder, user)
    except PathError:
        raise
    except OSError as error:
        raise PathError(f"{folder} cannot be made private: {error.strerror or error}") from error


class _SecurityFunctions:
    """The functions of Windows for the owner and the access control list of a folder."""

    def __init__(self) -> None:
        self._advapi32, self._kernel32 = load_library("advapi32"), load_library("kernel32")
        pointer, number, text = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_wchar_p
        self._kernel32.LocalFree.argtypes = [pointer]
        advapi32 = self._advapi32
        advapi32.GetNamedSecurityInfoW.argtypes = [text, ctypes.c_int, number, *[pointer] * 5]
        advapi32.SetNamedSecurityInfoW.argtypes = [text, ctypes.c_int, number, *[pointer] * 4]
        advapi32.ConvertSidToStringSidW.argtypes = [pointer, pointer]
        convert = advapi32.ConvertStringSecurityDescriptorToSecurityDescriptorW
        convert.argtypes = [text, number, pointer, pointer]
        advapi32.GetSecurityDescriptorDacl.argtypes = [pointer] * 4

    def owner_of(self, folder: Path) -> str:
        """Return the SID of a folder's owner.

        Raises:
            OSError: Windows does not report the owner.
        """
        owner, descriptor, text = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_wchar_p()
        self._check(
            self._advapi32.GetNamedSecurityInfoW(
                *(str(folder), _FILE_OBJECT, _OWNER),
                *(ctypes.byref(owner), None, None, None, ctypes.byref(descriptor)),
            )
        )
        try:
            if not self._advapi32.ConvertSidToStringSidW(owner, ctypes.byref(text)):
                raise OSError("its owner is not known")
            try:
                return str(text.value)
            finally:
                self._kernel32.LocalFree(text)
        finally:
            self._kernel32.LocalFree(descriptor)

    def restrict_to(self, folder: Path, user: str) -> None:
        """Restrict the access to a folder to a user, the administrators and the system.

        Raises:
            OSError: The access control list could not be set.
        """
        # FA: all rights; OI and CI: files and folders inside the folder inherit the entries.
        entries = "".join(f"(A;OICI;FA;;;{who})" for who in (user, "BA", "SY"))
        descriptor = ctypes.c_void_p()
        if not self._advapi32.ConvertStringSecurityDescriptorToSecurityDescriptorW(
            f"D:P{entries}", _REVISION, ctypes.byref(descriptor), None
        ):
            raise OSError("its access control list could not be made")
        try:
            dacl, is_there, is_default = ctypes.c_void_p(), ctypes.c_int(), ctypes.c_int()
            found = self._advapi32.GetSecurityDescriptorDacl(
                descriptor, ctypes.byref(is_there), ctypes.byref(dacl), ctypes.byref(is_default)
            )
            # A NULL list would give access to all users.
            if not (found and is_there and dacl):
                raise OSError("its access control list could not be made")
            information = _DACL | _PROTECTED_DACL
            self._check(
                self._advapi32.SetNamedSecurityInfoW(
                    str(folder), _FILE_OBJECT, information, None, None, dacl, None
                )
            )
        finally:
            self._kernel32.LocalFree(descriptor)

    def _check(self, code: int) -> None:
        if code:
            format_error: Any = getattr(ctypes, "FormatError", os.strerror)
            raise OSError(code, str(format_error(code)))
