"""The adapter for pyspnego, which implements NTLM and Kerberos (MS-NLMP; RFC 4120, RFC 4121).

This is the only module of the package with I/O, and only through the library: a ticket may have to
be requested from the company's sign-in server (the KDC), which takes 27 seconds if the KDC does not
answer. The functions must run in a thread (`Scheme.blocks`); the library is imported there on first
use.

The library is asked for ``ntlm`` or ``kerberos``, never for ``negotiate``, which falls back
silently from Kerberos to NTLM. Each exception of the library (its own errors, those of GSSAPI,
libkrb5 and Windows, and `struct.error`) becomes a `TokenError` with a verdict, without the text of
the exception. Passwords are passed as `spnego.Password`, because the library takes a plain string
of two times 32 hexadecimal digits with a colon between them for NT hashes.

On Windows pyspnego uses the system's SSPI, elsewhere its own NTLM and the system's GSSAPI. That of
MIT Kerberos sends a refused password once more, to the *primary* KDC if it is another one
(``primary_kdc`` in krb5.conf, or the service ``_kerberos-master`` in the DNS, as with FreeIPA),
which would be a second failed log-on. There, `trayproxy.auth.kerberos_ticket` requests the tickets.
"""

import socket
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextlib import suppress
from functools import partial
from threading import Lock, Thread
from typing import TYPE_CHECKING, TypeVar
from unicodedata import normalize

from trayproxy.auth.kerberos_ticket import IssuedTicket, is_mit_kerberos
from trayproxy.auth.login import Login, windows_name
from trayproxy.auth.ntlmv2 import NtlmEnvironment, NtlmKey, UnusableChallengeError, authenticate
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.auth.windows import NtlmExchange, TokenError

if TYPE_CHECKING:
    import spnego
    from spnego.channel_bindings import GssChannelBindings

T = TypeVar("T")

NTLM_EXTRA = (
    "NTLM needs a part of TrayProxy that is not installed. "
    'Install it with: pip install "trayproxy[ntlm]"'
)
KERBEROS_EXTRA = (
    "Kerberos needs a part of TrayProxy that is not installed. "
    'Install it with: pip install "trayproxy[kerberos]"'
)
WRONG_CLOCK = (
    "The clock of this computer and that of the company's sign-in server (Kerberos) differ "
    "too much. Set this computer's clock, then try again."
)
_NOT_SET_UP = "Kerberos is not set up on this computer."
_KERBEROS_FAILED = "Kerberos could not be used (error {})."
_ENDED_EARLY = "The sign-in ended before the proxy had accepted it."
_NTLM_FAILED = "The proxy's answer to the first NTLM message is invalid."
_NO_WINDOWS = "NTLM without a password works only if you are signed in to Windows."
_UNKNOWN_PROXY = (
    "The company's sign-in server (Kerberos) does not know this proxy by the name "
    "“{}”. Enter the proxy in the profile by its full name, or its service name under Advanced."
)

# Codes of libkrb5 (krb5.h, table krb5) and of SSPI (winerror.h, ntstatus.h), all signed 32 bits.
_KINDS = {
    VerdictKind.REJECTED: (
        -1765328360,  # KRB5KDC_ERR_PREAUTH_FAILED
        -1765328353,  # KRB5KRB_AP_ERR_BAD_INTEGRITY: the reply does not decrypt with this password
        -1765328174,  # KRB5_PREAUTH_FAILED
        -2146893044,  # SEC_E_LOGON_DENIED
        -1073741715,  # STATUS_LOGON_FAILURE
    ),
    VerdictKind.EXPIRED: (
        -1765328361,  # KRB5KDC_ERR_KEY_EXP
        -1073741711,  # STATUS_PASSWORD_EXPIRED
        -1073741276,  # STATUS_PASSWORD_MUST_CHANGE
    ),
    VerdictKind.LOCKED: (
        -1765328366,  # KRB5KDC_ERR_CLIENT_REVOKED: locked or disabled
        -1765328383,  # KRB5KDC_ERR_NAME_EXP: the account has expired
        -1073741260,  # STATUS_ACCOUNT_LOCKED_OUT
        -1073741710,  # STATUS_ACCOUNT_DISABLED
        -1073741421,  # STATUS_ACCOUNT_EXPIRED
    ),
    VerdictKind.NO_TICKET: (
        -1765328189,  # KRB5_FCC_NOFILE
        -1765328243,  # KRB5_CC_NOTFOUND
        -1765328241,  # KRB5_NO_TKT_SUPPLIED
        -1750600181,  # KRB5_KCM_NO_SERVER
        -2146893042,  # SEC_E_NO_CREDENTIALS
    ),
    VerdictKind.TICKET_EXPIRED: (-1765328352,),  # KRB5KRB_AP_ERR_TKT_EXPIRED
    VerdictKind.SERVER_UNREACHABLE: (
        -1765328228,  # KRB5_KDC_UNREACH
        -1765328230,  # KRB5_REALM_UNKNOWN
        -1765328164,  # KRB5_REALM_CANT_RESOLVE
        -2146893039,  # SEC_E_NO_AUTHENTICATING_AUTHORITY
    ),
    VerdictKind.UNKNOWN_USER: (-1765328378,),  # KRB5KDC_ERR_C_PRINCIPAL_UNKNOWN
    VerdictKind.UNKNOWN_PROXY: (
        -1765328377,  # KRB5KDC_ERR_S_PRINCIPAL_UNKNOWN
        -1765328167,  # KRB5_ERR_HOST_REALM_UNKNOWN
        -2146893053,  # SEC_E_TARGET_UNKNOWN
        -2146893022,  # SEC_E_WRONG_PRINCIPAL
    ),
}
_TEXTS = {
    WRONG_CLOCK: (
        -1765328347,  # KRB5KRB_AP_ERR_SKEW
        -1765328351,  # KRB5KRB_AP_ERR_TKT_NYV: the ticket is not yet valid
        -2146893020,  # SEC_E_TIME_SKEW
    ),
    _NOT_SET_UP: (
        -1765328160,  # KRB5_CONFIG_NODEFREALM
        -1765328249,  # KRB5_CONFIG_CANTOPEN
        -1765328248,  # KRB5_CONFIG_BADFORMAT
    ),
}
_FINAL = (VerdictKind.REJECTED, VerdictKind.EXPIRED, VerdictKind.LOCKED)


class NtlmLogin:
    """A login for an upstream, with which exchanges of NTLMv2 messages are started.

    pyspnego makes the first context. The context proves that the library is installed, and shows
    whether the library computes NTLM itself or uses Windows (SSPI). For each context pyspnego
    derives keys from the password, which takes milliseconds, and each response takes half a
    millisecond. Therefore, where pyspnego would compute NTLM itself, `trayproxy.auth.ntlmv2`
    computes the responses to pyspnego's type-1 message instead.
    """

    def __init__(
        self, login: Login | None, host: str, environment: NtlmEnvironment | None = None
    ) -> None:
        """Create the object without making a context.

        Args:
            login: The login; None to use the log-on to Windows.
            host: The host name of the upstream, to which the response is bound.
            environment: The inputs for computing responses here; None: pyspnego computes all of
                them.
        """
        self._login = login
        self._host = host
        self._environment = environment
        self._template: spnego.ContextProxy | None = None
        self._local: Callable[[bytes, bytes | None], bytes] | None = None

    @property
    def may_block(self) -> bool:
        """True if a step may block: the library is not loaded yet, or Windows (SSPI) is used."""
        return not self._is_local

    @property
    def _is_local(self) -> bool:
        return type(self._template).__name__ == "NTLMProxy"

    def begin(self, end_point: bytes) -> NtlmExchange:
        """Return a new exchange of messages for a connection with this end point.

        Raises:
            TokenError: The library is not installed, or Windows has no log-on to use.
        """
        if self._local is not None:
            return partial(self._local, end_point)
        context = _guarded(self._new_context, self._verdict)
        login, environment = self._login, self._environment
        if login is not None and environment is not None and self._is_local:
            negotiate = _guarded(lambda: context.step(None), self._verdict)
            key = NtlmKey.derive(login, self._host)
            self._local = partial(_local_message, key, environment, negotiate)
            return partial(self._local, end_point)
        return lambda token: _guarded(
            lambda: context.step(token, channel_bindings=_binding(end_point)), self._verdict
        )

    def _new_context(self) -> "spnego.ContextProxy":
        if self._template is None:
            self._template = _client("ntlm", self._login, self._host, b"")
        return self._template.new_context()

    def _verdict(self, error: Exception) -> Verdict:
        if (verdict := _explain(error, self._host, NTLM_EXTRA)) is not None:
            return verdict
        if self._login is None:
            return Verdict(VerdictKind.NO_TICKET, _NO_WINDOWS)
        return Verdict(VerdictKind.UNUSABLE, _NTLM_FAILED)


def _local_message(
    key: NtlmKey,
    environment: NtlmEnvironment,
    negotiate: bytes,
    end_point: bytes,
    token: bytes | None,
) -> bytes:
    """Return the next message of an exchange whose responses pyspnego does not compute.

    The first message is type 1; the answer to a type-2 message (`token`) is the response of
    `trayproxy.auth.ntlmv2`.
    """
    if token is None:
        return negotiate
    try:
        return authenticate(key, environment, negotiate, token, end_point)
    except UnusableChallengeError:
        raise TokenError(Verdict(VerdictKind.UNUSABLE, _NTLM_FAILED)) from None


RETRY_WAIT_S = 1.0
"""The seconds to wait for a KDC that could not be reached the last time."""


def _in_daemon_thread(ask: Callable[[], bytes]) -> Future[bytes]:
    """Call a function in a daemon thread, which does not delay the end of the program."""
    result: Future[bytes] = Future()

    def run() -> None:
        try:
            result.set_result(ask())
        except Exception as error:  # noqa: BLE001  # `Future.result` raises it.
            result.set_exception(error)

    Thread(target=run, name="sign-in-again", daemon=True).start()
    return result


class KerberosTickets:
    """The Kerberos tickets of a login, or of the user, for an upstream.

    With a login, the first caller requests a ticket from the KDC. If the KDC refuses the login, all
    later callers get the same verdict without a new request, because each request would be a failed
    log-on. Any other failure is shared by all waiting callers: an unresponsive KDC delays a hundred
    requests no longer than a single request.

    A KDC that could not be reached is asked again in a separate thread, with a single request at a
    time: libkrb5 waits half a minute for an unresponsive KDC. Callers wait only `RETRY_WAIT_S` for
    the thread. So retries can be frequent, and the KDC is used again as soon as it answers.

    The lock is held until a token has been made. On Windows, acquiring the credential handle
    contacts no server; the KDC checks the password when the first token is requested
    (``InitializeSecurityContext``), and again at each renewal of the ticket.
    """

    def __init__(
        self,
        login: Login | None,
        host: str,
        spn: str = "",
        *,
        is_canonical: bool = False,
        renews: bool = False,
    ) -> None:
        """Create the object without requesting a ticket.

        Args:
            login: The login; None to use the user's existing tickets.
            host: The host name of the upstream as configured.
            spn: The service principal name of the upstream, ``HTTP/proxy.corp.example``; empty for
                ``HTTP/`` and the host.
            is_canonical: True to use the canonical name of the host in the DNS instead.
            renews: True to replace a ticket requested with the login before it ends, with a ticket
                of the user if there is one by then.
        """
        self._login = login
        self._host = host
        self._service, _, self._spn_host = spn.rpartition("/")
        self._is_canonical = is_canonical
        self._renews = renews
        self._issued: IssuedTicket | None = None
        self._lock = Lock()
        self._source: spnego.ContextProxy | None = None
        self._verdict: Verdict | None = None
        self._failures = 0
        self._retry_lock = Lock()
        self._retry: Future[bytes] | None = None

    def token(self, end_point: bytes) -> bytes:
        """Return a new token; see `trayproxy.auth.windows.Tickets`."""
        known = self._verdict
        if known is None or known.kind is not VerdictKind.SERVER_UNREACHABLE:
            return self._token(end_point)
        with self._retry_lock:
            retry, is_own_retry = self._retry, False
            if retry is None or retry.done():
                retry, is_own_retry = _in_daemon_thread(lambda: self._token(end_point)), True
                self._retry = retry
        if not wait([retry], RETRY_WAIT_S).done:
            raise TokenError(known)
        # The token of a retry is for the connection of the caller that started the retry.
        return retry.result() if is_own_retry else self._token(end_point)

    def _token(self, end_point: bytes) -> bytes:
        if self._login is None:
            return self._ticket_token(end_point)
        failures = self._failures
        with self._lock:
            is_shared = self._failures != failures
            if self._verdict is not None and (is_shared or self._verdict.kind in _FINAL):
                raise TokenError(self._verdict)
            try:
                token = self._password_token(end_point)
            except TokenError as error:
                self._verdict = error.verdict
                self._failures += 1
                raise
            self._verdict = None
            return token

    def _ticket_token(self, end_point: bytes) -> bytes:
        """Return a token made with the user's existing tickets."""
        try:
            token = self._guarded(lambda: self._client(None, end_point).step())
        except TokenError as error:
            self._verdict = error.verdict
            raise
        self._verdict = None
        return token

    def _password_token(self, end_point: bytes) -> bytes:
        """Return a token made with the password, requesting a new ticket once if it has expired, or
        if it ends soon and is to be renewed.

        The caller holds the lock.
        """
        issued = self._issued if self._renews else None
        if self._source is not None and not (issued is not None and issued.is_ending):
            try:
                return self._step(self._source, end_point)
            except TokenError as error:
                if error.verdict.kind is not VerdictKind.TICKET_EXPIRED:
                    raise
                self._source = None
        if issued is not None:
            with suppress(TokenError):  # The user still has no ticket.
                return self._guarded(lambda: self._client(None, end_point).step())
        try:
            source = self._guarded(self._request_ticket)
        except TokenError as error:
            if issued is None or self._source is None or error.verdict.kind in _FINAL:
                raise
            self._issued = issued.postponed()  # The KDC cannot be reached.
            return self._step(self._source, end_point)
        token = self._step(source, end_point)
        self._source = source
        return token

    def _request_ticket(self) -> "spnego.ContextProxy":
        """Request a ticket with the login; return a context with this ticket."""
        login = self._login
        assert login is not None
        if self._renews or is_mit_kerberos():
            with suppress(ImportError):  # On Windows, there is no libkrb5.
                principal = _principal(windows_name(login.user))
                self._issued = IssuedTicket.request(principal, normalize("NFC", login.password))
                return self._client(None, b"", self._issued.cache)
        return self._client(login, b"")

    def _client(
        self, login: Login | None, end_point: bytes, cache: str = ""
    ) -> "spnego.ContextProxy":
        host = self._spn_host or self._host
        if self._is_canonical and not self._spn_host:
            host = canonical_name(host)
        return _client("kerberos", login, host, end_point, self._service or "HTTP", cache)

    def _step(self, source: "spnego.ContextProxy", end_point: bytes) -> bytes:
        binding = _binding(end_point)
        return self._guarded(lambda: source.new_context().step(channel_bindings=binding))

    def _guarded(self, call: Callable[[], T | None]) -> T:
        def verdict(error: Exception) -> Verdict:
            known = _explain(error, self._spn_host or self._host, KERBEROS_EXTRA)
            return known or Verdict(VerdictKind.UNUSABLE, _KERBEROS_FAILED.format(_code(error)))

        return _guarded(call, verdict)


def canonical_name(host: str) -> str:
    """Return the canonical name of a host in the DNS (the target of its CNAME records), in lower
    case; the host itself if it has none or cannot be found. This waits for the DNS."""
    try:
        found = socket.getaddrinfo(host, None, flags=socket.AI_CANONNAME)
    except (OSError, UnicodeError):
        return host
    return found[0][3].rstrip(".").lower() or host


def _client(
    protocol: str,
    login: Login | None,
    host: str,
    end_point: bytes,
    service: str = "HTTP",
    cache: str = "",
) -> "spnego.ContextProxy":
    """Return a context with the login, with the tickets of a cache, or with those of the user."""
    import spnego

    # Kerberos: no messages are signed or sealed, and mutual authentication is not requested, so
    # that one leg is enough. NTLM: without a signing key, pyspnego 0.12.4 sends a response that
    # Samba refuses.
    wishes = spnego.ContextReq.none if protocol == "kerberos" else spnego.ContextReq.default
    credential: spnego.Password | spnego.KerberosCCache | None = None
    if cache:
        credential = spnego.KerberosCCache(cache)
    if login is not None:
        name = windows_name(login.user)
        user = _principal(name) if protocol == "kerberos" else name
        credential = spnego.Password(user, normalize("NFC", login.password))
    return spnego.client(
        credential,
        hostname=host,
        service=service,
        channel_bindings=_binding(end_point),
        context_req=wishes,
        protocol=protocol,
    )


def _binding(end_point: bytes) -> "GssChannelBindings | None":
    if not end_point:
        return None
    from spnego.channel_bindings import GssChannelBindings

    return GssChannelBindings(application_data=b"tls-server-end-point:" + end_point)


def _principal(user: str) -> str:
    r"""Return the Kerberos principal of a user name, see `windows_name`.

    ``CORP\jdoe`` is in the default realm of this computer if this realm begins with CORP, otherwise
    in the realm CORP. The part after an at sign is the realm, converted to upper case as Windows
    domains require. On Windows (without libkrb5) the user name is returned as typed.
    """
    try:
        import krb5
    except ImportError:
        return user
    domain, backslash, name = user.partition("\\")
    if not backslash:
        name, at, realm = user.rpartition("@")
        return f"{name}@{realm.upper()}" if at else user
    own = krb5.get_default_realm(krb5.init_context()).decode()
    is_own = own.partition(".")[0].upper() == domain.upper()
    return f"{name}@{own if is_own else domain.upper()}"


def _guarded(call: Callable[[], T | None], explain: Callable[[Exception], Verdict]) -> T:
    try:
        result = call()
    except Exception as error:
        raise TokenError(explain(error)) from error
    if not result:
        raise TokenError(Verdict(VerdictKind.UNUSABLE, _ENDED_EARLY))
    return result


def _explain(error: Exception, host: str, extra: str) -> Verdict | None:
    """Return the verdict for an exception of the library; None if the exception is unknown."""
    if isinstance(error, ImportError):
        return Verdict(VerdictKind.UNUSABLE, extra)
    from spnego.exceptions import CredentialsExpiredError, NoCredentialError

    code = _code(error)
    if isinstance(error, CredentialsExpiredError):
        return Verdict(VerdictKind.TICKET_EXPIRED)
    for kind, codes in _KINDS.items():
        if code in codes:
            text = _UNKNOWN_PROXY if kind is VerdictKind.UNKNOWN_PROXY else ""
            return Verdict(kind, text.format(host))
    for text, codes in _TEXTS.items():
        if code in codes:
            return Verdict(VerdictKind.UNUSABLE, text)
    if isinstance(error, NoCredentialError):
        return Verdict(VerdictKind.NO_TICKET)
    return None


def _code(error: Exception) -> int:
    """Return the error code of libkrb5 (direct or within GSSAPI) or of Windows, otherwise 0."""
    base = getattr(error, "base_error", None) or error
    for name in ("err_code", "min_code", "winerror"):
        code = getattr(base, name, None)
        if isinstance(code, int):
            code &= 0xFFFFFFFF
            return code - (1 << 32) if code >> 31 else code
    return 0
