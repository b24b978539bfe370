"""Loading less of what others have written: proxy.py without its front, and all without OpenSSL.

Nor is what proxy.py needs to spread its work over several processes loaded: ours is one.

``import proxy`` brings in all that proxy.py can do: plug-ins, a web server, SSH tunnels, a test
harness with unittest. These are 110 modules and an eighth of the time in which the service starts,
for code that must never see an octet of ours. The parts that are used import no name from there.
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
    "proxy.core.work.fd",
)
"""What imports `ssl` or `secrets`, and so OpenSSL, for features that are not used here."""

_CONNECTIONS = "proxy.core.connection"
_WITH_OPENSSL = ("ssl", "secrets")
_WITHOUT_USE = (
    "multiprocessing",
    "multiprocessing.connection",
    "multiprocessing.reduction",
    "multiprocessing.synchronize",
)
"""What proxy.py imports to spread its work over several processes."""


def load_proxy_py_lazily() -> None:
    """Make proxy.py known as a package of which nothing is loaded but what is asked for.

    Where somebody has loaded all of it already, it stays so.
    """
    if "proxy" in sys.modules:
        return
    spec = find_spec("proxy")
    if spec is not None:
        sys.modules["proxy"] = module_from_spec(spec)


@contextmanager
def without_upstream_connections() -> Iterator[None]:
    """Let an executor of proxy.py be made without loading its connections to upstreams.

    The constructor imports them, and OpenSSL with them, for a pool that is switched off.
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
    """Stands in for a module while modules that import it are imported themselves.

    They take names from it and use none of them. Constants are 0; everything else is a class, and
    an exception, because some of the names stand behind ``except``.
    """

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):
            raise AttributeError(name)
        return 0 if name.startswith(("OP_", "SSL_")) else type(name, (Exception,), {})


def import_without_openssl() -> None:
    """Import the event loops and the parts of proxy.py without loading OpenSSL.

    The engine encrypts by itself, in memory and only for ``https://`` upstreams
    (`trayproxy.engine.net.tls`); the transports of the event loops and of proxy.py that do so are
    not used. What imports one of the modules afterwards that stood in for the real ones gets the
    real one. Nothing is done if OpenSSL has been loaded already.
    """
    if not sys.modules.keys().isdisjoint(_WITH_OPENSSL):
        return
    names = (*_WITH_OPENSSL, *(name for name in _WITHOUT_USE if name not in sys.modules))
    placeholders = {name: _Placeholder(name) for name in names}
    for name, placeholder in placeholders.items():
        package, _, module = name.rpartition(".")
        if package in placeholders:
            setattr(placeholders[package], module, placeholder)
    # proxy.py makes identifiers with it, for its plug-ins.
    vars(placeholders["secrets"])["token_hex"] = lambda octets: os.urandom(octets).hex()
    if "multiprocessing" in placeholders:
        # An executor of proxy.py that is a process of its own is told by it to end.
        vars(placeholders["multiprocessing"])["Event"] = Event
    sys.modules.update(placeholders)
    try:
        for name in _PARTS:
            # One of the fast event loops is there, or none.
            with suppress(ModuleNotFoundError):
                import_module(name)
    finally:
        for name in placeholders:
            del sys.modules[name]
