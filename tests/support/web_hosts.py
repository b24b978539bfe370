"""The web servers of all hosts of a computer (`tests.support.moving_computer`), on port 80.

    python -m tests.support.web_hosts FOLDER

The server at an address publishes the files in the folder of this name.
"""

import socket
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import BaseServer
from typing import Any


class HostHandler(SimpleHTTPRequestHandler):
    def __init__(
        self, folder: Path, request: socket.socket, client: Any, server: BaseServer
    ) -> None:
        own_address = request.getsockname()[0]
        super().__init__(request, client, server, directory=str(folder / own_address))


def main() -> None:
    with ThreadingHTTPServer(("0.0.0.0", 80), partial(HostHandler, Path(sys.argv[1]))) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
