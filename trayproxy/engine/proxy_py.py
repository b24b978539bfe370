"""Imports the used parts of proxy.py, and the event loops, without their unused dependencies.

``import proxy`` imports all of proxy.py: plug-ins, a web server, SSH tunnels, a test harness with
unittest. These are 110 modules and an eighth of the start-up time of the service, for code that
must never process traffic. The modules used by the engine import no name from the
top-level package. OpenSSL and multiprocessing are not loaded either: the engine uses OpenSSL only
for ``https://`` upstreams, and runs in one process.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from threading import Event
from types import ModuleType

_PARTS = (
    "asyncio",
    "uvloop",
    "winloop",
    "proxy.common.backports",
    "proxy.common.flag",
    "proxy.core.listener.tcp",
    "proxy.core.work.fd.local",
    "proxy.core.work.work",
)
"""Modules that import `ssl` or `secrets`, and thereby OpenSSL, for unused features."""

_PACKAGES = ("proxy", "proxy.core.listener", "proxy.core.work", "proxy.core.work.fd")
"""Packages of proxy.py with an ``__init__`` that imports unused modules."""
_CONNECTIONS = "proxy.core.connection"
_WITH_OPENSSL = ("ssl", "secrets")
_WITHOUT_USE = (
    "multiprocessing",
    "multiprocessing.connection",
    "multiprocessing.reduction",
    "multiprocessing.synchronize",
)
"""Modules for distributing the work of proxy.py over several processes."""


def load_proxy_py_lazily() -> None:
    """Register the packages of proxy.py without executing their ``__init__``.

    Only explicitly imported modules of proxy.py are loaded afterwards.

    Do nothing if proxy.py is loaded already.
    """
    if "proxy" in sys.modules:
        return
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec is not None:
            sys.modules[package] = module_from_spec(spec)


@contextmanager
def without_upstream_connections() -> Iterator[None]:
    """Replace the upstream connections of proxy.py by a placeholder inside the ``with`` block.

    The constructor of proxy.py's executor imports them, and thereby OpenSSL, for a disabled pool.
    """
    if _CONNECTIONS in sys.modules:
        yield
        return
    sys.modules[_CONNECTIONS] = _Placeholder(_CONNECTIONS)
    try:
        yield
    finally:
        del sys.modules[_CONNECTIONS]


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
    """Import the event loops and the parts of proxy.py without loading OpenSSL.

    The engine does TLS in memory and only for ``https://`` upstreams (`trayproxy.engine.net.tls`);
    the TLS transports of the event loops and of proxy.py are not used. The placeholders are removed
    at the end, so a later import of such a module imports the real module. Do nothing if OpenSSL is
    loaded already.
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
        for name in _PARTS:
            # uvloop or winloop is installed, or neither.
            with suppress(ModuleNotFoundError):
                import_module(name)
    finally:
        for name in placeholders:
            del sys.modules[name]
