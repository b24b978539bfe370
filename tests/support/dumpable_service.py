"""TrayProxy as a process whose memory and descriptors its user may count: a program of its own.

    python -m tests.support.dumpable_service ARGUMENTS-OF-TRAYPROXY…

The files below ``/proc`` of a hardened process belong to root, so an ordinary user who runs the
tests could not read them. Here the process stays dumpable, as the tray does; all else is the same.
"""

import sys

from trayproxy.desktop import hardening

DUMPABLE = ("tests.support.dumpable_service",)
"""The module and its first arguments, for `tests.support.service.service`."""


def main() -> int:
    right = hardening.harden

    def harden(*, uses_portals: bool = False) -> None:
        right(uses_portals=True)

    # Before anything of ours takes it by name.
    hardening.harden = harden
    from trayproxy.cli.main import main as trayproxy

    sys.argv[0] = "trayproxy"
    return trayproxy()


if __name__ == "__main__":
    sys.exit(main())
