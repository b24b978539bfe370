"""Passing over proxy.py's front.

``import proxy`` brings in all that proxy.py can do: plug-ins, a web server, SSH tunnels, a test
harness with unittest. These are 110 modules and an eighth of the time in which the service starts,
for code that must never see an octet of ours. The parts that are used import no name from there.
"""

import sys
from importlib.util import find_spec, module_from_spec


def pass_over() -> None:
    """Make proxy.py known as a package of which nothing is loaded but what is asked for.

    Where somebody has loaded all of it already, it stays so.
    """
    if "proxy" in sys.modules:
        return
    spec = find_spec("proxy")
    if spec is not None:
        sys.modules["proxy"] = module_from_spec(spec)
