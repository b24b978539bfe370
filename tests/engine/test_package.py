"""Tests for trayproxy.engine: the parts of proxy.py that are loaded."""

import pytest

from tests.support.processes import RunPython

PROGRAM = """
import sys
if sys.argv[1] == "True":
    import proxy
import trayproxy.engine.proxy_py
print("proxy.http" in sys.modules, hasattr(sys.modules["proxy"], "main"))
"""


@pytest.mark.parametrize("is_loaded", [False, True])
def test_only_the_parts_of_proxy_py_that_are_used_are_loaded(
    run_python: RunPython, is_loaded: bool
) -> None:
    """If a program has loaded all of proxy.py, its packages are left as they are."""
    run = run_python(PROGRAM, is_loaded)
    assert run.stdout.split() == [str(is_loaded)] * 2, run.stderr
