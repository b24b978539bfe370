"""``trayproxy show`` and ``trayproxy quit``: commands for the running TrayProxy."""

import os

from trayproxy.cli.output import CommandError
from trayproxy.cli.service_client import request, require_service
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.messages import Quit, ShowWindow
from trayproxy.control.transport import ControlError
from trayproxy.paths import Paths

_QUIT_TIMEOUT_S = 15.0
"""The timeout for the service to close its connections and end."""


def declare_show(parser: VerbParser) -> None:
    """Declare ``trayproxy show``."""
    parser.set_defaults(verb=_show)


def declare_quit(parser: VerbParser) -> None:
    """Declare ``trayproxy quit``."""
    parser.set_defaults(verb=_quit)


def _show(paths: Paths, arguments: Arguments) -> None:
    """Show the window; it is raised if the desktop's activation token permits."""
    with require_service(paths) as client:
        request(client, ShowWindow(os.environ.get("XDG_ACTIVATION_TOKEN", "")))


def _quit(paths: Paths, arguments: Arguments) -> None:
    """End TrayProxy, and return after it has ended."""
    with require_service(paths) as client:
        request(client, Quit())
        try:
            for _ in client.events(_QUIT_TIMEOUT_S):
                pass
        except ControlError:
            return
    raise CommandError("TrayProxy is taking long to end.")
