"""Runs the tray like `trayproxy.ui.app.main`, but never starts a service."""

import sys

import pytest

from trayproxy.ui import app


def no_service(paths: object) -> int:
    """Fail like a missing program: the test runs the service."""
    raise FileNotFoundError


if __name__ == "__main__":
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(app, "start_service", no_service)
        sys.exit(app.main(sys.argv[1:]))
