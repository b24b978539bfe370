"""The reports of a client's request to the desk."""

from asyncio import CancelledError
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.fakes import FakeBroker, desk_for
from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login
from trayproxy.desk.broker import NoVerdict
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.proxy_auth.auth_port import PendingLogin
from trayproxy.engine.proxy_auth.request_broker import StreamRequestBroker
from trayproxy.engine.transfer.request_writer import ClientGoneError

UPSTREAM = UpstreamId("office", "http://proxy.test:3128")


def fake(**attributes: object) -> Any:
    """Return an object with these attributes."""
    return SimpleNamespace(**attributes)


class BrokerScenario:
    """The request broker of one request, and everything around it.

    Attributes:
        desk: The desk.
        request_broker: The request broker.
        reports: The reports to the desk.
        taken: The responses handed over to be read later.
        connection: The upstream connection; None without one.
        route: The route of the request.
    """

    def __init__(self) -> None:
        self.desk: FakeBroker = desk_for(Basic(), is_known=True)
        self.reports: list[Any] = []
        self.taken: list[Any] = []
        self.is_read = True
        self.desk.report = lambda *report: self.reports.append(report[1])  # type: ignore[method-assign]
        self.route = fake(authenticates_requests=True)
        self.downstream = fake(
            context=fake(broker=self.desk),
            upstream=fake(stream=fake(descriptor=7)),
            release=lambda descriptor: None,
            take_upstream=lambda: None,
        )
        self.lease = fake(
            route=self.route,
            unanswered_stream=None,
            auth=fake(late_verdicts=fake(read_response=self._read, read_socks_reply=self._read)),
        )
        target = fake(authority="origin.test:80")
        cached = fake(request=fake(target=target))
        self.request_broker = StreamRequestBroker(self.downstream, cached, self.lease)

    def _read(self, unanswered: object) -> bool:
        self.taken.append(unanswered)
        return self.is_read

    def interrupt(self, error: BaseException, *, on_trial: bool, was_sent: bool = True) -> None:
        """Report a login of an attempt that ends with an exception."""
        credentials = self.desk.known(UPSTREAM)
        assert credentials is not None
        login = PendingLogin(credentials, on_trial, was_sent=was_sent)
        self.request_broker.report_interrupted(login, error)


@pytest.fixture
def scenario() -> BrokerScenario:
    return BrokerScenario()


GONE = [ClientGoneError(), ConnectionResetError(), GeneratorExit(), CancelledError()]


@pytest.mark.parametrize("error", GONE, ids=repr)
@pytest.mark.parametrize("on_trial", [False, True])
def test_the_response_to_a_sent_login_is_read_after_its_client_disconnected(
    scenario: BrokerScenario, error: BaseException, on_trial: bool
) -> None:
    scenario.interrupt(error, on_trial=on_trial)
    assert (len(scenario.taken), scenario.reports) == (1, [])


@pytest.mark.parametrize("reason", ["not sent", "no connection", "socks", "too many readers"])
@pytest.mark.parametrize("on_trial", [False, True])
def test_only_a_sent_login_on_trial_may_have_cost_a_log_on_if_its_response_is_not_read(
    scenario: BrokerScenario, reason: str, on_trial: bool
) -> None:
    """A client closing its connection says nothing about a login which other requests use."""
    was_sent = reason != "not sent"
    if reason == "no connection":
        scenario.downstream.upstream = None
    elif reason == "socks":
        scenario.route.authenticates_requests = False
    scenario.is_read = reason != "too many readers"
    scenario.interrupt(ClientGoneError(), on_trial=on_trial, was_sent=was_sent)
    assert len(scenario.taken) == (reason == "too many readers")
    assert scenario.reports == [NoVerdict("ClientGoneError", was_sent=was_sent and on_trial)]


@pytest.mark.parametrize("on_trial", [False, True])
@pytest.mark.parametrize("was_sent", [False, True])
def test_a_sent_login_without_a_response_of_the_next_hop_may_have_cost_a_log_on(
    scenario: BrokerScenario, on_trial: bool, was_sent: bool
) -> None:
    scenario.interrupt(ValueError(), on_trial=on_trial, was_sent=was_sent)
    assert (scenario.taken, scenario.reports) == ([], [NoVerdict("ValueError", was_sent=was_sent)])


@pytest.mark.parametrize("is_read", [False, True])
def test_the_reply_of_a_socks_server_is_read_later_or_its_connection_is_closed(
    scenario: BrokerScenario, is_read: bool
) -> None:
    closed: list[bool] = []
    scenario.lease.unanswered_stream = fake(close=lambda: closed.append(True))
    scenario.is_read = is_read
    scenario.interrupt(ClientGoneError(), on_trial=True)
    assert (len(scenario.taken), bool(closed)) == (1, not is_read)
    assert scenario.lease.unanswered_stream is None
    expected = [] if is_read else [NoVerdict("ClientGoneError", was_sent=True)]
    assert scenario.reports == expected


def test_a_login_is_superseded_if_the_desk_knows_another_login_or_none(
    scenario: BrokerScenario,
) -> None:
    credentials = scenario.desk.known(UPSTREAM)
    assert credentials is not None
    is_superseded = scenario.request_broker.is_superseded
    assert not is_superseded(credentials)
    scenario.desk.login = Login("user", "new")
    assert is_superseded(credentials)
    scenario.desk.login = None
    assert is_superseded(credentials)
