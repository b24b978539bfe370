"""Where files live (ux §7.2): below ``$TRAYPROXY_HOME``, or where platformdirs says.

Every folder is private. Another user who can write to the runtime folder could put a control socket
of their own there and be told the password; so a folder that is not ours is refused, not repaired.
"""

import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "TRAYPROXY_HOME"
"""Names a folder that everything is put below, for tests, demonstrations and second instances."""

SOCKET_PATH_LIMIT = 104
"""Octets of ``sockaddr_un.sun_path`` with its NUL where it is smallest (macOS; Linux has 108)."""

_APP = "trayproxy"
_SOCKET = "ipc.sock"


class PathError(OSError):
    """A folder cannot be made private; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of this user's TrayProxy. None of them needs to exist yet.

    Attributes:
        config: Settings, worth a backup.
        state: What is remembered between runs and may be lost.
        cache: What can be fetched again.
        log: Log files.
        runtime: The control socket and its lock; mostly gone after a restart of the computer.
    """

    config: Path
    state: Path
    cache: Path
    log: Path
    runtime: Path

    @property
    def config_file(self) -> Path:
        """The settings."""
        return self.config / "config.toml"

    @property
    def log_file(self) -> Path:
        """The newest log file."""
        return self.log / "trayproxy.log"

    @property
    def sign_in_file(self) -> Path:
        """What is remembered of proxies and of rejected logins (`trayproxy.desk.history`)."""
        return self.state / "sign-in.json"

    @property
    def socket(self) -> Path:
        """The control socket; where there are none, the file that says how to connect."""
        return self.runtime / _SOCKET

    @property
    def lock(self) -> Path:
        """The file whose lock the running service holds."""
        return self.runtime / "service.lock"

    def prepare(self) -> None:
        """Make every folder, private.

        Raises:
            PathError: One cannot be made, or belongs to someone else.
        """
        for folder in (self.config, self.state, self.cache, self.log, self.runtime):
            make_private(folder)


def locate(environ: Mapping[str, str] = os.environ) -> Paths:
    """Return the folders for this user, by the environment; touches nothing.

    Args:
        environ: Where `HOME_VARIABLE` is looked up; platformdirs reads the process's own.
    """
    if home := environ.get(HOME_VARIABLE):
        # One home, one socket, however its path is spelt.
        root = Path(os.path.realpath(Path(home).expanduser()))
        runtime = _with_short_socket_path(root / "runtime")
        return Paths(root / "config", root / "state", root / "cache", root / "log", runtime)
    import platformdirs

    return Paths(
        config=platformdirs.user_config_path(_APP, appauthor=False),
        state=platformdirs.user_state_path(_APP, appauthor=False),
        cache=platformdirs.user_cache_path(_APP, appauthor=False),
        log=platformdirs.user_log_path(_APP, appauthor=False),
        runtime=_with_short_socket_path(_runtime()),
    )


def make_private(folder: Path) -> None:
    """Make a folder that only this user can enter; an existing one is checked and closed to others.

    Args:
        folder: Missing parents are made as well, private too.

    Raises:
        PathError: It cannot be made, is not a folder, or it (or the link to it) is another user's.
    """
    try:
        for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        _check_owner(folder, folder.lstat())
        status = folder.stat()
        _check_owner(folder, status)
        if not stat.S_ISDIR(status.st_mode):
            raise PathError(f"{folder} is not a folder")
        if hasattr(os, "geteuid") and status.st_mode & 0o077:
            folder.chmod(0o700)
    except PathError:
        raise
    except OSError as error:
        raise PathError(f"{folder} cannot be used: {error.strerror or error}") from error


def _check_owner(folder: Path, status: os.stat_result) -> None:
    # Windows has no user ids; there the folders lie in the profile, which is private by its ACL.
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise PathError(f"{folder} belongs to another user (uid {status.st_uid})")


def _runtime() -> Path:
    import platformdirs

    if not hasattr(os, "geteuid"):
        # Windows. platformdirs names a folder below %LOCALAPPDATA%\\Temp, whose old files Storage
        # Sense and Disk Cleanup remove, also of programs that run.
        return platformdirs.user_data_path(_APP, appauthor=False) / "run"
    with warnings.catch_warnings():
        # No login session, no XDG_RUNTIME_DIR: ordinary over ssh, and no news for anyone.
        warnings.simplefilter("ignore")
        try:
            runtime = platformdirs.user_runtime_path(_APP, appauthor=False)
        except PermissionError:
            return _state_subfolder("run")
    # The last resort of platformdirs is below the shared folder for temporary files, where another
    # user can make a folder of that name first, and TrayProxy would never start.
    return _state_subfolder("run") if runtime.parent.name.startswith("runtime-") else runtime


def _with_short_socket_path(runtime: Path) -> Path:
    """Return the folder itself, or a short stand-in that every process of this user finds."""
    if _is_short(runtime):
        return runtime
    import hashlib

    name = "run-" + hashlib.sha256(os.fsencode(runtime)).hexdigest()[:12]
    if _is_short(private := _state_subfolder(name)):
        return private
    # The home of this user has a path of some 60 octets. Not tempfile's folder: $TMPDIR may differ
    # between the service and a face.
    return Path(f"/tmp/{_APP}-{os.geteuid()}-{name}")


def _is_short(runtime: Path) -> bool:
    return not hasattr(os, "geteuid") or len(os.fsencode(runtime / _SOCKET)) < SOCKET_PATH_LIMIT


def _state_subfolder(name: str) -> Path:
    """Return a folder in the state directory, where only this user can make one."""
    import platformdirs

    return platformdirs.user_state_path(_APP, appauthor=False) / name
