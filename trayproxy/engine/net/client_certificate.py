"""The client certificate of a profile, with which TrayProxy identifies itself to https upstreams.

A file in PEM contains the certificate, the certificates of its issuers and the key; the key may be
in a file of its own (RFC 7468). A file in PKCS #12 (RFC 7292; ``.p12``, ``.pfx``) contains all of
them, encrypted. Python's `ssl` loads PEM files only: the content of a PKCS #12 file is written to a
private folder for the moment of loading, with the key encrypted by a random passphrase, which is
never written.
"""

import ssl
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_urlsafe
from tempfile import TemporaryDirectory

from trayproxy.engine.net.der import validity
from trayproxy.engine.net.handshake_error import ClientCertificateError
from trayproxy.file_replacement import read_file

MAX_FILE = 1 << 20
"""The largest file with a certificate or a key, in octets."""
P12_EXTRA = (
    "A PKCS #12 file needs a part of TrayProxy that is not installed. "
    'Install it with: pip install "trayproxy[pkcs12]"'
)
_PEM = b"-----BEGIN "
_CERTIFICATE = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"
_ENCRYPTED = (b"-----BEGIN ENCRYPTED PRIVATE KEY-----", b"Proc-Type: 4,ENCRYPTED")
_PROTECTED = "It is protected by a password. Enter the password with: trayproxy login --certificate"
_NOT_DECRYPTED = "The password of its file is wrong. Enter it with: trayproxy login --certificate"
_NO_KEY = "The file contains no private key."
_NOT_A_FILE = "The file contains no certificate in the form PEM or PKCS #12."


def load_client_certificate(
    context: ssl.SSLContext, certificate: str, key: str, password: str
) -> None:
    """Add a client certificate to an SSL context. This reads files, and takes up to a second.

    Args:
        context: The context, changed in place.
        certificate: The path of the file with the certificate, PEM or PKCS #12.
        key: The path of the file with the key; empty if the certificate's file contains the key.
        password: The password of the key or of the PKCS #12 file; empty without one.

    Raises:
        ClientCertificateError: The certificate cannot be used; the reason says why.
    """
    octets = _read(certificate)
    if _PEM not in octets:
        return _load_pkcs12(context, octets, password)
    _check_validity(_first_certificate(octets))
    key_octets = _read(key) if key else octets
    if b"PRIVATE KEY-----" not in key_octets:
        raise ClientCertificateError(_NO_KEY)
    is_encrypted = any(mark in key_octets for mark in _ENCRYPTED)
    if is_encrypted and not password:
        raise ClientCertificateError(_PROTECTED)
    try:
        # Without a password, OpenSSL would ask for one on the terminal.
        context.load_cert_chain(certificate, key or None, password=lambda: password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise ClientCertificateError(_reason(error, is_encrypted=is_encrypted)) from None
    return None


def _read(path: str) -> bytes:
    try:
        octets = read_file(Path(path), MAX_FILE + 1)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ClientCertificateError(f"The file {path} cannot be read ({reason}).") from None
    if len(octets) > MAX_FILE:
        raise ClientCertificateError(f"The file {path} is too large for a certificate.")
    return octets


def _first_certificate(octets: bytes) -> bytes:
    """Return the first certificate of a PEM file in DER: that of the client (`ssl`)."""
    text = octets.decode("ascii", "ignore")
    start = text.find(_CERTIFICATE)
    end = text.find(_END, start)
    if start < 0 or end < 0:
        raise ClientCertificateError(_NOT_A_FILE)
    try:
        return ssl.PEM_cert_to_DER_cert(text[start : end + len(_END)])
    except ValueError:
        raise ClientCertificateError(_NOT_A_FILE) from None


def _check_validity(certificate: bytes) -> None:
    """Raise `ClientCertificateError` if a certificate in DER is not valid now."""
    try:
        begin, end = validity(certificate)
    except (IndexError, ValueError):
        raise ClientCertificateError(_NOT_A_FILE) from None
    now = datetime.now(UTC)
    if now > end:
        raise ClientCertificateError(f"It has expired on {end:%Y-%m-%d}.")
    if now < begin:
        raise ClientCertificateError(
            f"It is not valid before {begin:%Y-%m-%d}. Is the clock of this computer right?"
        )


def _reason(error: Exception, *, is_encrypted: bool) -> str:
    """Return the reason for an error of `ssl.SSLContext.load_cert_chain`."""
    reason = getattr(error, "reason", None) or ""
    if "MISMATCH" in reason:
        return "The private key does not belong to the certificate."
    if is_encrypted:
        return _NOT_DECRYPTED
    return f"OpenSSL cannot use it ({reason or type(error).__name__})."


def _load_pkcs12(context: ssl.SSLContext, octets: bytes, password: str) -> None:
    try:
        from cryptography.hazmat.primitives.serialization import (
            BestAvailableEncryption,
            Encoding,
            PrivateFormat,
        )
        from cryptography.hazmat.primitives.serialization.pkcs12 import load_key_and_certificates
    except ImportError:
        raise ClientCertificateError(P12_EXTRA) from None
    if not octets.startswith(b"\x30"):  # A SEQUENCE (RFC 7292, section 4).
        raise ClientCertificateError(_NOT_A_FILE)
    try:
        key, certificate, issuers = load_key_and_certificates(octets, password.encode())
    except Exception:  # noqa: BLE001  # Its exceptions are not documented.
        raise ClientCertificateError(_NOT_DECRYPTED if password else _PROTECTED) from None
    if key is None or certificate is None:
        raise ClientCertificateError(_NO_KEY if key is None else _NOT_A_FILE)
    _check_validity(certificate.public_bytes(Encoding.DER))
    passphrase = token_urlsafe(32)
    encryption = BestAvailableEncryption(passphrase.encode())
    pieces = [key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption)]
    pieces += [each.public_bytes(Encoding.PEM) for each in (certificate, *issuers)]
    try:
        # The folder is accessible to this user only (tempfile.mkdtemp).
        with TemporaryDirectory(prefix="trayproxy-") as folder:
            file = Path(folder, "certificate.pem")
            file.write_bytes(b"".join(pieces))
            context.load_cert_chain(file, password=passphrase)
    except (ssl.SSLError, OSError) as error:
        raise ClientCertificateError(_reason(error, is_encrypted=False)) from None
