"""Changes the network of a namespace of its own, and says what was noticed, one line a change.

Run by test_network.py as ``unshare -rnm``, so that this is nobody else's network.
"""

import asyncio
import subprocess

from trayproxy.desktop.network_change.factory import watch_network
from trayproxy.desktop.network_change.linux import read_network

PATIENCE_S = 10.0
BEGINNING = (
    "link add far type veth peer near",
    "link set far up",
    "link set near up",
    "link set lo up",
)
SILENT = (
    "address add 10.9.9.9/32 dev lo",
    "link add inside type bridge",
    "link set inside up",
    "address add 172.30.0.1/16 dev inside",
    "address add 169.254.7.7/16 dev far",
    "link set far mtu 1400",
)
TOLD = (
    "address add 192.0.2.7/24 dev far",
    "route add default via 192.0.2.1",
    "link set far down",
    "address del 192.0.2.7/24 dev far",
    "link set far up",
    "address add 2001:db8::7/64 dev far",
)
NOTHING_BY_ITSELF = "link set far up"
"""There is no address by then; after it there can be one of IPv6."""


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


async def change() -> None:
    noticed = asyncio.Event()
    watch = watch_network(asyncio.get_running_loop(), noticed.set)
    for command in TOLD:
        ip(command)
        if command == NOTHING_BY_ITSELF:
            continue
        await asyncio.wait_for(noticed.wait(), PATIENCE_S)
        noticed.clear()
        print("noticed:", command, flush=True)
    watch.close()


def change_nothing() -> None:
    for command in SILENT:
        before = read_network()
        ip(command)
        print("the same:" if read_network() == before else "another:", command, flush=True)


if __name__ == "__main__":
    for beginning in BEGINNING:
        ip(beginning)
    change_nothing()
    asyncio.run(change())
