"""Fuzz one property: ``python -m tests.fuzz.one PROPERTY ARGUMENTS-OF-LIBFUZZER``."""

import sys

import atheris

MODULES = ["trayproxy.http", "trayproxy.auth", "trayproxy.engine.net.socks5"]
"""The modules in which libFuzzer measures the coverage of branches."""


def main() -> None:
    """Run one property until libFuzzer has finished, or a fault is found. Never return."""
    name, *arguments = sys.argv[1:]
    with atheris.instrument_imports(include=MODULES):
        from tests.fuzz.properties import PROPERTIES
    atheris.Setup([sys.argv[0], *arguments], PROPERTIES[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
