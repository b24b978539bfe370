"""Content behind the head of an answer to HEAD, which should have none.

Some proxies send the page of their 407 with a HEAD as well. Within a handshake the connection must
be kept all the same, so these octets are skipped: they are as many as the head has announced (RFC
9110, section 9.3.2), and come in front of the next head or not at all.
"""

from trayproxy.engine.stream import Stream
from trayproxy.http.body import answer_reader
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Chunked, Length, response_framing
from trayproxy.http.response import Response

_HEAD_BEGINS = b"HTTP/"


class Leftover:
    """Skips the content of one answer to HEAD, if there is any."""

    __slots__ = ("_body", "_is_begun")

    def __init__(self, framing: Length | Chunked) -> None:
        """Skip nothing yet.

        Args:
            framing: Of the content that may come.
        """
        self._body = answer_reader(framing)
        self._is_begun = False

    @classmethod
    def of(cls, response: Response, method: bytes, at_most: int) -> "Leftover | None":
        """Return what skips the content behind this head; None if none is to be skipped.

        Args:
            response: The head.
            method: Of the request that it answers.
            at_most: Octets; longer content is not worth it.
        """
        if method != b"HEAD":
            return None
        try:
            framing = response_framing(b"GET", response.status, response.fields)
        except MessageError:
            return None
        if isinstance(framing, Length):
            return cls(framing) if 0 < framing.octets <= at_most else None
        return cls(framing) if isinstance(framing, Chunked) else None

    def skip(self, stream: Stream) -> bool:
        """Drop what has come of the content. Return whether the rest may still come.

        Args:
            stream: Its inbox begins with the content or with the next head.
        """
        inbox = stream.inbox
        while inbox or self._has_more(stream):
            if not self._is_begun and _HEAD_BEGINS.startswith(inbox[: len(_HEAD_BEGINS)]):
                # The next head, or as much of it as has come.
                return len(inbox) < len(_HEAD_BEGINS)
            self._is_begun = True
            try:
                _, used = self._body.feed(bytes(inbox))
            except MessageError:
                return False
            del inbox[:used]
            if self._body.done:
                return False
        return True

    @staticmethod
    def _has_more(stream: Stream) -> bool:
        try:
            return stream.fill()
        except OSError:
            return False  # Whoever uses the connection next finds that out.
