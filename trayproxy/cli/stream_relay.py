"""Copies octets between a connection and two descriptors, such as standard input and output."""

import os
import select
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Thread

_CHUNK = 64 * 1024


class StreamRelay:
    """Copies both directions until each has ended.

    A direction reads the next octets after it has written the previous octets: a slow reader slows
    the writer down. The end of a direction is passed on, and the other direction continues.
    """

    def __init__(
        self,
        connection: socket.socket,
        input_descriptor: int,
        output_descriptor: int,
        close_output: Callable[[], None],
    ) -> None:
        """Use a blocking connection; `close_output` closes the descriptor for the output."""
        self._connection = connection
        self._input = input_descriptor
        self._output = output_descriptor
        self._close_output = close_output

    def run(self, received: bytes = b"") -> None:
        """Copy until both directions have ended; begin the output with octets received earlier.

        If the input is a terminal, the end of the connection ends both directions: a terminal has
        no end, and its user cannot see that nothing reads the input.

        Raises:
            BrokenPipeError: The reader of the output has closed it.
            OSError: The connection was reset, or the output cannot be written.
        """
        # A daemon thread: waiting for input must not keep the process from ending.
        upload = Thread(target=self._upload, name="upload", daemon=True)
        upload.start()
        write_all(self._output, received)
        while octets := self._connection.recv(_CHUNK):
            write_all(self._output, octets)
        is_terminal = os.isatty(self._input)
        self._close_output()
        if not is_terminal:
            upload.join()

    def _upload(self) -> None:
        # After an error of the connection, the other direction ends, too, and reports it.
        with suppress(OSError):
            while octets := self._read_input():
                self._connection.sendall(octets)
            self._connection.shutdown(socket.SHUT_WR)

    def _read_input(self) -> bytes:
        """Return the next octets of the input; empty at its end, or if it cannot be read."""
        while True:
            try:
                return os.read(self._input, _CHUNK)
            except BlockingIOError:
                # The descriptor shares its mode with the program at the other end.
                select.select([self._input], [], [])
            except OSError:
                return b""


def write_all(descriptor: int, octets: bytes) -> None:
    """Write all octets; wait while the reader is slow."""
    left = memoryview(octets)
    while left:
        try:
            left = left[os.write(descriptor, left) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
