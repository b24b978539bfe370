"""The folder that ``TRAYPROXY_HOME`` names, where a mode does not close it."""

import os
import sys
from collections.abc import Mapping

from trayproxy.paths import HOME_VARIABLE, Paths


def make_home_private(paths: Paths, environ: Mapping[str, str] = os.environ) -> None:
    """Close the folder that `HOME_VARIABLE` names, if it names one, to other users.

    On Windows the folders of `trayproxy.paths` lie in the user's profile, which others cannot
    enter; a folder that the variable names may lie anywhere. On Unix
    `trayproxy.paths.make_private` gives each folder its mode, and nothing is done here.

    Args:
        paths: What `trayproxy.paths.locate` returned for this environment.
        environ: Where the variable is looked up.

    Raises:
        PathError: It cannot be closed, or is another user's.
    """
    if sys.platform == "win32" and environ.get(HOME_VARIABLE):
        from trayproxy.desktop.private_folder.windows import make_private_by_acl

        make_private_by_acl(paths.config.parent)
