"""Runs TrayProxy as a process whose memory and descriptors its user can read.

    python -m tests.support.dumpable_service ARGUMENTS-OF-TRAYPROXY…

The files in ``/proc`` of a hardened process belong to root, so a test of an ordinary user cannot
read them. With this program the process stays dumpable, like the tray; all else is the same.
"""

import sys

from trayproxy.desktop import hardening

DUMPABLE = ("tests.support.dumpable_service",)
"""The module and its first arguments, for `tests.support.service.service`."""


def main() -> int:
    original = hardening.harden

    def harden(*, uses_portals: bool = False) -> None:
        original(uses_portals=True)

    # Before a module of TrayProxy imports the function by name.
    hardening.harden = harden
    from trayproxy.cli.main import main as trayproxy

    sys.argv[0] = "trayproxy"
    return trayproxy()


if __name__ == "__main__":
    sys.exit(main())
