"""Requests through an upstream at a link-local address, in a separate network namespace.

    unshare -rnm python -m tests.engine.zoned_upstream

It prints, for each loop and each way to write the address, the status that a client gets.
"""

import socket
import subprocess
from threading import Thread

from tests.engine.fakes import FakeBroker
from tests.engine.running import LOOPS, Running
from tests.engine.wire import get
from trayproxy.profiles.profile import Profile
from trayproxy.profiles.validate import parse_upstream

ADDRESS, NEAR, FAR = "fe80::1", "near", "far"
SET_UP = [
    ["link", "set", "lo", "up"],
    ["link", "add", NEAR, "type", "veth", "peer", "name", FAR],
    # No other addresses, and no duplicate address detection.
    ["link", "set", NEAR, "addrgenmode", "none"],
    ["link", "set", FAR, "addrgenmode", "none"],
    ["link", "set", NEAR, "up"],
    ["link", "set", FAR, "up"],
    ["-6", "addr", "add", f"{ADDRESS}/64", "dev", NEAR, "nodad"],
]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


def serve(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(OK)


def main() -> None:
    for arguments in SET_UP:
        subprocess.run(["ip", *arguments], check=True)
    index = socket.if_nametoindex(NEAR)
    with socket.socket(socket.AF_INET6) as listener:
        listener.bind((ADDRESS, 0, 0, index))
        listener.listen()
        Thread(target=serve, args=(listener,), daemon=True).start()
        port = listener.getsockname()[1]
        for name, new_loop in LOOPS.items():
            for zone in (f"%{NEAR}", f"%25{NEAR}", f"%{index}", "%nowhere"):
                upstream = parse_upstream(f"http://[{ADDRESS}{zone}]:{port}")
                profile = Profile("office", "Office", upstream)
                with Running(profile, desk=FakeBroker(), new_loop=new_loop) as engine:
                    with engine.connect() as client:
                        reply = client.ask(get(b"http://origin.test/"))
                    print(name, zone.replace(str(index), "NUMBER"), reply.status, flush=True)


if __name__ == "__main__":
    main()
