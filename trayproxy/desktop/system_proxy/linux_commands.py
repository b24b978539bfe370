"""The environment in which the commands of a Linux desktop read and change its settings."""

import os
from collections.abc import Callable, Mapping

_FROM_BUNDLES = ("LD_LIBRARY_PATH", "GIO_MODULE_DIR")
"""Variables that bundles such as AppImages set for their own libraries. With these, gsettings would
load a GLib of another version, or would not find dconf and store its values nowhere."""


Which = Callable[[str], str | None]
"""Returns the path of a command by its name or absolute path; None if there is none."""


def command_finder(environ: Mapping[str, str]) -> Which:
    """Return a search for commands in the ``PATH`` of an environment.

    `shutil.which` would do, but `shutil` loads the modules for archives, 1 MB.
    """
    folders = environ.get("PATH", os.defpath).split(os.pathsep)

    def which(name: str) -> str | None:
        paths = (os.path.join(folder, name) for folder in folders)
        found = (path for path in paths if os.path.isfile(path) and os.access(path, os.X_OK))
        return next(found, None)

    return which


def session_environment(environ: Mapping[str, str], runtime: str) -> dict[str, str]:
    """Return the environment for commands that use the session bus.

    A service that systemd or cron has started may lack the address of the bus; the bus of a login
    session listens in the runtime folder (systemd's ``dbus.socket``). The output is UTF-8 in
    English whatever the language of the session.

    Args:
        environ: The environment of this process.
        runtime: The runtime folder of the user, if `environ` lacks ``XDG_RUNTIME_DIR``:
            ``/run/user/1000``.
    """
    new = {name: value for name, value in environ.items() if name not in _FROM_BUNDLES}
    if not new.get("XDG_RUNTIME_DIR"):
        new["XDG_RUNTIME_DIR"] = runtime
    if not new.get("DBUS_SESSION_BUS_ADDRESS"):
        new["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path={new['XDG_RUNTIME_DIR']}/bus"
    # GLib converts its output to the encoding of the locale, with “?” for other characters. CHARSET
    # has precedence, so that the result is the same if the locale C.UTF-8 is not installed.
    return new | {"LC_ALL": "C.UTF-8", "CHARSET": "UTF-8"}


def runtime_folder() -> str:
    """Return the usual runtime folder of this user (systemd's pam_systemd(8))."""
    # Windows has no getuid. The tests of the pure parts also run there.
    return f"/run/user/{os.getuid() if hasattr(os, 'getuid') else 0}"
