"""Linux: changes of the files with the system proxy, by inotify(7).

Every store replaces its file by a renamed one or writes it in place: dconf the file ``dconf/user``,
KDE ``kioslaverc``, both below the folder of configuration files (XDG Base Directory
Specification). The watch is on the folders, so it also reports files that do not exist yet, and
changes from another session of the user.
"""

import asyncio
import ctypes
import os
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from trayproxy.desktop.config_home import config_home
from trayproxy.desktop.system_proxy_change.base import Debounce

WATCHED = {
    "dconf": frozenset({"user"}),
    "environment.d": frozenset({"60-trayproxy.conf"}),
    "": frozenset({"kioslaverc"}),
}
"""The names of the files to watch, by their folder below the folder of configuration files."""

_IN_CLOEXEC, _IN_NONBLOCK = 0o2000000, 0o4000
_IN_CLOSE_WRITE, _IN_MOVED_TO, _IN_DELETE, _IN_Q_OVERFLOW = 0x8, 0x80, 0x200, 0x4000
_IN_ONLYDIR = 0x01000000
# struct inotify_event: watch descriptor, mask, cookie, length of the name.
_EVENT = struct.Struct("iIII")
_RECEIVE_SIZE = 1 << 16


class LinuxSystemProxyWatch:
    """A watch that reads notifications of the kernel about changed files."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_change: Callable[[], None],
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        """Start the watch.

        Args:
            loop: The running event loop; it calls `on_change`.
            on_change: Called after changes, at most twice a second.
            environ: The environment, which names the folder of configuration files.

        Raises:
            OSError: The kernel refuses the watch, or none of the folders exists.
        """
        self._loop = loop
        self._debounce = Debounce(loop, on_change)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._descriptor = self._call("inotify_init1", _IN_CLOEXEC | _IN_NONBLOCK)
        self._names: dict[int, frozenset[str]] = {}
        try:
            self._watch_folders(config_home(environ))
        except OSError:
            os.close(self._descriptor)
            raise
        loop.add_reader(self._descriptor, self._on_readable)

    def close(self) -> None:
        """Stop the watch."""
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
        self._debounce.close()

    def _watch_folders(self, root: Path) -> None:
        error: OSError | None = None
        mask = _IN_CLOSE_WRITE | _IN_MOVED_TO | _IN_DELETE | _IN_ONLYDIR
        for folder, names in WATCHED.items():
            try:
                path = os.fsencode(root / folder)
                self._names[self._call("inotify_add_watch", self._descriptor, path, mask)] = names
            except OSError as missing:
                error = missing
        if not self._names and error is not None:
            raise error

    def _call(self, function: str, *arguments: int | bytes) -> int:
        result: int = getattr(self._libc, function)(*arguments)
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def _on_readable(self) -> None:
        try:
            octets = os.read(self._descriptor, _RECEIVE_SIZE)
        except BlockingIOError:
            return
        if any(self._is_relevant(*event) for event in parse_events(octets)):
            self._debounce.trigger()

    def _is_relevant(self, watch: int, mask: int, name: str) -> bool:
        return bool(mask & _IN_Q_OVERFLOW) or name in self._names.get(watch, ())


def parse_events(octets: bytes) -> list[tuple[int, int, str]]:
    """Return the watch descriptor, the mask and the file name of each inotify event."""
    events = []
    at = 0
    while at + _EVENT.size <= len(octets):
        watch, mask, _, length = _EVENT.unpack_from(octets, at)
        at += _EVENT.size
        events.append((watch, mask, os.fsdecode(octets[at : at + length].rstrip(b"\0"))))
        at += length
    return events
