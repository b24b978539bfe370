"""Keep the content of a request in order to repeat the request.

A 407 asks for the same request again, and the repeated request needs its whole content (RFC 9110,
section 15.5.8). The content is kept while it streams: up to 1 MiB in memory, above that in a file
without a name. Content of more than 64 MiB is not kept.
"""

import logging
from tempfile import SpooledTemporaryFile

from trayproxy.engine.net.socket_stream import CHUNK
from trayproxy.http.body import Octets

logger = logging.getLogger(__name__)

MAX_IN_MEMORY = 1 << 20
"""The largest content kept in memory, in octets."""
MAX_REPLAYABLE = 64 << 20
"""The largest content kept at all, in octets."""


class ReplayBuffer:
    """The part of a request's content sent so far; complete if all octets sent so far are in the
    buffer."""

    def __init__(self, enabled: bool) -> None:
        """Create an empty buffer, not `enabled` if the request is never repeated, or its content is
        known to be too large."""
        self.is_complete = enabled
        self._size = 0
        self._position = 0
        self._file: SpooledTemporaryFile[bytes] | None = None

    def append(self, data: Octets) -> None:
        """Append octets, or discard the buffer if it becomes too large or cannot be written."""
        if not self.is_complete or not data:
            return
        if self._size + len(data) > MAX_REPLAYABLE:
            self.is_complete = False
            self.close()
            return
        try:
            if self._file is None:
                self._file = SpooledTemporaryFile(max_size=MAX_IN_MEMORY)  # noqa: SIM115  # closed below
            self._file.seek(self._size)
            self._file.write(data)
            self._size += len(data)
        except OSError as error:
            # The disk is full or not writable: the upload itself does not need the buffer.
            logger.warning("the content of an upload is not kept for a repeat: %s", error.strerror)
            self.is_complete = False
            self.close()

    def rewind(self) -> None:
        """Make `read` start again at the first octet."""
        self._position = 0

    def read(self) -> bytes:
        """Return the next octets of the buffer; empty at the end."""
        if self._file is None:
            return b""
        self._file.seek(self._position)
        data = self._file.read(CHUNK)
        self._position += len(data)
        return data

    def read_all(self) -> bytes | None:
        """Return the whole content of the buffer; None if it is larger than `MAX_IN_MEMORY`."""
        if not self.fits_in_memory:
            return None
        self.rewind()
        return b"".join(iter(self.read, b""))

    @property
    def fits_in_memory(self) -> bool:
        """True if `read_all` can return the content kept so far."""
        return self._size <= MAX_IN_MEMORY

    def close(self) -> None:
        """Discard the content and its temporary file."""
        if self._file is not None:
            self._file.close()
            self._file = None
