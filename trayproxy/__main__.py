"""``python -m trayproxy`` is the same as ``trayproxy``."""

import sys

from trayproxy.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
