"""The parts of proxy.py used by the engine. No other module imports proxy.py.

``import proxy`` imports all of proxy.py: plug-ins, a web server, SSH tunnels, a test harness with
unittest. These are 110 modules and an eighth of the start-up time of the service, for code that
must never process traffic. So `trayproxy.engine` registers the packages of proxy.py without
executing their ``__init__``, and only the modules imported here are loaded.
"""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from proxy.common.backports import NonBlockingQueue
from proxy.common.flag import flags as proxy_flags
from proxy.core.listener.tcp import TcpSocketListener
from proxy.core.work.fd.local import LocalFdExecutor
from proxy.core.work.work import Work

__all__ = [
    "LocalFdExecutor",
    "NonBlockingQueue",
    "TcpSocketListener",
    "Work",
    "without_upstream_connections",
    "work_flags",
]

_CONNECTIONS = "proxy.core.connection"


def work_flags(work_klass: type[Work[Any]], host: str, port: int) -> argparse.Namespace:
    """Return the flags of proxy.py for the class `work_klass`.

    The flags are parsed from an argument list, because proxy.py ignores some of them as keywords,
    and the parsed values are checked. `FlagParser.initialize` is not used: it creates folders in
    the home directory, configures logging, and loads plug-ins with HTTP code.

    Raises:
        RuntimeError: proxy.py has parsed a flag differently.
    """
    arguments = ["--hostname", host, "--port", str(port), "--backlog", "1024"]
    flags = proxy_flags.parse_args(arguments)
    flags.work_klass = work_klass
    # The executor reads this flag; the module of proxy.py with its definition is not loaded.
    flags.enable_conn_pool = False
    checks = {
        "hostname": host,
        "port": port,
        "backlog": 1024,
        "enable_events": False,
    }
    for name, value in checks.items():
        if getattr(flags, name) != value:
            raise RuntimeError(f"proxy.py understood {name} as {getattr(flags, name)!r}")
    return flags


@contextmanager
def without_upstream_connections() -> Iterator[None]:
    """Replace the upstream connections of proxy.py by a placeholder inside the ``with`` block.

    The constructor of proxy.py's executor imports them, and thereby OpenSSL, for a disabled pool.
    """
    if _CONNECTIONS in sys.modules:
        yield
        return
    placeholder = ModuleType(_CONNECTIONS)
    vars(placeholder)["UpstreamConnectionPool"] = None
    sys.modules[_CONNECTIONS] = placeholder
    try:
        yield
    finally:
        del sys.modules[_CONNECTIONS]
