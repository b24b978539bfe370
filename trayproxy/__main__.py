"""Run ``trayproxy`` as ``python -m trayproxy``."""

import sys

from trayproxy.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
