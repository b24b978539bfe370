"""The errors of failed handshakes.

They are separate from `trayproxy.engine.net.tls`, which loads OpenSSL.
"""


class HandshakeTimeoutError(Exception):
    """The peer did not respond in time during a TLS or SOCKS5 handshake."""


class ClientCertificateRefusedError(ConnectionResetError):
    """The peer demands another client certificate. It closed the connection after the handshake, as
    TLS 1.3 allows (RFC 8446, section 4.4.2.4). The message is a sentence with the reason."""


class HandshakeError(Exception):
    """The TLS handshake with the expected host failed. No data was sent on the connection.

    The message is a sentence with the reason, for the user.

    Attributes:
        reason: The same sentence.
        is_connection_lost: True if the peer closed the connection, which says nothing about its
            identity.
        is_certificate_error: True if the peer sent a certificate, and the certificate is not
            trusted.
    """

    def __init__(
        self, reason: str, *, is_gone: bool = False, is_about_certificate: bool = False
    ) -> None:
        super().__init__(reason)
        self.reason = reason
        self.is_connection_lost = is_gone
        self.is_certificate_error = is_about_certificate


class ClientCertificateError(HandshakeError):
    """The client certificate of the profile cannot be used, or the peer demands another one.

    Attributes:
        is_refused: True if the peer demands another one.
    """

    def __init__(self, reason: str, *, is_refused: bool = False) -> None:
        super().__init__(reason)
        self.is_refused = is_refused
