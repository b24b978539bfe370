"""The password is where it belongs, and nowhere else."""

import json

from msgspec import to_builtins

from tests.end2end.stage import Office, Run
from tests.support.clients import Clients
from tests.support.origin import Origin
from tests.support.processes import Home
from tests.support.scripted import Scripted, answering, challenge
from tests.support.secrets import Canary, files_below, process_and_children, text
from tests.support.squid import Squid


def test_no_password_is_left_anywhere(office: Office, place: Home) -> None:
    mistyped = Canary()
    here = office.start(mistyped.login, office.login)
    for options in ((), ("--proxytunnel",)):
        got = here.curl(*options, office.origin.url("/hello")).result()
        assert got.out == "hello", got
    office.keyring.wait_for_entries(1)
    running = list(process_and_children(here.service.pid))
    status = json.dumps(to_builtins(here.service.status()))
    assert here.service.stop() == 0
    for secret in (mistyped, office.canary):
        secret.assert_absent(running)
        secret.assert_absent(files_below(place.root))
        secret.assert_absent(files_below(office.keyring.home))
        secret.assert_absent(
            [
                text("status", status),
                text("log", here.service.log()),
                ("control socket", here.front_end.trace),
                text("origin", repr(office.origin.heard)),
            ]
        )


def test_a_password_from_standard_input_is_left_nowhere(
    run: Run, proxy: Squid, canary: Canary, clients: Clients, origin: Origin, place: Home
) -> None:
    login = ("--user", canary.user, "--password-stdin")
    service = run("--upstream", proxy.url, *login, stdin=f"{canary.password}\n".encode())
    assert clients.curl("-x", service.url, origin.url("/hello")).result().out == "hello"
    canary.assert_absent(process_and_children(service.pid))
    assert service.stop() == 0
    canary.assert_absent([*files_below(place.root), text("log", service.log())])


def test_an_answer_that_is_no_http_does_not_put_the_password_into_the_log(
    run: Run, canary: Canary, clients: Clients, origin: Origin, place: Home
) -> None:
    strange = b"\x00\x01garbage\r\n\r\n"
    with Scripted(answering(challenge('Basic realm="x"'), strange)) as upstream:
        login = ("--user", canary.user, "--password-stdin", "--no-prompt")
        service = run("--upstream", upstream.url, *login, stdin=f"{canary.password}\n".encode())
        got = clients.curl("-x", service.url, "-i", origin.url("/hello")).result()
    assert service.stop() == 0
    found = [text("log", service.log()), text("page", got.out), *files_below(place.root)]
    canary.assert_absent(found)
