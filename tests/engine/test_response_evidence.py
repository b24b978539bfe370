"""Tests for the evidence of responses about a login, with an engine."""

import pytest

from tests.engine.conftest import Start, StartScripted
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.wire import get
from tests.support.scripted_upstream import ScriptedUpstream, answering, challenge
from trayproxy.auth.basic import Basic

GET = get(b"http://site.test/page")


def test_a_captive_portal_is_reported_each_time(start_scripted: StartScripted) -> None:
    no = b"HTTP/1.1 511 Sign in\r\nContent-Length: 2\r\n\r\nno"
    engine, _ = start_scripted(answering(no))
    with engine.connect() as client:
        for _ in range(3):
            assert client.ask(GET).status == 511
    assert engine.observer.pages == ["http://site.test/"] * 3


@pytest.mark.parametrize(
    ("answer", "is_doubtful"),
    [
        (b"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno", True),
        (b"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", False),
    ],
    ids=["500", "404"],
)
def test_a_response_without_proof_is_relayed_and_reported(
    start_scripted: StartScripted, answer: bytes, is_doubtful: bool
) -> None:
    engine, _ = start_scripted(
        answering(challenge('Basic realm="corp"'), answer),
        desk=FakeBroker(LOGIN, schemes=[Basic()]),
    )
    with engine.connect() as client:
        assert client.ask(GET).body == b"no"
    assert engine.desk.unproved == [("site.test:80", is_doubtful)]
    assert engine.desk.accepted == []


def test_a_response_of_the_site_confirms_an_accepted_login(start: Start) -> None:
    no = b"HTTP/1.1 %d No\r\nContent-Length: 2\r\n\r\nno"
    with ScriptedUpstream(answering(no % 500, no % 404)) as upstream:
        desk = FakeBroker(LOGIN, schemes=[Basic()], is_known=True)
        with start(office(upstream.port), desk).connect() as client:
            assert client.ask(GET).status == 500
            assert desk.accepted == []
            assert client.ask(GET).status == 404
    assert len(desk.accepted) == 1
    assert desk.unproved == [("site.test:80", True)]
