"""Choose how the folder in ``TRAYPROXY_HOME`` is made private on this operating system."""

import os
import sys
from collections.abc import Mapping

from trayproxy.paths import HOME_VARIABLE, Paths


def make_home_private(paths: Paths, environ: Mapping[str, str] = os.environ) -> None:
    """Deny other users access to the folder in `HOME_VARIABLE`, if the variable is set.

    On Windows, the default folders of `trayproxy.paths` are in the user's profile, which other
    users cannot access, but the folder in the variable may be anywhere. On Unix this function does
    nothing, because `trayproxy.paths.make_private` sets the mode of each folder.

    Raises:
        PathError: The folder cannot be made private, or belongs to another user.
    """
    if sys.platform == "win32" and environ.get(HOME_VARIABLE):
        from trayproxy.desktop.private_folder.windows import make_private_by_acl

        make_private_by_acl(paths.config.parent)
