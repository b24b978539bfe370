"""Reads and replaces the configuration files of other programs, or leaves them alone.

A file is changed only if it is a regular file of this user in a folder of this user. It keeps its
mode, its group and its extended attributes. Other programs see either the old or the new file.

On Windows, the owner is not compared: the files are in the user's profile.
"""

import contextlib
import os
import shutil
import stat
from pathlib import Path

from trayproxy.file_replacement import remove_file, replace_file, temporary_path
from trayproxy.system_settings.entries import TargetError

MAX_SIZE = 1 << 20
"""The largest file that is changed, in octets."""


class AccessDeniedError(TargetError):
    """This user may not read or change the file."""


class ToolFiles:
    """The files of programs on this computer. The texts of `TargetError` are clauses."""

    def exists(self, path: str) -> bool:
        """Return True if there is a file, a folder or a link at a path."""
        return os.path.lexists(path)

    def read(self, path: str) -> bytes | None:
        """Return the contents of a file; None if there is none.

        Raises:
            TargetError: The file cannot be read, or must be left alone.
        """
        try:
            _check_file(path, os.lstat(path))
            with open(path, "rb") as file:
                octets = file.read(MAX_SIZE + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except PermissionError as error:
            raise AccessDeniedError(f"it cannot be read: {_reason(error)}") from None
        except OSError as error:
            raise TargetError(f"it cannot be read: {_reason(error)}") from None
        if len(octets) > MAX_SIZE:
            raise TargetError("it is larger than 1 MiB")
        return octets

    def missing_folders(self, path: str) -> tuple[str, ...]:
        """Return the folders that must be created for a file, the outermost first.

        Raises:
            TargetError: The path is relative, or on a drive that does not exist.
        """
        missing = []
        folder = os.path.dirname(path)
        while not self.exists(folder):
            missing.append(folder)
            folder, inner = os.path.dirname(folder), folder
            if folder == inner:
                raise TargetError(f"its folder “{inner}” does not exist")
        return tuple(reversed(missing))

    def check_writable(self, path: str) -> None:
        """Check that the file can be changed or created.

        Raises:
            AccessDeniedError: This user may not change or create the file.
            TargetError: The folder must be left alone.
        """
        folder = os.path.dirname(path)
        for missing in reversed(self.missing_folders(path)):
            folder = os.path.dirname(missing)
        if self.exists(path) and not os.access(path, os.W_OK):
            raise AccessDeniedError("it is read-only")
        try:
            status = os.stat(folder)
        except OSError as error:
            raise TargetError(f"its folder cannot be used: {_reason(error)}") from None
        if not stat.S_ISDIR(status.st_mode):
            raise TargetError(f"{folder} is not a folder")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise AccessDeniedError(f"its folder {folder} is read-only")
        if _is_foreign(status):
            raise TargetError(f"its folder {folder} belongs to another user")

    def write(self, path: str, old: bytes | None, new: bytes) -> None:
        """Replace or create a file and its folders, and wait until it is on the disk.

        Args:
            path: The file.
            old: The contents that the file must still have; None if there must be no file.
            new: The new contents.

        Raises:
            TargetError: The file was not replaced.
        """

        def prepare(temporary: Path) -> None:
            if old is not None:
                _copy_attributes(path, temporary)
            elif is_administrator:
                temporary.chmod(0o644)
            self._check_unchanged(path, old)

        # Other users read the files of the system.
        is_administrator = hasattr(os, "geteuid") and os.geteuid() == 0
        try:
            for folder in self.missing_folders(path):
                os.mkdir(folder, 0o755 if is_administrator else 0o700)
            replace_file(Path(path), new, before_replacing=prepare)
        except OSError as error:
            raise TargetError(f"it cannot be written: {_reason(error)}") from None

    def remove(self, path: str, old: bytes) -> None:
        """Remove a file.

        Args:
            path: The file.
            old: The contents that the file must still have.

        Raises:
            TargetError: The file was not removed.
        """
        try:
            self._check_unchanged(path, old)
            remove_file(Path(path))
        except OSError as error:
            raise TargetError(f"it cannot be removed: {_reason(error)}") from None

    def remove_leftover(self, path: str) -> None:
        """Remove the temporary file of a process that was killed in `write`; ignore errors."""
        with contextlib.suppress(OSError):
            temporary_path(Path(path)).unlink()

    def remove_folder(self, folder: str) -> None:
        """Remove a folder if it exists and is empty; do nothing otherwise."""
        with contextlib.suppress(OSError):
            os.rmdir(folder)

    def _check_unchanged(self, path: str, old: bytes | None) -> None:
        if self.read(path) != old:
            raise TargetError("another program is changing it")


def _check_file(path: str, status: os.stat_result) -> None:
    """Check that a file may be read and changed; raise `TargetError` or `OSError` otherwise."""
    if stat.S_ISLNK(status.st_mode):
        raise TargetError(f"it is a symbolic link, to {os.readlink(path)}")
    if not stat.S_ISREG(status.st_mode):
        raise TargetError("it is not a regular file")
    if status.st_nlink > 1:
        raise TargetError("it has several names (hard links)")
    if status.st_size > MAX_SIZE:
        raise TargetError("it is larger than 1 MiB")
    if _is_foreign(status) and os.access(path, os.W_OK):
        raise TargetError("it belongs to another user")


def _copy_attributes(path: str, new: Path) -> None:
    shutil.copystat(path, new)
    os.utime(new)
    if hasattr(os, "chown"):
        group = os.stat(path).st_gid
        if os.stat(new).st_gid != group:
            os.chown(new, -1, group)
            # chown(2) clears the set-user-ID and set-group-ID bits.
            shutil.copymode(path, new)


def _is_foreign(status: os.stat_result) -> bool:
    return hasattr(os, "geteuid") and status.st_uid != os.geteuid()


def _reason(error: OSError) -> str:
    return error.strerror or str(error)
