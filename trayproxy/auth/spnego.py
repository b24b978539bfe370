"""The seam to pyspnego, which speaks NTLM and Kerberos (MS-NLMP; RFC 4120, RFC 4121).

The only module of this room that does I/O, and only by the library: a ticket may have to be fetched
from the company's sign-in server (the KDC), which takes 27 seconds if that is silent. Its functions
belong in a thread (`Scheme.blocks`); the library is imported there when it is first needed.

The library is asked for ``ntlm`` or ``kerberos``, never for ``negotiate``: that falls back from
Kerberos to NTLM without a word. Whatever it raises, and it raises much (its own errors, those of
GSSAPI, libkrb5 and Windows, `struct.error`), becomes a `TokenError` with a verdict; nothing of an
error's own text goes on. Passwords are handed over as `spnego.Password`, because a plain password
of two times 32 hexadecimal digits with a colon between would be taken for a hash.

On Windows pyspnego uses the system's SSPI, elsewhere its own NTLM and the system's GSSAPI. libkrb5
asks the *primary* KDC again after a refusal if the configuration names one (``primary_kdc``,
``admin_server``): where it is not the same machine, a wrong password reaches two of them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Protocol, TypeVar
from unicodedata import normalize

from trayproxy.auth.login import Login, windows_name
from trayproxy.auth.ntlmv2 import NtlmEnvironment, NtlmKey, UnusableChallengeError, authenticate
from trayproxy.auth.scheme import Verdict, VerdictKind

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
_ENDED_EARLY = "The sign-in came to an end before the proxy had taken it."
_NTLM_FAILED = "The proxy's answer to the beginning of the NTLM sign-in makes no sense."
_NO_WINDOWS = "NTLM without a password works only where one is signed in to Windows."
_UNKNOWN_PROXY = (
    "The company's sign-in server (Kerberos) does not know this proxy by the name "
    "“{}”. Enter the proxy in the profile by its full name."
)

# Codes of libkrb5 (krb5.h, table krb5) and of SSPI (winerror.h, ntstatus.h), all signed 32 bits.
_KINDS = {
    VerdictKind.REJECTED: (
        -1765328360,  # KRB5KDC_ERR_PREAUTH_FAILED
        -1765328353,  # KRB5KRB_AP_ERR_BAD_INTEGRITY: the KDC's answer opens with another password
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
_KIND_TEXTS = {VerdictKind.UNKNOWN_PROXY: _UNKNOWN_PROXY}
_TEXTS = {
    WRONG_CLOCK: (
        -1765328347,  # KRB5KRB_AP_ERR_SKEW
        -1765328351,  # KRB5KRB_AP_ERR_TKT_NYV: valid later only
        -2146893020,  # SEC_E_TIME_SKEW
    ),
    _NOT_SET_UP: (
        -1765328160,  # KRB5_CONFIG_NODEFREALM
        -1765328249,  # KRB5_CONFIG_CANTOPEN
        -1765328248,  # KRB5_CONFIG_BADFORMAT
    ),
}
_FINAL = (VerdictKind.REJECTED, VerdictKind.EXPIRED, VerdictKind.LOCKED)


class TokenError(Exception):
    """There is no token.

    Attributes:
        verdict: Why.
    """

    def __init__(self, verdict: Verdict) -> None:
        super().__init__(verdict.kind.name)
        self.verdict = verdict


class Tokens(Protocol):
    """One exchange of tokens with an upstream."""

    def step(self, token: bytes | None) -> bytes:
        """Return the next token.

        Args:
            token: What the upstream has sent; None at first.

        Raises:
            TokenError: There is none.
        """


class Tickets(Protocol):
    """One's right to tickets for one upstream; used by several threads at a time."""

    def token(self, end_point: bytes) -> bytes:
        """Return a fresh token for one connection: a ticket and the proof that it is ours.

        Args:
            end_point: See `trayproxy.auth.scheme.RequestToSign`.

        Raises:
            TokenError: There is no ticket.
        """


class NtlmLogin:
    """One login at one upstream: begins exchanges of NTLM messages, by NTLMv2.

    The library makes the first context: so it is known to be there, and whether it computes NTLM
    itself or has Windows (SSPI) do it. It derives keys from the password for each context, which
    takes milliseconds, and needs half a millisecond for each response. So where it computes NTLM
    itself, `trayproxy.auth.ntlmv2` does that instead, with the library's type-1 message.
    """

    def __init__(
        self, login: Login | None, host: str, environment: NtlmEnvironment | None = None
    ) -> None:
        """Make nothing yet.

        Args:
            login: None for the log-on to Windows.
            host: The upstream, which the response is bound to.
            environment: What our own computation needs; None: the library computes.
        """
        self._login = login
        self._host = host
        self._environment = environment
        self._template: spnego.ContextProxy | None = None
        self._local: _LocalNtlm | None = None

    @property
    def may_block(self) -> bool:
        """Whether a step may wait: the library is to be loaded, or Windows (SSPI) is asked."""
        return not self._is_local

    @property
    def _is_local(self) -> bool:
        return type(self._template).__name__ == "NTLMProxy"

    def begin(self, end_point: bytes) -> Tokens:
        """Return a new exchange of messages.

        Args:
            end_point: See `trayproxy.auth.scheme.RequestToSign`.

        Raises:
            TokenError: The library is missing, or there is nothing to sign in with.
        """
        if self._local is not None:
            return _LocalTokens(self._local, end_point)
        explain = _ntlm_explanation(self._login, self._host)

        def make() -> "spnego.ContextProxy":
            if self._template is None:
                self._template = _client("ntlm", self._login, self._host, b"")
            return self._template.new_context()

        context = _guarded(make, explain)
        login, environment = self._login, self._environment
        if login is not None and environment is not None and self._is_local:
            negotiate = _guarded(lambda: context.step(None), explain)
            self._local = _LocalNtlm(NtlmKey.derive(login, self._host), environment, negotiate)
            return _LocalTokens(self._local, end_point)
        return _NtlmTokens(context, explain, _guarded(lambda: (_binding(end_point),), explain)[0])


@dataclass(frozen=True, slots=True)
class _LocalNtlm:
    """What all exchanges of one login have in common.

    Attributes:
        key: The login.
        environment: Random numbers, the time and the name of the computer.
        negotiate: The type-1 message, the same for each connection.
    """

    key: NtlmKey
    environment: NtlmEnvironment
    negotiate: bytes


class _LocalTokens:
    """An exchange of messages that is computed here."""

    __slots__ = ("_end_point", "_local")

    def __init__(self, own: _LocalNtlm, end_point: bytes) -> None:
        self._local = own
        self._end_point = end_point

    def step(self, token: bytes | None) -> bytes:
        local = self._local
        if token is None:
            return local.negotiate
        try:
            return authenticate(
                local.key, local.environment, local.negotiate, token, self._end_point
            )
        except UnusableChallengeError:
            raise TokenError(Verdict(VerdictKind.UNUSABLE, _NTLM_FAILED)) from None


def _ntlm_explanation(login: Login | None, host: str) -> Callable[[Exception], Verdict]:
    def explain(error: Exception) -> Verdict:
        verdict = _explain(error, host, NTLM_EXTRA)
        if verdict is not None:
            return verdict
        if login is None:
            return Verdict(VerdictKind.NO_TICKET, _NO_WINDOWS)
        return Verdict(VerdictKind.UNUSABLE, _NTLM_FAILED)

    return explain


class _NtlmTokens:
    def __init__(
        self,
        context: "spnego.ContextProxy",
        explain: Callable[[Exception], Verdict],
        binding: "GssChannelBindings | None",
    ) -> None:
        self._context = context
        self._explain = explain
        self._binding = binding

    def step(self, token: bytes | None) -> bytes:
        return _guarded(
            lambda: self._context.step(token, channel_bindings=self._binding) or b"", self._explain
        )


RETRY_WAIT_S = 1.0
"""Seconds to wait for a sign-in server that could not be reached last time."""


class _Retry:
    """Asks a sign-in server again, in a thread that the end of the program does not wait for."""

    def __init__(self, ask: Callable[[], bytes]) -> None:
        self._ask = ask
        self._over = Event()
        self._token = b""
        self._error: TokenError | None = None
        Thread(target=self._run, name="sign-in-again", daemon=True).start()

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for the end; return whether it has come."""
        return self._over.wait(seconds)

    def result(self) -> bytes:
        """Return the token.

        Raises:
            TokenError: There is none.
        """
        if self._error is not None:
            raise TokenError(self._error.verdict)
        return self._token

    def _run(self) -> None:
        try:
            self._token = self._ask()
        except TokenError as error:
            self._error = error
        finally:
            self._over.set()


class KerberosTickets:
    """One's right to Kerberos tickets for one upstream.

    With a login the sign-in server is asked once, whoever needs it first; what it says of the login
    is said to all that need it later, without asking again: each time would be a failed log-on.
    Any other failure is shared by those who waited for it, so that a silent server keeps a hundred
    requests no longer than one.

    A server that could not be reached is asked again in a thread of its own, one at a time: libkrb5
    asks a silent one for half a minute. Whoever needs a ticket meanwhile waits only a moment, so
    that the server may be tried again often, and is used as soon as it is back.

    The lock is held until a token has been made. On Windows, making the credential handle asks
    nobody; the server checks the password when the first token is requested
    (``InitializeSecurityContext``), and again whenever the ticket has to be renewed.
    """

    def __init__(self, login: Login | None, host: str) -> None:
        """Ask for nothing yet.

        Args:
            login: None to use the tickets that the person has already.
            host: The upstream; its principal is ``HTTP/host``.
        """
        self._login = login
        self._host = host
        self._lock = Lock()
        self._source: spnego.ContextProxy | None = None
        self._verdict: Verdict | None = None
        self._failures = 0
        self._retry_lock = Lock()
        self._retry: _Retry | None = None

    def token(self, end_point: bytes) -> bytes:
        """Return a fresh token; see `Tickets.token`.

        Raises:
            TokenError: There is no ticket.
        """
        known = self._verdict
        if known is None or known.kind is not VerdictKind.SERVER_UNREACHABLE:
            return self._token(end_point)
        with self._retry_lock:
            retry, is_own_retry = self._retry, False
            if retry is None or retry.is_over:
                retry, is_own_retry = _Retry(lambda: self._token(end_point)), True
                self._retry = retry
        if not retry.wait(RETRY_WAIT_S):
            raise TokenError(known)
        # A token is for one connection.
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
        """Return a token made with the tickets that the person has already."""
        try:
            token = self._guarded(lambda: _client("kerberos", None, self._host, end_point).step())
        except TokenError as error:
            self._verdict = error.verdict
            raise
        self._verdict = None
        return token

    def _password_token(self, end_point: bytes) -> bytes:
        """Return a token made with the password, renewing an expired ticket once.

        The caller holds the lock.
        """
        if self._source is not None:
            try:
                return self._step(self._source, end_point)
            except TokenError as error:
                if error.verdict.kind is not VerdictKind.TICKET_EXPIRED:
                    raise
                self._source = None
        source = self._guarded(lambda: _client("kerberos", self._login, self._host, b""))
        token = self._step(source, end_point)
        self._source = source
        return token

    def _step(self, source: "spnego.ContextProxy", end_point: bytes) -> bytes:
        binding = _binding(end_point)
        return self._guarded(lambda: source.new_context().step(channel_bindings=binding))

    def _guarded(self, call: Callable[[], T | None]) -> T:
        def explain(error: Exception) -> Verdict:
            verdict = _explain(error, self._host, KERBEROS_EXTRA)
            return verdict or Verdict(VerdictKind.UNUSABLE, _KERBEROS_FAILED.format(_code(error)))

        return _guarded(call, explain)


def _client(
    protocol: str, login: Login | None, host: str, end_point: bytes
) -> "spnego.ContextProxy":
    import spnego

    # Kerberos: nothing is signed or sealed, and the proxy need not sign in to us, so that one leg
    # is enough. NTLM: without a key to sign with, pyspnego 0.12.4 sends a response that Samba
    # refuses.
    wishes = spnego.ContextReq.none if protocol == "kerberos" else spnego.ContextReq.default
    credential = None
    if login is not None:
        name = windows_name(login.user)
        user = _principal(name) if protocol == "kerberos" else name
        credential = spnego.Password(user, normalize("NFC", login.password))
    return spnego.client(
        credential,
        hostname=host,
        service="HTTP",
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
    r"""Return the principal of a user name, see `windows_name`.

    ``CORP\jdoe`` is of this computer's own realm if that begins with CORP, else of a realm CORP.
    The part behind an @ is the realm, which is in capitals where Windows rules. Windows itself
    (no libkrb5) takes names as they are typed.
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
    """Return what an error of the library says, None if it says nothing we know."""
    if isinstance(error, ImportError):
        return Verdict(VerdictKind.UNUSABLE, extra)
    from spnego.exceptions import CredentialsExpiredError, NoCredentialError

    code = _code(error)
    if isinstance(error, CredentialsExpiredError):
        return Verdict(VerdictKind.TICKET_EXPIRED)
    for kind, codes in _KINDS.items():
        if code in codes:
            return Verdict(kind, _KIND_TEXTS.get(kind, "").format(host))
    for text, codes in _TEXTS.items():
        if code in codes:
            return Verdict(VerdictKind.UNUSABLE, text)
    if isinstance(error, NoCredentialError):
        return Verdict(VerdictKind.NO_TICKET)
    return None


def _code(error: Exception) -> int:
    """Return the code of libkrb5 (by itself or within GSSAPI) or Windows, 0 if there is none."""
    base = getattr(error, "base_error", None) or error
    for name in ("err_code", "min_code", "winerror"):
        code = getattr(base, name, None)
        if isinstance(code, int):
            code &= 0xFFFFFFFF
            return code - (1 << 32) if code >> 31 else code
    return 0
