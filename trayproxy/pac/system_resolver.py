"""Looks up names with the functions of the operating system."""

import asyncio
import socket
import threading
from contextlib import closing, suppress

MAX_LOOK_UPS = 8
"""The maximum number of look-ups at the same time. A silent name server delays a look-up by up to
half a minute."""

_PROBES = (
    # The addresses with which Chromium determines the address of this computer.
    (socket.AF_INET, "8.8.8.8"),
    (socket.AF_INET6, "2001:4860:4860::8888"),
    # For networks without a route to the internet.
    (socket.AF_INET, "10.0.0.0"),
    (socket.AF_INET, "172.16.0.0"),
    (socket.AF_INET, "192.168.0.0"),
    (socket.AF_INET6, "fc00::"),
)


class SystemResolver:
    """Looks up names with ``getaddrinfo`` in own threads.

    The threads of the event loop are few, and the engine's look-ups need them.
    """

    def __init__(self) -> None:
        self._places = asyncio.Semaphore(MAX_LOOK_UPS)

    async def resolve(self, name: str) -> tuple[str, ...]:
        """Return the IP addresses of a name in the order of the operating system.

        Raises:
            OSError: The name has no addresses.
        """
        loop = asyncio.get_running_loop()
        await self._places.acquire()
        result: asyncio.Future[tuple[str, ...]] = loop.create_future()

        def finish(found: tuple[str, ...], error: OSError | None) -> None:
            # The place stays taken while a cancelled look-up is running.
            self._places.release()
            if result.cancelled():
                return
            if error is None:
                result.set_result(found)
            else:
                result.set_exception(error)

        def look_up() -> None:
            found: tuple[str, ...] = ()
            failure: OSError | None = None
            try:
                # Bytes, because Python's IDNA codec, which is applied to text, raises UnicodeError
                # for some names that do not exist.
                answer = socket.getaddrinfo(name.encode("ascii"), None, type=socket.SOCK_STREAM)
                found = tuple(dict.fromkeys(str(entry[4][0]) for entry in answer))
            except OSError as error:
                failure = error
            except UnicodeError:
                failure = OSError("the name is invalid")
            with suppress(RuntimeError):
                # Raised if the event loop has been closed.
                loop.call_soon_threadsafe(finish, found, failure)

        # A daemon: a silent name server must not keep TrayProxy from ending.
        thread = threading.Thread(target=look_up, name="pac-names", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # The operating system has no thread left.
            self._places.release()
            raise OSError(str(error)) from None
        return await result

    def own_addresses(self) -> tuple[str, ...]:
        """Return the addresses from which this computer sends to the internet or a company network.

        A UDP socket is connected, which sends nothing.
        """
        found: dict[str, None] = {}
        families: set[socket.AddressFamily] = set()
        for family, address in _PROBES:
            if family in families:
                continue
            with suppress(OSError), closing(socket.socket(family, socket.SOCK_DGRAM)) as probe:
                probe.connect((address, 80))
                own = str(probe.getsockname()[0]).partition("%")[0]
                if own not in ("127.0.0.1", "::1"):
                    found[own] = None
                    families.add(family)
        return tuple(found)
