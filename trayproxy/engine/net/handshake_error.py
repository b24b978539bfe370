"""How a TLS handshake fails; apart from `trayproxy.engine.net.tls`, which loads OpenSSL."""


class HandshakeError(Exception):
    """The connection did not become an encrypted one to the right host. Nothing was sent on it.

    The text is a sentence that tells a person the reason.

    Attributes:
        reason: That sentence.
        is_connection_lost: The other side has left: that says nothing about who it is.
        is_certificate_error: There was a certificate, and it was not believed.
    """

    def __init__(
        self, reason: str, *, is_gone: bool = False, is_about_certificate: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_connection_lost = is_gone
        self.is_certificate_error = is_about_certificate
