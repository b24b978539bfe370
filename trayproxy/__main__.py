"""Run ``trayproxy`` as ``python -m trayproxy``."""

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["--watchdog"]:
        # Before the command line is imported: the watchdog must stay small.
        from trayproxy.desktop.system_proxy.watchdog import main as watch

        sys.exit(watch(sys.argv[2:]))

    from trayproxy.cli.main import main

    sys.exit(main())
