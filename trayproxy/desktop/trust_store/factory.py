"""Choose the certificate authorities of this operating system."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from trayproxy.desktop.commands import command_runner
from trayproxy.desktop.public_authorities import public_authorities
from trayproxy.desktop.trust_store.base import SystemAuthorities, from_pem


def system_authorities(
    own_file: Path, environ: Mapping[str, str] = os.environ
) -> SystemAuthorities:
    """Return the authorities that this system trusts.

    Args:
        own_file: The file that TrayProxy writes, and that is therefore not read.
        environ: The environment of the user.
    """
    if sys.platform == "win32":
        from ssl import enum_certificates

        from trayproxy.desktop.trust_store.windows import WindowsAuthorities

        public = (public_authorities() or b"").decode("ascii", "ignore")
        return WindowsAuthorities(enum_certificates, tuple(from_pem(public)))
    if sys.platform == "darwin":
        from trayproxy.desktop.trust_store.macos import MacosAuthorities

        return MacosAuthorities(command_runner(environ), Path.home())
    from trayproxy.desktop.trust_store.linux import LinuxAuthorities

    return LinuxAuthorities(environ, own_file)
