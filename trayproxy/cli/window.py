"""``trayproxy show`` and ``trayproxy quit``: for the one that runs."""

import os

from trayproxy.cli.talk import need, request
from trayproxy.cli.words import EndError
from trayproxy.control.client import DisconnectedError
from trayproxy.control.codec import ProtocolError
from trayproxy.control.messages import Quit, Show
from trayproxy.paths import Paths

_END_S = 15.0
"""How long a service may take to end its connections."""


def show(paths: Paths) -> None:
    """Show the window; it comes to the front where the desktop has given us leave."""
    with need(paths) as client:
        request(client, Show(os.environ.get("XDG_ACTIVATION_TOKEN", "")))


def end(paths: Paths) -> None:
    """End TrayProxy, and return when it has ended."""
    with need(paths) as client:
        request(client, Quit())
        try:
            for _ in client.events(_END_S):
                pass
        except (DisconnectedError, ProtocolError):
            return
    raise EndError("TrayProxy is taking long to end.")
