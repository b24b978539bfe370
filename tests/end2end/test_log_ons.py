"""One failed log-on for each wrong password, also during faults."""

import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.end2end.scenario import AttachFrontEnd, StartService
from tests.support.clients import Clients
from tests.support.process_output import PATIENCE
from tests.support.scripted_upstream import OK, ScriptedConnection, ScriptedUpstream, challenge
from trayproxy.auth.basic import basic_credentials
from trayproxy.auth.login import Login

ASKS = challenge('Basic realm="Corp"')
WRONG, RIGHT = Login("jdoe", "wrong"), Login("jdoe", "right")


class CountingProxy:
    """A proxy that counts failed log-ons.

    Attributes:
        failed: The number of failed log-ons.
        says: The reaction to a wrong password: ``407``, ``hangs up`` or ``nothing``.
        spared: For this number of requests with a login, right or wrong, it closes the connection.
    """

    def __init__(self, says: str = "407") -> None:
        self.right = basic_credentials(RIGHT, "utf-8")
        self.says = says
        self.failed = 0
        self.spared = 0
        self.came = threading.Event()
        self.is_over = threading.Event()

    def play(self, peer: ScriptedConnection) -> None:
        """Answer the requests of a connection."""
        while True:
            head = peer.read_head()
            if b"\r\nProxy-Authorization:" not in head:
                peer.send(ASKS)
                continue
            if self.spared:
                self.spared -= 1
                return
            if self.right in head:
                peer.send(OK)
                continue
            self.failed += 1
            self.came.set()
            if self.says == "hangs up":
                return
            if self.says == "nothing":
                self.is_over.wait()
                return
            peer.send(ASKS)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def serve(stack: ExitStack, proxy: CountingProxy) -> ScriptedUpstream:
    upstream = stack.enter_context(ScriptedUpstream(proxy.play))
    stack.callback(proxy.is_over.set)
    return upstream


@pytest.mark.parametrize(("says", "most"), [("407", 1), ("hangs up", 2)])
def test_repeated_starts_do_not_repeat_a_wrong_password(
    run: StartService, clients: Clients, stack: ExitStack, says: str, most: int
) -> None:
    proxy = CountingProxy(says)
    upstream = serve(stack, proxy)
    for name in ("127.0.0.1", "localhost", "127.0.0.1"):
        url = f"http://{name}:{upstream.port}"
        service = run("--upstream", url, "--no-prompt", login=WRONG)
        curls = [clients.curl("-x", service.url, "http://site.test/") for _ in range(5)]
        assert all("503" in str(curl.result()) or curl.result().out for curl in curls)
        assert service.stop() == 0
    assert proxy.failed <= most


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_service_ended_during_a_trial_does_not_repeat_the_login(
    run: StartService, clients: Clients, stack: ExitStack, ending: signal.Signals
) -> None:
    proxy = CountingProxy("nothing")
    upstream = serve(stack, proxy)
    first = run("--upstream", upstream.url, "--no-prompt", login=WRONG)
    waiting = clients.curl("-x", first.url, "http://site.test/")
    assert proxy.came.wait(PATIENCE)
    first.process.signal(ending)
    first.process.wait(PATIENCE)
    waiting.result()
    for _ in range(2):
        service = run("--upstream", upstream.url, "--no-prompt", login=WRONG)
        clients.curl("-x", service.url, "http://site.test/").result()
        assert service.stop() == 0
    assert proxy.failed == 1


def test_a_typed_password_is_sent_after_an_interrupted_trial(
    run: StartService, attach: AttachFrontEnd, clients: Clients, stack: ExitStack
) -> None:
    """The login of the second start is held back, because the hash of the first is not recorded."""
    proxy = CountingProxy("nothing")
    upstream = serve(stack, proxy)
    first = run("--upstream", upstream.url, "--no-prompt", login=WRONG)
    waiting = clients.curl("-x", first.url, "http://site.test/")
    assert proxy.came.wait(PATIENCE)
    first.process.signal(signal.SIGKILL)
    first.process.wait(PATIENCE)
    waiting.result()
    second = run("--upstream", upstream.url, login=WRONG)
    front_end = attach(second)
    got = clients.curl("-x", second.url, "-i", "http://site.test/")
    front_end.answer(front_end.wait_for_prompt(), RIGHT)
    assert "200 OK" in got.result().out
    front_end.close()
    assert second.stop() == 0
    assert proxy.failed == 1


def test_a_right_password_is_sent_again_after_a_closed_connection(
    run: StartService, clients: Clients, stack: ExitStack
) -> None:
    """The request waits for the next try instead of failing with 502."""
    proxy = CountingProxy()
    proxy.spared = 1
    upstream = serve(stack, proxy)
    service = run("--upstream", upstream.url, "--no-prompt", login=RIGHT)
    got = clients.curl("-x", service.url, "-i", "http://site.test/").result()
    assert "200 OK" in got.out
    assert service.stop() == 0
