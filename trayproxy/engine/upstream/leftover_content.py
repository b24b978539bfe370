"""Skip the content some proxies wrongly send after a response to HEAD.

Some proxies send the page of their 407 in response to HEAD as well. During an authentication
handshake the connection must be kept all the same, so this content is skipped. Its length is
announced in the response head (RFC 9110, section 9.3.2); either all of it precedes the next
response head, or none is sent.
"""

from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.http.body import response_body_reader
from trayproxy.http.errors import MessageError
from trayproxy.http.framing import Chunked, Length, response_framing
from trayproxy.http.response import Response

_HEAD_BEGINS = b"HTTP/"


class LeftoverContent:
    """Skips the content of one response to HEAD, if the proxy sends any."""

    __slots__ = ("_body", "_is_begun")

    def __init__(self, framing: Length | Chunked) -> None:
        self._body = response_body_reader(framing)
        self._is_begun = False

    @classmethod
    def of(cls, response: Response, method: bytes, at_most: int) -> "LeftoverContent | None":
        """Return a `LeftoverContent` for the content after a response head; None for no content, or
        for more than `at_most` octets: a new connection is cheaper then."""
        if method != b"HEAD":
            return None
        try:
            framing = response_framing(b"GET", response.status, response.fields)
        except MessageError:
            return None
        if isinstance(framing, Length):
            return cls(framing) if 0 < framing.octets <= at_most else None
        return cls(framing) if isinstance(framing, Chunked) else None

    def skip(self, stream: SocketStream) -> bool:
        """Remove the content received so far from the inbox, which begins with the content or with
        the next head. Return whether more of the content may arrive."""
        inbox = stream.inbox
        while inbox or self._has_more(stream):
            if not self._is_begun and _HEAD_BEGINS.startswith(inbox[: len(_HEAD_BEGINS)]):
                # The next response head, or the part of it received so far.
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
    def _has_more(stream: SocketStream) -> bool:
        try:
            return stream.fill()
        except OSError:
            return False  # The next read of the connection raises the same error.
