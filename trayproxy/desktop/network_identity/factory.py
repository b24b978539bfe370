"""Choose the reader of the present network of this operating system."""

import os
import sys

from trayproxy.desktop.network_identity.base import NetworkIdentity, ReadNetwork


def network_reader() -> ReadNetwork:
    """Return the function that reads the present network of this operating system."""
    if sys.platform == "win32":
        from trayproxy.desktop.network_identity.windows import read_network

        return read_network
    elif sys.platform == "darwin":
        from trayproxy.desktop.commands import command_runner
        from trayproxy.desktop.network_identity import macos

        run = command_runner(os.environ, macos.COMMAND_LIMIT_S)
        return lambda: macos.read_network(run)
    elif sys.platform == "linux":
        from trayproxy.desktop.network_identity.linux import read_network

        return read_network
    else:
        return NetworkIdentity
