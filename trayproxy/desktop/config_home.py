"""The folder of the user's settings on Linux (XDG Base Directory Specification)."""

from collections.abc import Mapping
from pathlib import Path


def config_home(environ: Mapping[str, str]) -> Path:
    """Return the folder of the user's settings; without ``HOME``, that of the user's account.

    Args:
        environ: The environment with ``XDG_CONFIG_HOME`` or ``HOME``.
    """
    home = environ.get("XDG_CONFIG_HOME", "")
    # Relative paths are invalid.
    if Path(home).is_absolute():
        return Path(home)
    return Path(environ.get("HOME") or Path.home()) / ".config"
