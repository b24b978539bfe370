"""``trayproxy show`` and ``trayproxy quit``: for the one that runs."""

import os

from trayproxy.cli.output import CommandError
from trayproxy.cli.service_client import request, require_service
from trayproxy.control.client import DisconnectedError
from trayproxy.control.codec import ProtocolError
from trayproxy.control.messages import Quit, ShowWindow
from trayproxy.paths import Paths

_QUIT_TIMEOUT_S = 15.0
"""How long a service may take to end its connections."""


def show(paths: Paths) -> None:
    """Show the window; it comes to the front where the desktop has given us leave."""
    with require_service(paths) as client:
        request(client, ShowWindow(os.environ.get("XDG_ACTIVATION_TOKEN", "")))


def quit_service(paths: Paths) -> None:
    """End TrayProxy, and return when it has ended."""
    with require_service(paths) as client:
        request(client, Quit())
        try:
            for _ in client.events(_QUIT_TIMEOUT_S):
                pass
        except (DisconnectedError, ProtocolError):
            return
    raise CommandError("TrayProxy is taking long to end.")
