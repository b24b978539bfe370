"""Starts the service without OpenSSL, which costs 5 MiB of memory and 30 ms at the start.

The engine does TLS in memory and only for ``https://`` upstreams (`trayproxy.engine.net.tls`); the
TLS transports of the event loops and of proxy.py are not used. The service runs in one process, so
multiprocessing is not used either.
"""

import os
import sys
from contextlib import suppress
from importlib import import_module
from threading import Event
from types import ModuleType

_IMPORTERS = ("asyncio", "uvloop", "winloop", "trayproxy.engine.proxy_py")
"""Modules that import `ssl` or `secrets`, and thereby OpenSSL, for unused features."""
_WITH_OPENSSL = ("ssl", "secrets")
_WITHOUT_USE = (
    "multiprocessing",
    "multiprocessing.connection",
    "multiprocessing.reduction",
    "multiprocessing.synchronize",
)
"""Modules for distributing the work of proxy.py over several processes."""


class _Placeholder(ModuleType):
    """A substitute for a module, used during the import of other modules.

    Those modules import names from the placeholder and use none of them at import time. Names of
    constants have the value 0; every other name is an exception class, because ``except`` clauses
    refer to some of the names.
    """

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0 if name.startswith(("OP_", "SSL_")) else type(name, (Exception,), {})


def import_without_openssl() -> None:
    """Import the modules that would load OpenSSL needlessly; call this before importing asyncio.

    The placeholders are removed at the end, so a later import of such a module imports the real
    module. Do nothing if OpenSSL is loaded already.
    """
    if not sys.modules.keys().isdisjoint(_WITH_OPENSSL):
        return
    names = (*_WITH_OPENSSL, *(name for name in _WITHOUT_USE if name not in sys.modules))
    placeholders = {name: _Placeholder(name) for name in names}
    for name, placeholder in placeholders.items():
        package, _, module = name.rpartition(".")
        if package in placeholders:
            setattr(placeholders[package], module, placeholder)
    # proxy.py creates identifiers for its plug-ins with `token_hex`.
    vars(placeholders["secrets"])["token_hex"] = lambda octets: os.urandom(octets).hex()
    if "multiprocessing" in placeholders:
        # proxy.py stops an executor in another process by an `Event`.
        vars(placeholders["multiprocessing"])["Event"] = Event
    sys.modules.update(placeholders)
    try:
        for name in _IMPORTERS:
            # uvloop or winloop is installed, or neither.
            with suppress(ModuleNotFoundError):
                import_module(name)
    finally:
        for name in placeholders:
            del sys.modules[name]
