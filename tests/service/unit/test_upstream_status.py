"""Tests for trayproxy.service.upstream_status: captive portals and unreachable upstreams."""

from dataclasses import replace

import pytest

from tests.support.values import LAB, OFFICE
from trayproxy.control.messages import UpstreamState
from trayproxy.engine.error_pages import not_found
from trayproxy.engine.upstream.route import Route
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.service.upstream_status import UpstreamStatus

PORTAL = "http://portal.test/"
VIA_OFFICE, VIA_LAB = Route.via_profile(OFFICE), Route.via_profile(LAB)


def pages(status: UpstreamStatus) -> list[str]:
    return [notice.url for notice in status.notices]


def test_a_portal_of_the_system_is_told_until_the_upstream_responds() -> None:
    status = UpstreamStatus(lambda: None)
    status.use(OFFICE, is_same=False)
    status.network_portal(PORTAL)
    status.reached(VIA_LAB)
    assert pages(status) == [PORTAL]
    status.reached(VIA_OFFICE)
    assert pages(status) == []


def test_a_direct_response_may_be_one_of_the_portal() -> None:
    status = UpstreamStatus(lambda: None)
    status.use(None, is_same=False)
    status.network_portal(PORTAL)
    status.reached(Route.direct())
    assert pages(status) == [PORTAL]
    status.network_portal("")
    assert pages(status) == []


def test_only_a_change_is_published() -> None:
    changes: list[str] = []
    status = UpstreamStatus(lambda: changes.append("changed"))
    status.network_portal("")
    status.network_portal(PORTAL)
    status.network_portal(PORTAL)
    assert len(changes) == 1


def test_an_upstream_that_stops_to_respond_is_reported_once() -> None:
    stops: list[str] = []
    status = UpstreamStatus(lambda: None)
    status.use(OFFICE, is_same=False)
    status.on_unreachable = lambda: stops.append("stopped")
    page = not_found("proxy.example", through_upstream=True)
    for _ in range(3):
        status.failed(VIA_OFFICE, page)
    status.failed(VIA_LAB, page)
    assert len(stops) == 1
    status.reached(VIA_OFFICE)
    status.failed(VIA_OFFICE, page)
    assert len(stops) == 2


@pytest.mark.parametrize("is_automatic", [True, False])
def test_in_another_network_a_script_may_do_without_the_upstream(*, is_automatic: bool) -> None:
    """The script names no proxy at home: no response would tell that the proxy is not needed."""
    source = PacSource(PacKind.URL, "http://pac.example/x.pac") if is_automatic else None
    profile = replace(OFFICE, pac=source)
    status = UpstreamStatus(lambda: None)
    status.use(profile, is_same=False)
    route = Route.via_profile(replace(profile, pac=None) if is_automatic else profile)
    status.failed(route, not_found("proxy.example", through_upstream=True))
    assert status.problem is not None
    status.network_changed()
    state = UpstreamState.UNKNOWN if is_automatic else UpstreamState.UNREACHABLE
    assert (status.state, status.problem is None) == (state, is_automatic)
