"""Tests for trayproxy.auth.spnego, with a fake pyspnego.

The fake library raises exceptions with the error codes of the real libraries. End-to-end tests use
the real libraries.
"""

import socket
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from types import ModuleType

import pytest

from tests.auth.steps import SECRET
from trayproxy.auth.login import Login
from trayproxy.auth.ntlmv2 import NtlmEnvironment
from trayproxy.auth.scheme import Verdict, VerdictKind
from trayproxy.auth.spnego import (
    KERBEROS_EXTRA,
    NTLM_EXTRA,
    WRONG_CLOCK,
    KerberosTickets,
    NtlmLogin,
    canonical_name,
)
from trayproxy.auth.windows import TokenError

HOST = "proxy.corp.example"
LOGIN = Login("jdoe", SECRET)
PATIENCE = 10
WRONG_PASSWORD, UNREACHABLE = -1765328360, -1765328228
"""KRB5KDC_ERR_PREAUTH_FAILED and KRB5_KDC_UNREACH (krb5.h)."""


class SpnegoError(Exception):
    """Like pyspnego's exception: contains the system's exception."""

    def __init__(self, base_error: Exception | None = None) -> None:
        super().__init__(f"jdoe {SECRET}")
        self.base_error = base_error


class NoCredentialError(SpnegoError):
    pass


class CredentialsExpiredError(SpnegoError):
    pass


class GssError(Exception):
    """Like python-gssapi's exception: the code is unsigned."""

    def __init__(self, code: int) -> None:
        super().__init__(SECRET)
        self.maj_code, self.min_code = 851968, code & 0xFFFFFFFF


class Krb5Error(Exception):
    """Like python-krb5's exception, which pyspnego does not convert."""

    def __init__(self, code: int) -> None:
        super().__init__(SECRET)
        self.err_code = code


class WindowsError(Exception):
    """Like sspilib's exception."""

    def __init__(self, code: int) -> None:
        super().__init__(SECRET)
        self.winerror = code


class CountingLock:
    """A lock that counts the attempts to acquire it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = threading.Semaphore(0)

    def __enter__(self) -> None:
        self._wanted.release()
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def wait_until_wanted(self, count: int) -> None:
        for _ in range(count):
            assert self._wanted.acquire(timeout=PATIENCE)


class FakePyspnego:
    """The part of pyspnego that TrayProxy uses.

    Attributes:
        calls: The keyword arguments and the credential of each client.
        on_client: Called when a client is created.
        on_step: Called in each step, with the number of the step.
        client_class: The class of the clients.
    """

    def __init__(self) -> None:
        self.calls: list[dict[str, object]] = []
        self.on_client: Callable[[], None] = lambda: None
        self.on_step: Callable[[int], None] = lambda number: None
        self.bindings: list[object] = []
        self.steps = 0
        self.client_class = FakeContext

    def client(self, credential: object, **keywords: object) -> "FakeContext":
        self.calls.append({"credential": credential, **keywords})
        self.on_client()
        return self.client_class(self)


class FakeContext:
    def __init__(self, library: FakePyspnego) -> None:
        self.parent = library

    def new_context(self) -> "FakeContext":
        return FakeContext(self.parent)

    def step(self, token: bytes | None = None, *, channel_bindings: object = None) -> bytes:
        self.parent.steps += 1
        self.parent.bindings.append(channel_bindings)
        self.parent.on_step(self.parent.steps)
        return b"token %d" % self.parent.steps


class NTLMProxy(FakeContext):
    """The class with which pyspnego computes NTLM outside Windows."""


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> FakePyspnego:
    library = FakePyspnego()
    spnego, errors, bindings, krb5 = map(
        ModuleType, ("spnego", "spnego.exceptions", "spnego.channel_bindings", "krb5")
    )
    vars(spnego).update(
        client=library.client,
        Password=lambda user, password: (user, password),
        KerberosCCache=lambda cache: cache,
        ContextReq=type("ContextReq", (), {"none": 0, "default": 62}),
    )
    vars(errors).update(
        NoCredentialError=NoCredentialError, CredentialsExpiredError=CredentialsExpiredError
    )
    vars(bindings).update(GssChannelBindings=lambda application_data: application_data)
    vars(krb5).update(init_context=object, get_default_realm=lambda context: b"CORP.EXAMPLE")
    for module in (spnego, errors, bindings, krb5):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return library


def failing(error: Exception, after: threading.Event | None = None) -> Callable[..., None]:
    """Return a callback that raises an error, if given after an event."""

    def fail(*_: object) -> None:
        assert after is None or after.wait(PATIENCE)
        raise error

    return fail


def verdict_of(call: Callable[[], object]) -> Verdict:
    with pytest.raises(TokenError) as refusal:
        call()
    assert SECRET not in f"{refusal.value!r} {refusal.value} {refusal.value.verdict.text}"
    return refusal.value.verdict


# --- arguments of the library -------------------------------------------------------------------


def test_negotiate_is_never_requested_and_the_profile_names_the_host_r_127(
    library: FakePyspnego,
) -> None:
    """Negotiate falls back silently from Kerberos to NTLM."""
    NtlmLogin(LOGIN, HOST).begin(b"")(None)
    KerberosTickets(LOGIN, HOST).token(b"")
    KerberosTickets(None, HOST).token(b"")
    assert [call["protocol"] for call in library.calls] == ["ntlm", "kerberos", "kerberos"]
    assert {(call["hostname"], call["service"]) for call in library.calls} == {(HOST, "HTTP")}
    assert [call["credential"] for call in library.calls] == [
        ("jdoe", SECRET),
        ("jdoe", SECRET),
        None,
    ]


def test_tokens_are_bound_to_tls_connections_r_127(library: FakePyspnego) -> None:
    # RFC 5929, section 4.
    tickets = KerberosTickets(LOGIN, HOST)
    tickets.token(b"\x01")
    tickets.token(b"\x02")
    tickets.token(b"")
    assert library.bindings == [b"tls-server-end-point:\x01", b"tls-server-end-point:\x02", None]
    KerberosTickets(None, HOST).token(b"\x04")
    assert library.calls[-1]["channel_bindings"] == b"tls-server-end-point:\x04"
    NtlmLogin(LOGIN, HOST).begin(b"\x03")(None)
    assert library.bindings[-1] == b"tls-server-end-point:\x03"


@pytest.mark.parametrize("login", [LOGIN, None])
@pytest.mark.parametrize(
    ("spn", "is_canonical", "service", "hostname"),
    [
        ("HTTP/other.corp.example", False, "HTTP", "other.corp.example"),
        ("proxy/other:8080", False, "proxy", "other:8080"),
        ("", True, "HTTP", "real.corp.example"),
        ("", False, "HTTP", HOST),
    ],
)
def test_a_profile_may_name_the_proxy_for_kerberos(
    library: FakePyspnego,
    monkeypatch: pytest.MonkeyPatch,
    login: Login | None,
    spn: str,
    is_canonical: bool,
    service: str,
    hostname: str,
) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "Real.Corp.Example.")])
    KerberosTickets(login, HOST, spn, is_canonical=is_canonical).token(b"")
    assert (library.calls[-1]["service"], library.calls[-1]["hostname"]) == (service, hostname)


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError()])
def test_a_host_without_a_canonical_name_keeps_its_name(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert canonical_name(HOST) == HOST
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [(2, 1, 6, "")])
    assert canonical_name(HOST) == HOST


@pytest.mark.parametrize(
    ("typed", "principal"),
    [
        ("jdoe", "jdoe"),
        ("CORP\\jdoe", "jdoe@CORP.EXAMPLE"),
        ("corp\\jdoe", "jdoe@CORP.EXAMPLE"),
        ("OTHER\\jdoe", "jdoe@OTHER"),
        ("CORP/jdoe", "jdoe@CORP.EXAMPLE"),
        ("OTHER/jdoe", "jdoe@OTHER"),
        ("jdoe/admin@corp.example", "jdoe/admin@CORP.EXAMPLE"),
        ("jdoe@corp.example", "jdoe@CORP.EXAMPLE"),
        ("j@doe@corp.example", "j@doe@CORP.EXAMPLE"),
    ],
)
def test_windows_user_names_become_principals(
    library: FakePyspnego, typed: str, principal: str
) -> None:
    KerberosTickets(Login(typed, SECRET), HOST).token(b"")
    assert library.calls[0]["credential"] == (principal, SECRET)


def test_user_names_are_unchanged_without_libkrb5(
    library: FakePyspnego, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "krb5", None)
    KerberosTickets(Login("CORP\\jdoe", SECRET), HOST).token(b"")
    assert library.calls[0]["credential"] == ("CORP\\jdoe", SECRET)


@pytest.mark.parametrize(
    ("typed", "sent"),
    [
        ("CORP/jdoe", "CORP\\jdoe"),
        ("corp.example/j doe", "corp.example\\j doe"),
        ("CORP\\jdoe", "CORP\\jdoe"),
        ("CORP\\j/doe", "CORP\\j/doe"),
        ("jdoe@corp.example", "jdoe@corp.example"),
        ("jdoe/admin@corp.example", "jdoe/admin@corp.example"),
        ("/jdoe", "/jdoe"),
        ("a/b/c", "a/b/c"),
        ("jdoe", "jdoe"),
    ],
)
def test_a_domain_before_a_slash_is_sent_with_a_backslash(
    library: FakePyspnego, typed: str, sent: str
) -> None:
    NtlmLogin(Login(typed, SECRET), HOST).begin(b"")
    assert library.calls[0]["credential"] == (sent, SECRET)


def test_keys_are_derived_from_a_password_once_for_all_connections(library: FakePyspnego) -> None:
    messages = NtlmLogin(Login("CORP/jdoe", SECRET), HOST)
    for end_point in (b"", b"\x01", b"\x02"):
        exchange = messages.begin(end_point)
        exchange(None)
        exchange(b"type 2")
    assert [call["credential"] for call in library.calls] == [("CORP\\jdoe", SECRET)]
    first, second = b"tls-server-end-point:\x01", b"tls-server-end-point:\x02"
    assert library.bindings == [None, None, first, first, second, second]


def test_an_exchange_blocks_only_for_loading_and_windows(library: FakePyspnego) -> None:
    messages = NtlmLogin(LOGIN, HOST)
    assert messages.may_block
    messages.begin(b"")
    assert messages.may_block
    library.client_class = NTLMProxy
    in_python = NtlmLogin(LOGIN, HOST)
    in_python.begin(b"")
    assert not in_python.may_block


ENVIRONMENT = NtlmEnvironment(bytes, lambda: 0, "LAPTOP")


def test_windows_computes_its_messages_itself(library: FakePyspnego) -> None:
    messages = NtlmLogin(LOGIN, HOST, ENVIRONMENT)
    for number in (1, 3):
        exchange = messages.begin(b"")
        assert exchange(None) == b"token %d" % number
        assert exchange(b"type 2") == b"token %d" % (number + 1)


def test_the_library_computes_only_the_type_1_message_outside_windows(
    library: FakePyspnego,
) -> None:
    library.client_class = NTLMProxy
    messages = NtlmLogin(LOGIN, HOST, ENVIRONMENT)
    for _ in range(3):
        assert messages.begin(b"")(None) == b"token 1"
    assert library.steps == len(library.calls) == 1


def test_the_log_on_to_windows_is_used_by_the_library(library: FakePyspnego) -> None:
    library.client_class = NTLMProxy
    messages = NtlmLogin(None, HOST, ENVIRONMENT)
    assert [messages.begin(b"")(None) for _ in range(2)] == [b"token 1", b"token 2"]


def test_a_failed_start_is_repeated(library: FakePyspnego) -> None:
    messages = NtlmLogin(LOGIN, HOST)
    library.on_client = failing(ImportError(SECRET))
    assert verdict_of(lambda: messages.begin(b"")) == Verdict(VerdictKind.UNUSABLE, NTLM_EXTRA)
    library.on_client = lambda: None
    assert messages.begin(b"")(None) == b"token 1"


# --- error codes --------------------------------------------------------------------------------


CODES = {
    (VerdictKind.REJECTED, ""): (
        *(-1765328360, -1765328353, -1765328174),
        *(-2146893044, -1073741715),
    ),
    (VerdictKind.EXPIRED, ""): (-1765328361, -1073741711, -1073741276),
    (VerdictKind.LOCKED, ""): (
        *(-1765328366, -1765328383),
        *(-1073741260, -1073741710, -1073741421),
    ),
    (VerdictKind.NO_TICKET, ""): (
        *(-1765328189, -1765328243, -1765328241, -1750600181),
        -2146893042,
    ),
    (VerdictKind.TICKET_EXPIRED, ""): (-1765328352,),
    (VerdictKind.SERVER_UNREACHABLE, ""): (-1765328228, -1765328230, -1765328164, -2146893039),
    (VerdictKind.UNKNOWN_USER, ""): (-1765328378,),
    (VerdictKind.UNKNOWN_PROXY, HOST): (-1765328377, -1765328167, -2146893053, -2146893022),
    (VerdictKind.UNUSABLE, "clock"): (-1765328347, -1765328351, -2146893020),
    (VerdictKind.UNUSABLE, "set up"): (-1765328160, -1765328249, -1765328248),
    (VerdictKind.UNUSABLE, "-1765328315"): (-1765328315,),
}
"""The codes of libkrb5 (krb5.h), SSPI (winerror.h) and Windows (ntstatus.h), by the kind of their
verdict and by a part of its text."""


@pytest.mark.parametrize(
    ("code", "kind", "part"), [(code, *key) for key, codes in CODES.items() for code in codes]
)
def test_every_code_has_its_verdict(
    library: FakePyspnego, code: int, kind: VerdictKind, part: str
) -> None:
    for error in (Krb5Error(code), GssError(code), WindowsError(code)):
        library.on_client = failing(SpnegoError(error))
        verdict = verdict_of(lambda: KerberosTickets(LOGIN, HOST).token(b""))
        library.on_client = failing(error)
        assert verdict_of(lambda: KerberosTickets(LOGIN, HOST).token(b"")) == verdict
        assert verdict.kind is kind
        assert part in verdict.text
        assert (str(code) in verdict.text) is (part == str(code))


@pytest.mark.parametrize(
    ("error", "verdict"),
    [
        (NoCredentialError(), Verdict(VerdictKind.NO_TICKET)),
        (CredentialsExpiredError(), Verdict(VerdictKind.TICKET_EXPIRED)),
        (ImportError(SECRET), Verdict(VerdictKind.UNUSABLE, KERBEROS_EXTRA)),
        (SpnegoError(GssError(-1765328347)), Verdict(VerdictKind.UNUSABLE, WRONG_CLOCK)),
    ],
)
def test_a_missing_ticket_is_reported_and_requested_again_next_time(
    library: FakePyspnego, error: Exception, verdict: Verdict
) -> None:
    # TP-305 disappears when a ticket is available.
    tickets = KerberosTickets(None, HOST)
    library.on_client = failing(error)
    assert verdict_of(lambda: tickets.token(b"")) == verdict
    library.on_client = lambda: None
    assert tickets.token(b"") == b"token 1"


@pytest.mark.parametrize("error", [ValueError(SECRET), IndexError(), KeyError(SECRET)])
def test_every_exception_is_a_verdict(library: FakePyspnego, error: Exception) -> None:
    library.on_step = failing(error)
    for login in (None, LOGIN):
        token = partial(KerberosTickets(login, HOST).token, b"")
        assert verdict_of(token).kind is VerdictKind.UNUSABLE
    assert verdict_of(lambda: NtlmLogin(LOGIN, HOST).begin(b"")(b"x")).kind is VerdictKind.UNUSABLE


# --- one password, one failed log-on ------------------------------------------------------------


@pytest.fixture
def lock(monkeypatch: pytest.MonkeyPatch) -> CountingLock:
    """The lock of the tickets created in the test."""
    made = CountingLock()
    monkeypatch.setattr("trayproxy.auth.spnego.Lock", lambda: made)
    return made


def concurrent_verdicts(
    tickets: KerberosTickets, lock: CountingLock, answer: threading.Event
) -> set[VerdictKind]:
    """Return the verdicts for nine threads that all ask before the server answers."""
    token = partial(tickets.token, b"")
    with ThreadPoolExecutor(9) as threads:
        asking = [threads.submit(lambda: verdict_of(token).kind) for _ in range(9)]
        lock.wait_until_wanted(9)
        answer.set()
        return {each.result(PATIENCE) for each in asking}


@pytest.mark.parametrize("code", [-1765328360, -1765328361, -1765328366])
def test_a_refused_password_is_never_sent_again(library: FakePyspnego, code: int) -> None:
    tickets = KerberosTickets(LOGIN, HOST)
    library.on_client = failing(Krb5Error(code))
    verdicts = {verdict_of(lambda: tickets.token(b"")).kind for _ in range(5)}
    assert len(verdicts) == 1
    assert len(library.calls) == 1


@dataclass
class FakeIssuedTicket:
    """A ticket requested with a password; see `IssuedTicket`."""

    cache: str
    is_ending: bool = False

    def postponed(self) -> "FakeIssuedTicket":
        return FakeIssuedTicket(self.cache)


class FakeTicketIssuer:
    """The KDC for `IssuedTicket.request`.

    Attributes:
        issued: The tickets issued so far.
        refusal: The error of the next requests; None to issue tickets.
    """

    def __init__(self) -> None:
        self.issued: list[FakeIssuedTicket] = []
        self.requests: list[tuple[str, str]] = []
        self.refusal: Exception | None = None

    def request(self, principal: str, password: str) -> FakeIssuedTicket:
        self.requests.append((principal, password))
        if self.refusal is not None:
            raise self.refusal
        self.issued.append(FakeIssuedTicket(f"MEMORY:{len(self.issued) + 1}"))
        return self.issued[-1]


@pytest.fixture
def kdc(monkeypatch: pytest.MonkeyPatch) -> FakeTicketIssuer:
    kdc = FakeTicketIssuer()
    monkeypatch.setattr("trayproxy.auth.spnego.IssuedTicket", kdc)
    return kdc


def no_ticket_of_the_user(library: FakePyspnego) -> None:
    """Let the library find only the tickets that TrayProxy has requested."""

    def on_client() -> None:
        if library.calls[-1]["credential"] is None:
            raise NoCredentialError

    library.on_client = on_client


def test_a_ticket_is_requested_once_and_renewed_before_it_ends(
    library: FakePyspnego, kdc: FakeTicketIssuer
) -> None:
    no_ticket_of_the_user(library)
    tickets = KerberosTickets(Login("CORP\\jdoe", SECRET), HOST, renews=True)
    for _ in range(3):
        tickets.token(b"")
    assert kdc.requests == [("jdoe@CORP.EXAMPLE", SECRET)]
    kdc.issued[0].is_ending = True
    tickets.token(b"")
    tickets.token(b"")
    assert len(kdc.requests) == 2
    used = [call["credential"] for call in library.calls]
    assert used == ["MEMORY:1", None, "MEMORY:2"]  # None: a look for a ticket of the user.


def test_no_ticket_is_requested_while_the_user_has_one(
    library: FakePyspnego, kdc: FakeTicketIssuer
) -> None:
    tickets = KerberosTickets(LOGIN, HOST, renews=True)
    tickets.token(b"")
    kdc.issued[0].is_ending = True
    tickets.token(b"")
    assert library.calls[-1]["credential"] is None
    assert len(kdc.requests) == 1


def test_a_ticket_is_used_to_its_end_if_it_cannot_be_renewed(
    library: FakePyspnego, kdc: FakeTicketIssuer
) -> None:
    no_ticket_of_the_user(library)
    tickets = KerberosTickets(LOGIN, HOST, renews=True)
    tickets.token(b"")
    kdc.issued[0].is_ending = True
    kdc.refusal = Krb5Error(UNREACHABLE)
    for _ in range(3):
        assert tickets.token(b"").startswith(b"token")
    assert len(kdc.requests) == 2  # The next attempt is made a minute later.


def test_a_password_refused_at_the_renewal_is_never_sent_again(
    library: FakePyspnego, kdc: FakeTicketIssuer
) -> None:
    no_ticket_of_the_user(library)
    tickets = KerberosTickets(LOGIN, HOST, renews=True)
    tickets.token(b"")
    kdc.issued[0].is_ending = True
    kdc.refusal = Krb5Error(WRONG_PASSWORD)
    kinds = {verdict_of(lambda: tickets.token(b"")).kind for _ in range(3)}
    assert kinds == {VerdictKind.REJECTED}
    assert len(kdc.requests) == 2


def test_without_libkrb5_the_library_requests_the_ticket(
    library: FakePyspnego, kdc: FakeTicketIssuer
) -> None:
    kdc.refusal = ImportError()
    assert KerberosTickets(LOGIN, HOST, renews=True).token(b"") == b"token 1"
    assert library.calls[-1]["credential"] == ("jdoe", SECRET)


def test_an_unresponsive_kdc_is_asked_again_later(library: FakePyspnego) -> None:
    tickets = KerberosTickets(LOGIN, HOST)
    library.on_client = failing(Krb5Error(UNREACHABLE))
    verdict_of(lambda: tickets.token(b""))
    library.on_client = lambda: None
    assert tickets.token(b"") == b"token 1"


@pytest.mark.parametrize("login", [None, LOGIN], ids=["own", "password"])
def test_an_unresponsive_kdc_gets_one_request_at_a_time_and_is_used_when_back(
    library: FakePyspnego, monkeypatch: pytest.MonkeyPatch, login: Login | None
) -> None:
    """Other callers wait only `RETRY_WAIT_S` for a ticket."""
    monkeypatch.setattr("trayproxy.auth.spnego.RETRY_WAIT_S", 0.01)
    tickets = KerberosTickets(login, HOST)
    library.on_client = failing(Krb5Error(UNREACHABLE))
    assert verdict_of(lambda: tickets.token(b"")).kind is VerdictKind.SERVER_UNREACHABLE
    is_back = threading.Event()

    def wait() -> None:
        assert is_back.wait(PATIENCE)

    library.on_client = wait
    for _ in range(5):
        assert verdict_of(lambda: tickets.token(b"")).kind is VerdictKind.SERVER_UNREACHABLE
    assert len(library.calls) == 2
    is_back.set()
    monkeypatch.setattr("trayproxy.auth.spnego.RETRY_WAIT_S", PATIENCE)
    assert tickets.token(b"") == b"token 2"
    assert tickets.token(b"") == b"token 3"


def test_a_password_refused_by_a_kdc_that_is_back_is_sent_once(
    library: FakePyspnego, monkeypatch: pytest.MonkeyPatch
) -> None:
    tickets = KerberosTickets(LOGIN, HOST)
    library.on_client = failing(Krb5Error(UNREACHABLE))
    verdict_of(lambda: tickets.token(b""))
    library.on_client = failing(Krb5Error(WRONG_PASSWORD))
    kinds = {verdict_of(lambda: tickets.token(b"")).kind for _ in range(4)}
    assert kinds == {VerdictKind.REJECTED}
    assert len(library.calls) == 2


def test_the_kdc_is_asked_once_for_many_connections(library: FakePyspnego) -> None:
    tickets = KerberosTickets(LOGIN, HOST)
    assert len({tickets.token(b"") for _ in range(5)}) == 5
    assert len(library.calls) == 1


@pytest.mark.parametrize("code", [WRONG_PASSWORD, UNREACHABLE])
def test_waiting_callers_share_the_result(
    library: FakePyspnego, lock: CountingLock, code: int
) -> None:
    tickets = KerberosTickets(LOGIN, HOST)
    answer = threading.Event()
    library.on_client = failing(Krb5Error(code), after=answer)
    assert len(concurrent_verdicts(tickets, lock, answer)) == 1
    assert len(library.calls) == 1


@pytest.mark.parametrize("code", [-2146893044, -1073741276, -1073741260])
@pytest.mark.parametrize("is_renewal", [False, True], ids=["first", "renewal"])
def test_a_password_checked_with_the_token_is_sent_once(
    library: FakePyspnego, lock: CountingLock, code: int, is_renewal: bool
) -> None:
    """On Windows (SSPI) the password is checked by the token, not by the credential handle."""
    tickets = KerberosTickets(LOGIN, HOST)
    if is_renewal:
        tickets.token(b"")
        lock.wait_until_wanted(1)
    answer = threading.Event()
    before = library.steps
    library.on_step = failing(WindowsError(code), after=answer)
    assert len(concurrent_verdicts(tickets, lock, answer)) == 1
    verdict_of(lambda: tickets.token(b""))
    assert library.steps - before == 1


@pytest.mark.parametrize("code", [-2146893039, -1765328228])
def test_a_kdc_unresponsive_at_the_token_is_asked_once_and_again_later(
    library: FakePyspnego, lock: CountingLock, code: int
) -> None:
    tickets = KerberosTickets(LOGIN, HOST)
    answer = threading.Event()
    library.on_step = failing(WindowsError(code), after=answer)
    assert concurrent_verdicts(tickets, lock, answer) == {VerdictKind.SERVER_UNREACHABLE}
    assert library.steps == 1
    library.on_step = lambda number: None
    assert tickets.token(b"") == b"token 2"


@pytest.mark.parametrize("token", [b"", None])
def test_a_missing_token_of_the_library_is_a_verdict(
    library: FakePyspnego, monkeypatch: pytest.MonkeyPatch, token: bytes | None
) -> None:
    monkeypatch.setattr(FakeContext, "step", lambda self, *args, **keywords: token)
    for login in (None, LOGIN):
        tickets = KerberosTickets(login, HOST)
        verdict = verdict_of(partial(tickets.token, b""))
        assert verdict.kind is VerdictKind.UNUSABLE
        assert "ended before" in verdict.text
    for message in (None, b"type 2"):
        verdict = verdict_of(partial(NtlmLogin(LOGIN, HOST).begin(b""), message))
        assert verdict.kind is VerdictKind.UNUSABLE
        assert "ended before" in verdict.text


def test_an_expired_ticket_is_renewed_once(library: FakePyspnego) -> None:
    tickets = KerberosTickets(LOGIN, HOST)
    tickets.token(b"")

    def expire(number: int) -> None:
        if number == 2:
            raise CredentialsExpiredError

    library.on_step = expire
    assert tickets.token(b"") == b"token 3"
    assert len(library.calls) == 2


def test_a_changed_password_fails_once(library: FakePyspnego) -> None:
    tickets = KerberosTickets(LOGIN, HOST)
    tickets.token(b"")
    library.on_step = failing(CredentialsExpiredError())
    library.on_client = failing(Krb5Error(WRONG_PASSWORD))
    kinds = [verdict_of(lambda: tickets.token(b"")).kind for _ in range(4)]
    assert kinds == [VerdictKind.REJECTED] * 4
    assert len(library.calls) == 2
