"""The password is where it belongs, and nowhere else."""

import json

from msgspec import to_builtins

from tests.end2end.scenario import Scenario, StartService
from tests.support.clients import Clients
from tests.support.origin import Origin
from tests.support.processes import Home
from tests.support.scripted_upstream import ScriptedUpstream, answering, challenge
from tests.support.searchable_secret import (
    SearchableSecret,
    files_below,
    process_and_children,
    text,
)
from tests.support.squid import Squid


def test_no_password_is_left_anywhere(scenario: Scenario, place: Home) -> None:
    mistyped = SearchableSecret()
    user = scenario.start(mistyped.login, scenario.login)
    for options in ((), ("--proxytunnel",)):
        got = user.curl(*options, scenario.origin.url("/hello")).result()
        assert got.out == "hello", got
    scenario.keyring.wait_for_entries(1)
    running = list(process_and_children(user.service.pid))
    status = json.dumps(to_builtins(user.service.status()))
    assert user.service.stop() == 0
    for secret in (mistyped, scenario.account):
        secret.assert_absent(running)
        secret.assert_absent(files_below(place.root))
        secret.assert_absent(files_below(scenario.keyring.home))
        secret.assert_absent(
            [
                text("status", status),
                text("log", user.service.log()),
                ("control socket", user.front_end.trace),
                text("origin", repr(scenario.origin.received)),
            ]
        )


def test_a_password_from_standard_input_is_left_nowhere(
    run: StartService,
    proxy: Squid,
    account: SearchableSecret,
    clients: Clients,
    origin: Origin,
    place: Home,
) -> None:
    service = run("--upstream", proxy.url, login=account.login)
    assert clients.curl("-x", service.url, origin.url("/hello")).result().out == "hello"
    account.assert_absent(process_and_children(service.pid))
    assert service.stop() == 0
    account.assert_absent([*files_below(place.root), text("log", service.log())])


def test_a_response_other_than_http_does_not_put_the_password_into_the_log(
    run: StartService, account: SearchableSecret, clients: Clients, origin: Origin, place: Home
) -> None:
    strange = b"\x00\x01garbage\r\n\r\n"
    with ScriptedUpstream(answering(challenge('Basic realm="x"'), strange)) as upstream:
        service = run("--upstream", upstream.url, "--no-prompt", login=account.login)
        got = clients.curl("-x", service.url, "-i", origin.url("/hello")).result()
    assert service.stop() == 0
    found = [text("log", service.log()), text("page", got.out), *files_below(place.root)]
    account.assert_absent(found)
