"""The exceptions of this room."""


class MessageError(ValueError):
    """A message cannot be accepted; the connection that it came from must not be used again.

    The text says why in plain words. It never repeats what was received, so it may be logged and
    shown (CVE-2025-62168 of squid leaked credentials through error pages).

    Attributes:
        status: What the client is answered: 400 and its like for a client's message, 502 for an
            upstream's.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class TooLargeError(MessageError):
    """A message is larger than we accept; there need not be anything wrong with it."""
