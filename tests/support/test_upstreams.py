"""Tests for tests.support.upstreams, with curl straight through them."""

from collections.abc import Iterator

import pytest

from tests.support.clients import Clients
from tests.support.origin import Origin
from tests.support.recording_relay import RecordingRelay
from tests.support.squid import SquidSetup, squid
from tests.support.upstreams import UpstreamKind, upstream
from trayproxy.auth.login import Login

RIGHT = Login("alice", "pa55word")
WRONG = Login("alice", "wrong")
SAYS_401 = {UpstreamKind.TINYPROXY}


@pytest.fixture(scope="module")
def behind() -> Iterator[int]:
    """The port of a proxy without a sign-in."""
    with squid(SquidSetup(schemes=())) as running:
        yield running.port


@pytest.fixture
def origin() -> Iterator[Origin]:
    """An origin by its address: not every upstream resolves names of the tests."""
    with Origin("127.0.0.1") as server:
        yield server


@pytest.fixture(params=UpstreamKind, ids=lambda kind: kind.name.lower())
def kind(request: pytest.FixtureRequest) -> UpstreamKind:
    found: UpstreamKind = request.param
    return found


@pytest.fixture
def proxy(kind: UpstreamKind, behind: int) -> Iterator[RecordingRelay]:
    with upstream(kind, RIGHT, behind) as running:
        yield running


@pytest.mark.parametrize("how", [(), ("--proxytunnel",)], ids=["plain", "tunnel"])
def test_a_right_login_is_served_and_a_wrong_login_is_counted(
    proxy: RecordingRelay,
    kind: UpstreamKind,
    origin: Origin,
    clients: Clients,
    how: tuple[str, ...],
) -> None:
    scheme = "--proxy-digest" if "DIGEST" in kind.name or "STALE" in kind.name else "--proxy-basic"
    arguments = ("-x", proxy.url, scheme, *how, "-w", "%{http_code} %{http_connect}")
    said = []
    for login in (RIGHT, WRONG):
        pair = f"{login.user}:{login.password}"
        url = origin.url("/hello")
        said.append(clients.curl(*arguments, "-U", pair, url).result().out)
    assert said[0].startswith("hello")
    refused = "401" if kind in SAYS_401 else "407"
    assert refused in said[1]
    assert [attempt.refused for attempt in proxy.attempts()] == [False, True]
    assert proxy.failed_logons() == 1
