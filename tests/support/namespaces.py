"""Networks of our own, which nobody else is in: namespaces(7) of Linux, no privilege needed."""

import shutil
import subprocess

import pytest

ALONE = ("unshare", "-rnm")
"""What a program is run by to be alone in a network in which it may change everything."""
TOOLS = ("unshare", "nsenter", "ip")


def skip_without_namespaces() -> None:
    """Skip the test where there are none."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    # Not every kernel has what the tests make their cables of.
    trial = [*ALONE, "ip", "link", "add", "far", "type", "veth", "peer", "near"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("this computer allows no network namespaces")
