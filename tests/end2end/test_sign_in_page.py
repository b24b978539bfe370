"""Networks with a sign-in page of their own, and their report in the status."""

import json

from tests.end2end.scenario import HELLO, AttachFrontEnd, Scenario, StartService
from tests.support.clients import Clients
from tests.support.scripted_upstream import OK, ScriptedConnection, ScriptedUpstream, challenge
from trayproxy.auth.login import Login
from trayproxy.control.messages import Status, UseProfile
from trayproxy.domain.signin import SignInState
from trayproxy.profiles.profile import DIRECT_ID

LOGIN = Login("jdoe", "right")
PORTAL = "https://portal.example/login"


def portal(status: bytes) -> ScriptedUpstream:
    def play(peer: ScriptedConnection) -> None:
        while True:
            head = peer.read_head()
            if b"known.example" in head:
                peer.send(OK)
            elif b"Proxy-Authorization" not in head:
                peer.send(challenge('Basic realm="corp"'))
            else:
                line = b"HTTP/1.1 %s Elsewhere\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
                peer.send(line % (status, PORTAL.encode()))

    return ScriptedUpstream(play)


def page(status: Status) -> list[str]:
    return [notice.url for notice in status.notices if notice.id == "TP-310"]


def test_a_511_response_is_reported_until_another_response(
    run: StartService, attach: AttachFrontEnd, clients: Clients
) -> None:
    with portal(b"511") as upstream:
        service = run("--upstream", upstream.url, "--no-prompt", login=LOGIN)
        clients.curl("-x", service.url, "http://site.example/").result()
        status = service.status()
        assert page(status) == [PORTAL]
        (notice,) = (one for one in status.notices if one.id == "TP-310")
        assert json.dumps(notice.body).count(PORTAL) == 1
        # TrayProxy checks the login on pages of its own, and each of these 511s is told anew.
        attach(service).wait_for_status(lambda now: now.sign_in is SignInState.NEEDED)
        clients.curl("-x", service.url, "http://known.example/").result()
        assert page(service.status()) == []


def test_programs_connect_directly_for_a_while_and_then_through_the_profile(
    scenario: Scenario,
) -> None:
    user = scenario.start(scenario.login)
    assert user.fetch() == HELLO
    settings = user.service.paths.config_file.read_bytes()
    user.front_end.request_done(UseProfile(DIRECT_ID, 5))
    told = user.front_end.wait_for_status(lambda status: status.direct)
    assert told.direct_until is not None
    before = len(scenario.proxy.accesses())
    # The name of the site is known to the proxy alone.
    assert user.curl(f"http://127.0.0.1:{scenario.origin.port}/hello").result().out == "hello"
    assert len(scenario.proxy.accesses()) == before
    # A restart would go on with the profile.
    assert user.service.paths.config_file.read_bytes() == settings
    back = user.front_end.wait_for_status(lambda status: status.profile is not None)
    assert (back.direct, back.direct_until) == (False, None)
    assert user.fetch() == HELLO
    assert len(scenario.proxy.accesses()) > before


def test_choosing_a_profile_ends_the_temporary_direct_connections(scenario: Scenario) -> None:
    user = scenario.start(scenario.login)
    for chosen in (scenario.profile.id, DIRECT_ID):
        user.front_end.request_done(UseProfile(scenario.profile.id))
        user.front_end.request_done(UseProfile(DIRECT_ID, 300))
        user.front_end.request_done(UseProfile(chosen))
        assert user.service.status().direct_until is None
    assert user.service.status().direct


def test_a_redirect_to_a_log_in_page_is_reported(
    run: StartService, attach: AttachFrontEnd, clients: Clients
) -> None:
    """The test page of the service never redirects to another host, so the network does."""
    with portal(b"307") as upstream:
        service = run("--upstream", upstream.url, "--no-prompt", login=LOGIN)
        clients.curl("-x", service.url, "http://site.example/").result()
        assert page(attach(service).wait_for_status(lambda now: bool(page(now)))) == [PORTAL]
