"""The tray as `trayproxy.ui.app.main` runs it, but that it never starts a service."""

import sys

import pytest

from trayproxy.ui import app


def no_service(paths: object) -> int:
    """Start nothing: the test has the service."""
    raise FileNotFoundError


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "start_service", no_service)
        sys.exit(app.main(sys.argv[1:]))
