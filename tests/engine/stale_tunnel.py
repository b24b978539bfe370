"""Moves an engine to another network, in a separate network namespace.

test_stale_connections.py runs this module with ``unshare -rn``; it prints the octets received by
the client of a tunnel.
"""

import subprocess

from tests.engine.fakes import office
from tests.engine.running import Running
from tests.engine.wire import ProxyClient, connect
from tests.support.scripted_upstream import ScriptedUpstream, echoing
from trayproxy.engine.limits import EngineLimits

BEFORE = (
    "link set lo up",
    "link add far type veth peer near",
    "link set far up",
    "address add 192.0.2.7/24 dev far",
    # Upstream connections use the address that is removed later.
    "route del table local local 127.0.0.1 dev lo",
    "route replace table local local 127.0.0.0/8 dev lo src 192.0.2.7",
)
GONE = "address del 192.0.2.7/24 dev far"
ELSEWHERE = (
    "address add 198.51.100.7/24 dev far",
    "route replace table local local 127.0.0.0/8 dev lo src 198.51.100.7",
)
ALLOWS_FOR = EngineLimits(network_grace_s=0.3)


def ip(*commands: str) -> None:
    for command in commands:
        subprocess.run(["ip", *command.split()], check=True)


def main() -> None:
    ip(*BEFORE)
    with (
        ScriptedUpstream(echoing) as upstream,
        Running(office(upstream.port), limits=ALLOWS_FOR) as engine,
        # The client uses IPv6 on loopback, which is not affected by the change.
        ProxyClient(engine.port, "::1") as client,
    ):
        assert client.ask(connect(b"origin.test:443"), b"CONNECT").status == 200
        client.send(b"hello")
        print(client.take(5).decode(), flush=True)

        ip(GONE)
        engine.call(engine.engine.network_changed)
        end = engine.loop.time() + ALLOWS_FOR.network_grace_s
        engine.until(lambda: engine.loop.time() > end, "the check for stale connections")
        print("alone:", bool(engine.engine.executor.works), flush=True)

        ip(*ELSEWHERE)
        engine.call(engine.engine.network_changed)
        print("elsewhere:", client.take_all(), flush=True)


if __name__ == "__main__":
    main()
