"""The adapters of containers on macOS: the bridges of vmnet, ``bridge100`` and following
(developer.apple.com, vmnet).

Docker Desktop and Podman need no adapter: they bring connections to ``host.docker.internal`` and
``host.containers.internal`` to 127.0.0.1. Not run on macOS here.
"""

import re

_NAMES = re.compile(r"bridge1\d\d")


def is_container_adapter(adapter: str) -> bool:
    """Return whether an adapter is a bridge of vmnet; ``bridge0`` is Thunderbolt."""
    return _NAMES.fullmatch(adapter) is not None
