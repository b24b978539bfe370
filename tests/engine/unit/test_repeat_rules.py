"""Tests for trayproxy.engine.proxy_auth.repeat_rules: which requests may be sent again."""

from dataclasses import replace

import pytest

from tests.engine.schemes import TicketScheme, ntlm_like_scheme
from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Scheme
from trayproxy.desk.credentials import AcceptanceRecord, Credentials
from trayproxy.desk.protection_space import LoginId, ProtectionSpace, UpstreamId
from trayproxy.engine.proxy_auth.auth_port import Message, Progress
from trayproxy.engine.proxy_auth.repeat_rules import (
    LostRequest,
    Repeat,
    may_be_replaced,
    may_repeat_without_login,
    repeat_of,
)
from trayproxy.http.challenges import Challenge
from trayproxy.http.request import parse_request

NOTHING_SENT = Progress()
SENT = Progress(was_sent=True, is_sent=True)
MID_UPLOAD = Progress(was_sent=True, content_was_read=True, content_is_read=False)
UNSENT_UPLOAD = Progress(content_was_read=True, content_is_read=False)
NOT_HELD = MID_UPLOAD._replace(is_repeatable=False)
UPLOADED = Progress(was_sent=True, is_sent=True, content_was_read=True)


def credentials(scheme: Scheme) -> Credentials:
    """Return credentials with this scheme."""
    challenge, login = Challenge(scheme.name), Login("user", "pass")
    space = ProtectionSpace(UpstreamId("office", "http://proxy.test:3128"), "", scheme.family)
    authenticator = scheme.authenticator(challenge, login, "proxy.test")
    return Credentials(
        LoginId(space, 1), login, scheme, challenge, authenticator, AcceptanceRecord()
    )


BASIC, NTLM, TICKET = (credentials(one) for one in (Basic(), ntlm_like_scheme(), TicketScheme()))


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE", b"CONNECT"])
def test_an_idempotent_request_is_repeated_after_a_reused_connection_failed(method: bytes) -> None:
    assert repeat_of(LostRequest(method, SENT, connection_was_used=True)) is Repeat.YES
    assert repeat_of(LostRequest(method, SENT)) is Repeat.NO


@pytest.mark.parametrize("method", [b"POST", b"PATCH", b"LINK"])
def test_another_request_is_repeated_only_if_none_of_it_was_sent(method: bytes) -> None:
    used = LostRequest(method, SENT, connection_was_used=True)
    assert repeat_of(used) is Repeat.NO
    assert repeat_of(replace(used, progress=NOTHING_SENT)) is Repeat.YES
    assert repeat_of(LostRequest(method, NOTHING_SENT)) is Repeat.NO


def test_content_that_is_not_held_is_never_repeated() -> None:
    for may_be_challenged in (False, True):
        lost = LostRequest(
            b"PUT", NOT_HELD, may_be_challenged=may_be_challenged, connection_was_used=True
        )
        assert repeat_of(lost) is Repeat.NO
        unread = Progress(was_sent=True, is_sent=True, is_repeatable=False)
        assert repeat_of(replace(lost, progress=unread)) is Repeat.YES


@pytest.mark.parametrize(
    ("method", "progress", "expected"),
    [
        (b"PUT", MID_UPLOAD, Repeat.EXPECTING_100),
        (b"POST", MID_UPLOAD, Repeat.NEXT_EXPECTING_100),
        (b"POST", UNSENT_UPLOAD, Repeat.EXPECTING_100),
        (b"PUT", UPLOADED, Repeat.NO),
        (b"GET", SENT, Repeat.NO),
    ],
)
def test_an_upload_cut_off_before_its_end_expects_a_100(
    method: bytes, progress: Progress, expected: Repeat
) -> None:
    """The 407 may have been lost."""
    assert repeat_of(LostRequest(method, progress, may_be_challenged=True)) is expected


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Repeat.YES),
        ({"method": b"POST"}, Repeat.NO),
        ({"was_unread": False}, Repeat.NO),
        ({"connection_was_used": False}, Repeat.NO),
        ({"carried": NTLM}, Repeat.NO),
        ({"progress": UPLOADED}, Repeat.NO),
        ({"progress": NOTHING_SENT, "was_unread": False, "carried": NTLM}, Repeat.YES),
        # A Kerberos ticket contains no password.
        ({"carried": TICKET, "was_unread": False}, Repeat.YES),
        # The user's own sign-in on Windows contains no password, either.
        ({"carried": replace(BASIC, login=None), "was_unread": False}, Repeat.YES),
        # The login was accepted before.
        ({"is_on_trial": False, "was_unread": False}, Repeat.YES),
    ],
)
def test_a_login_on_trial_is_repeated_only_if_the_next_hop_has_not_read_it(
    changes: dict[str, object], expected: Repeat
) -> None:
    lost = LostRequest(
        b"GET", SENT, BASIC, is_on_trial=True, was_unread=True, connection_was_used=True
    )
    assert repeat_of(replace(lost, **changes)) is expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("method", "progress", "expected"),
    [
        (b"GET", SENT, True),
        (b"POST", SENT, False),
        (b"PUT", UPLOADED, True),
        (b"PUT", NOT_HELD, False),
    ],
)
def test_a_request_is_repeated_without_its_login_if_it_is_idempotent_and_held(
    method: bytes, progress: Progress, expected: bool
) -> None:
    assert may_repeat_without_login(method, progress) is expected


RECENT = replace(BASIC, acceptance=AcceptanceRecord(is_recent=True))


@pytest.mark.parametrize(
    ("head", "carried", "expected"),
    [
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", None, True),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", RECENT, True),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BASIC, False),
        (b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", NTLM, False),
        (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", None, True),
        (b"PUT http://a/ HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n", None, False),
        (b"POST http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", None, False),
    ],
)
def test_a_connection_is_given_up_only_if_the_request_is_repeated_without_a_log_on(
    head: bytes, carried: Credentials | None, expected: bool
) -> None:
    assert may_be_replaced(Message(parse_request(head), carried, carried)) is expected
