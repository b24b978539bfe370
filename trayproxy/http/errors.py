"""The exceptions of this package."""


class MessageError(ValueError):
    """A message cannot be accepted. The connection on which it arrived must not be reused.

    The text gives the reason. It never quotes received octets, so it may be logged and shown (in
    CVE-2025-62168, squid leaked credentials through error pages).

    Attributes:
        status: The status of the response to the client: 400 and similar for a message of the
            client, 502 for a message of an upstream.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class TooLargeError(MessageError):
    """A message exceeds a limit of TrayProxy; the message may be valid."""
