"""Writes the part of a lock file that the tests under Wine need: ``wheels.py packaging/locked/X``.

pip evaluates the markers of a lock file for the machine that it runs on, even if it is told to
download for another platform. This script evaluates the markers for Windows and omits them.
"""

import re
import sys
from pathlib import Path

from pip._vendor.packaging.markers import Marker

WINDOWS = {
    "implementation_name": "cpython",
    "os_name": "nt",
    "platform_machine": "AMD64",
    "platform_python_implementation": "CPython",
    "platform_system": "Windows",
    "python_full_version": "3.13.2",
    "python_version": "3.13",
    "sys_platform": "win32",
}

NOT_NEEDED = {
    *("ast-serialize", "click", "grimp", "hatchling", "import-linter", "librt", "markdown-it-py"),
    *("mdurl", "mypy", "mypy-extensions", "pathspec", "rich", "ruff", "trove-classifiers"),
}
"""Packages that lint, type-check or build the project; the tests do not need them."""

ENTRY = re.compile(
    r"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ;]+)(?: ; (?P<marker>.*?))?"
    r"(?P<hashes>(?: \\\n +--hash=\S+)+)",
    re.MULTILINE,
)


def entries(lock: str) -> list[str]:
    """Return the entries for Windows, each with its hashes."""
    return [
        f"{found['name']}=={found['version']}{found['hashes']}"
        for found in ENTRY.finditer(lock)
        if found["name"] not in NOT_NEEDED
        and (not found["marker"] or Marker(found["marker"]).evaluate(WINDOWS))
    ]


if __name__ == "__main__":
    sys.stdout.write("\n".join(entries(Path(sys.argv[1]).read_text("utf-8"))) + "\n")
