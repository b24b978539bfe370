"""The paths of TrayProxy's files (ux §7.2): below ``$TRAYPROXY_HOME``, or as platformdirs defines.

Only the journal of the system proxy is in the same folder in both cases.

Every folder is private. In a runtime folder writable by another user, the other user could
create a control socket and receive the password; therefore a folder of another user is rejected and
not repaired.
"""

import os
import stat
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

HOME_VARIABLE = "TRAYPROXY_HOME"
"""The environment variable for the folder of all files, for tests, demonstrations and
second instances."""

_APP = "trayproxy"


class PathError(OSError):
    """A folder cannot be made private; the text contains the folder and the reason."""


@dataclass(frozen=True, slots=True)
class Paths:
    """The folders of this user's TrayProxy. They need not exist.

    Attributes:
        config: The settings, worth a backup.
        state: Data kept between runs; it may be lost.
        cache: Data to fetch again if lost.
        log: The log files.
        runtime: The control socket and its lock; usually deleted when the computer restarts.
        shared: Data of all TrayProxy services of this user, whatever `HOME_VARIABLE` says: the
            services share one system proxy. Created when it is needed.
    """

    config: Path
    state: Path
    cache: Path
    log: Path
    runtime: Path
    shared: Path

    @property
    def config_file(self) -> Path:
        """The settings file, ``config.toml``."""
        return self.config / "config.toml"

    @property
    def log_file(self) -> Path:
        """The newest log file."""
        return self.log / "trayproxy.log"

    @property
    def sign_in_file(self) -> Path:
        """The history of proxies and rejected logins (`trayproxy.desk.history`)."""
        return self.state / "sign-in.json"

    @property
    def system_proxy_file(self) -> Path:
        """The journal of the changed system settings (`trayproxy.system_settings.journal`)."""
        return self.shared / "system-proxy.json"

    @property
    def system_proxy_lock(self) -> Path:
        """The file with the lock for changes of system settings."""
        return self.shared / "system-proxy.lock"

    @property
    def tls_inspection_file(self) -> Path:
        """The upstreams that inspect TLS (`trayproxy.desktop.company_ca`)."""
        return self.state / "tls-inspection.json"

    @property
    def ca_file(self) -> Path:
        """The certificate authorities of the system, for programs with a list of their own."""
        return self.state / "ca-certificates.pem"

    @property
    def pac_folder(self) -> Path:
        """The folder of the last good copies of PAC scripts (`trayproxy.pac.stored_copy`)."""
        return self.cache / "pac"

    @property
    def recipes_folder(self) -> Path:
        """The folder of the journals of the recipes (`trayproxy.recipes.journal`)."""
        return self.state / "recipes"

    @property
    def recipes_lock(self) -> Path:
        """The file with the lock for changes by recipes."""
        return self.state / "recipes.lock"

    @property
    def socket(self) -> Path:
        """The control socket, or a link to it (see `trayproxy.control.unix_socket`); without Unix
        sockets, the file with the port and the key."""
        return self.runtime / "ipc.sock"

    @property
    def quit_mark(self) -> Path:
        """The file that is touched when the service is told to quit (`control.quit_mark`)."""
        return self.runtime / "quit"

    @property
    def lock(self) -> Path:
        """The file with the instance lock of the running service."""
        return self.runtime / "service.lock"

    def prepare(self) -> None:
        """Create every folder as a private folder.

        Raises:
            PathError: A folder cannot be created, or belongs to another user.
        """
        for folder in (self.config, self.state, self.cache, self.log, self.runtime):
            make_private(folder)


def locate(environ: Mapping[str, str] = os.environ) -> Paths:
    """Return the folders for this user, as the environment defines them; create nothing.

    Only `HOME_VARIABLE` is read from `environ`: platformdirs reads the process's environment.
    """
    import platformdirs

    state = platformdirs.user_state_path(_APP, appauthor=False)
    if home := environ.get(HOME_VARIABLE):
        # The real path: two spellings of a home must lead to the same socket.
        root = Path(os.path.realpath(Path(home).expanduser()))
        return Paths(
            config=root / "config",
            state=root / "state",
            cache=root / "cache",
            log=root / "log",
            runtime=root / "runtime",
            shared=state,
        )
    return Paths(
        config=platformdirs.user_config_path(_APP, appauthor=False),
        state=state,
        cache=platformdirs.user_cache_path(_APP, appauthor=False),
        log=platformdirs.user_log_path(_APP, appauthor=False),
        runtime=_runtime(),
        shared=state,
    )


def make_private(folder: Path) -> None:
    """Create a folder and its missing parents, private to this user; restrict an existing folder.

    Raises:
        PathError: The folder cannot be created, is not a folder, or belongs to another user; so may
            a link to it.
    """
    try:
        for missing in reversed([p for p in (folder, *folder.parents) if not p.exists()]):
            _check_sudo(missing.parent)
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
    # Windows has no user ids; there the folders are in the profile, which is private by its ACL.
    if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
        raise PathError(f"{folder} belongs to another user (uid {status.st_uid})")


def _check_sudo(folder: Path) -> None:
    """Raise `PathError` if root would use a folder of the user of sudo, which may keep ``HOME``.

    Folders that root creates there would prevent the user from running TrayProxy.
    """
    user = os.environ.get("SUDO_UID", "")
    if hasattr(os, "geteuid") and os.geteuid() == 0 and user == str(folder.stat().st_uid) != "0":
        raise PathError(f"{folder} belongs to the user who runs sudo: run TrayProxy without sudo")


def _runtime() -> Path:
    import platformdirs

    if not hasattr(os, "geteuid"):
        # Windows. platformdirs returns a folder below %LOCALAPPDATA%\\Temp; Storage Sense and Disk
        # Cleanup delete its old files, even files of running programs.
        return platformdirs.user_data_path(_APP, appauthor=False) / "run"
    # Only this user can create files in the state folder.
    fallback = platformdirs.user_state_path(_APP, appauthor=False) / "run"
    with warnings.catch_warnings():
        # platformdirs warns if XDG_RUNTIME_DIR is missing, which is normal over ssh.
        warnings.simplefilter("ignore")
        try:
            runtime = platformdirs.user_runtime_path(_APP, appauthor=False)
        except OSError:
            # No folder for temporary files can be written, for example because the disk is full.
            return fallback
    # The fallback of platformdirs is in the shared folder for temporary files: another user could
    # create a folder of that name first, and TrayProxy would never start.
    return fallback if runtime.parent.name.startswith("runtime-") else runtime
