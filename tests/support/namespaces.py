"""Network namespaces of Linux (namespaces(7)) for tests; they need no privilege."""

import shutil
import subprocess

import pytest

ALONE = ("unshare", "-rnm")
"""The command that runs a program in a separate network which the program may configure."""
TOOLS = ("unshare", "nsenter", "ip")


def skip_without_namespaces() -> None:
    """Skip the test on systems without network namespaces."""
    if missing := [tool for tool in TOOLS if shutil.which(tool) is None]:
        pytest.skip(f"needs {', '.join(missing)}")
    # Some kernels lack virtual Ethernet pairs.
    trial = [*ALONE, "ip", "link", "add", "far", "type", "veth", "peer", "near"]
    if subprocess.run(trial, capture_output=True, check=False).returncode:
        pytest.skip("this computer allows no network namespaces")
