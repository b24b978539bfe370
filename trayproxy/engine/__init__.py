"""The forwarding proxy, built on the `Work` contract of proxy.py.

proxy.py provides the listener, the flags and the life cycle of a `Work`: an executor creates a work
for each client connection, initializes it, asks whether it is inactive, and shuts it down. The
engine has its own executor, request parser and forwarding code: the executor of proxy.py polls,
asks every connection for its events in every iteration, and blocks in ``connect``; its parser loses
repeated fields and buffers content; its plug-in frames only the first request of a connection. No
octet of a client or an upstream reaches the HTTP code of proxy.py.

A repetition of an earlier request takes the fast path, which consists of few calls and makes
no decisions. Every other request is served by the request loop, a coroutine.

The packages, from top to bottom:

    engine      the engine: life cycle
    server      accepts connections: listeners, executor, access control, client connections
    forward     forwards requests: fast path, request loop, response relay
    proxy_auth  authenticates at the upstream: authentication exchange, preconnects
    downstream  the client side of a request
    context     the objects shared by all requests
    transfer    moves octets: request content, responses, tunnels, head cache
    upstream    reaches upstreams: routes, failover, connector, connection pool
    net         sockets: poller, fd tasks, streams, TLS, SOCKS5, name resolution
    error_pages, limits, proxy_py

The engine imports from `http`, `auth`, `routing`, `profiles`, `desk` and `desktop`.
"""

import sys
from importlib.util import find_spec, module_from_spec

_PACKAGES = ("proxy", "proxy.core.listener", "proxy.core.work", "proxy.core.work.fd")
"""Packages of proxy.py with an ``__init__`` that imports unused modules."""


def _register_packages() -> None:
    """Register packages of proxy.py without executing their ``__init__``; see
    `trayproxy.engine.proxy_py`.

    Do nothing if proxy.py is loaded already.
    """
    if _PACKAGES[0] in sys.modules:
        return
    for package in _PACKAGES:
        spec = find_spec(package)
        if spec is not None:
            sys.modules[package] = module_from_spec(spec)


_register_packages()
