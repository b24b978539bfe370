"""One failed log-on for each wrong password, also during faults."""

import signal
import threading

import pytest

from tests.end2end.scenario import AttachFrontEnd, StartService
from tests.support.clients import Clients
from tests.support.process_output import PATIENCE
from tests.support.processes import Job
from tests.support.scripted_upstream import OK, ScriptedConnection, ScriptedUpstream, challenge
from tests.support.service import ServiceProcess
from trayproxy.auth.basic import basic_credentials
from trayproxy.auth.login import Login

ASKS = challenge('Basic realm="Corp"')
WRONG, RIGHT = Login("jdoe", "wrong"), Login("jdoe", "right")


class CountingProxy(ScriptedUpstream):
    """A proxy that counts failed log-ons.

    Attributes:
        failed: The number of failed log-ons.
        says: The reaction to a wrong password: ``407``, ``hangs up`` or ``nothing``.
        spared: For this number of requests with a login, right or wrong, it closes the connection.
        came: Set when a wrong password has come.
    """

    def __init__(self, says: str = "407", spared: int = 0) -> None:
        self.right = basic_credentials(RIGHT, "utf-8")
        self.says = says
        self.failed = 0
        self.spared = spared
        self.came = threading.Event()
        super().__init__(self._play)

    def _play(self, peer: ScriptedConnection) -> None:
        """Answer the requests of a connection."""
        while True:
            head = peer.read_head()
            if b"\r\nProxy-Authorization:" not in head:
                peer.send(ASKS)
            elif self.spared:
                self.spared -= 1
                return
            elif self.right in head:
                peer.send(OK)
            else:
                self.failed += 1
                self.came.set()
                if self.says == "nothing":
                    peer.hang()
                if self.says != "407":
                    return
                peer.send(ASKS)

    def get_through(self, service: ServiceProcess, clients: Clients) -> Job:
        """Start a program with a service in front of this proxy."""
        return clients.curl("-x", service.url, "-i", "http://site.test/")

    def end_during_trial(
        self, service: ServiceProcess, clients: Clients, ending: signal.Signals
    ) -> None:
        """End a service during the verification of a login."""
        waiting = self.get_through(service, clients)
        assert self.came.wait(PATIENCE)
        service.stop(ending)
        waiting.result()


@pytest.mark.parametrize(("says", "most"), [("407", 1), ("hangs up", 2)])
def test_repeated_starts_do_not_repeat_a_wrong_password(
    run: StartService, clients: Clients, says: str, most: int
) -> None:
    with CountingProxy(says) as proxy:
        for name in ("127.0.0.1", "localhost", "127.0.0.1"):
            url = f"http://{name}:{proxy.port}"
            service = run("--upstream", url, "--no-prompt", login=WRONG)
            curls = [clients.curl("-x", service.url, "http://site.test/") for _ in range(5)]
            assert all("503" in str(curl.result()) or curl.result().out for curl in curls)
            assert service.stop() == 0
    assert proxy.failed <= most


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGKILL])
def test_a_service_ended_during_a_trial_does_not_repeat_the_login(
    run: StartService, clients: Clients, ending: signal.Signals
) -> None:
    with CountingProxy("nothing") as proxy:
        first = run("--upstream", proxy.url, "--no-prompt", login=WRONG)
        proxy.end_during_trial(first, clients, ending)
        for _ in range(2):
            service = run("--upstream", proxy.url, "--no-prompt", login=WRONG)
            proxy.get_through(service, clients).result()
            assert service.stop() == 0
    assert proxy.failed == 1


def test_a_typed_password_is_sent_after_an_interrupted_trial(
    run: StartService, attach: AttachFrontEnd, clients: Clients
) -> None:
    """The login of the second start is held back, because the hash of the first is not recorded."""
    with CountingProxy("nothing") as proxy:
        first = run("--upstream", proxy.url, "--no-prompt", login=WRONG)
        proxy.end_during_trial(first, clients, signal.SIGKILL)
        second = run("--upstream", proxy.url, login=WRONG)
        front_end = attach(second)
        got = proxy.get_through(second, clients)
        front_end.answer(front_end.wait_for_prompt(), RIGHT)
        assert "200 OK" in got.result().out
        front_end.close()
        assert second.stop() == 0
    assert proxy.failed == 1


def test_a_right_password_is_sent_again_after_a_closed_connection(
    run: StartService, clients: Clients
) -> None:
    """The request waits for the next try instead of failing with 502."""
    with CountingProxy(spared=1) as proxy:
        service = run("--upstream", proxy.url, "--no-prompt", login=RIGHT)
        assert "200 OK" in proxy.get_through(service, clients).result().out
        assert service.stop() == 0
