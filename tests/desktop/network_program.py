"""Changes the network, and prints for each change whether a watch has reported it.

test_network_change.py runs this program in a network namespace of its own.
"""

import asyncio
import subprocess

from trayproxy.desktop.network_change.factory import watch_network
from trayproxy.desktop.network_change.linux import read_network

TIMEOUT_S = 10.0
SET_UP = (
    "link add far type veth peer near",
    "link set far up",
    "link set near up",
    "link set lo up",
)
IRRELEVANT = (
    "address add 10.9.9.9/32 dev lo",
    "link add inside type bridge",
    "link set inside up",
    "address add 172.30.0.1/16 dev inside",
    "address add 169.254.7.7/16 dev far",
    "link set far mtu 1400",
)
RELEVANT = (
    "address add 192.0.2.7/24 dev far",
    "route add default via 192.0.2.1",
    "link set far down",
    "address del 192.0.2.7/24 dev far",
    "link set far up",
    "address add 2001:db8::7/64 dev far",
)
UNREPORTED_STEP = "link set far up"
"""A step without a report: it adds no address, but lets the next step add an IPv6 address."""


def ip(command: str) -> None:
    subprocess.run(["ip", *command.split()], check=True)


async def make_relevant_changes() -> None:
    reported = asyncio.Event()
    watch = watch_network(asyncio.get_running_loop(), reported.set)
    for command in RELEVANT:
        ip(command)
        if command == UNREPORTED_STEP:
            continue
        await asyncio.wait_for(reported.wait(), TIMEOUT_S)
        reported.clear()
        print("reported:", command, flush=True)
    watch.close()


def make_irrelevant_changes() -> None:
    for command in IRRELEVANT:
        before = read_network()
        ip(command)
        print("unchanged:" if read_network() == before else "changed:", command, flush=True)


if __name__ == "__main__":
    for command in SET_UP:
        ip(command)
    make_irrelevant_changes()
    asyncio.run(make_relevant_changes())
