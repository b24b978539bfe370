"""The adapters of containers and WSL on Windows: virtual switches of Hyper-V on this computer.

WSL 2 with NAT networking uses ``vEthernet (WSL)``, since Windows 11 22H2 ``vEthernet (WSL (Hyper-V
firewall))`` (learn.microsoft.com, "Accessing network applications with WSL"); Windows containers
use ``vEthernet (nat)`` (learn.microsoft.com, "Windows container networking"). Not run on Windows
here; the tests use names from these pages.
"""

import re

_NAMES = re.compile(r"vEthernet \((?:WSL(?: \(.*\))?|nat|HNS Internal NIC)\)", re.IGNORECASE)


def is_container_adapter(adapter: str) -> bool:
    """Return whether an adapter connects this computer with WSL or with Windows containers."""
    return _NAMES.fullmatch(adapter) is not None
