"""Running headless browsers that follow the system proxy of their session.

They stay open and load one page after the other, so that a test also sees whether they notice a
changed system proxy.
"""

import json
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from time import monotonic
from typing import IO, Any

from tests.support.process_output import PATIENCE
from tests.support.processes import Home, running

Load = Callable[[str], str]
"""Loads a URL; returns the text of the page, or of the browser's error page."""

_FIREFOX_PREFERENCES = {
    # 5: the system proxy, the default.
    "network.proxy.type": 5,
    "marionette.port": 0,
    "services.settings.server": "data:,",
    "dom.security.https_first": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "browser.safebrowsing.update.enabled": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "toolkit.telemetry.server": "data:,",
}


def wait_for_page(load: Load, url: str, is_expected: Callable[[str], bool]) -> None:
    """Load a page until it is the expected one: browsers notice a changed system proxy later.

    Raises:
        AssertionError: It is another page until the timeout.
    """
    deadline = monotonic() + PATIENCE
    while not is_expected(page := load(url)):
        assert monotonic() < deadline, page


@contextmanager
def firefox(place: Home, session: Mapping[str, str], name: str) -> Iterator[Load]:
    """Run Firefox, which is driven by its Marionette protocol, until the end of the block.

    Args:
        place: The folder of its profile.
        session: The environment of the session.
        name: A host name that stands for 127.0.0.1 without a proxy.
    """
    profile = place.path("firefox")
    preferences = {**_FIREFOX_PREFERENCES, "network.dns.localDomains": name}
    (profile / "user.js").write_text(
        "".join(f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in preferences.items()),
        "utf-8",
    )
    argv = ["firefox-esr", "--headless", "--marionette", "--profile", str(profile), "about:blank"]
    with running(argv, env=session, cwd=place.root) as process:
        port = int(process.out.wait_for(r"Listening on port (\d+)")[1])
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
            marionette = _Marionette(connection)
            marionette.call("WebDriver:NewSession")

            def load(url: str) -> str:
                # An error page is an error of the command.
                marionette.call("WebDriver:Navigate", url=url)
                return str(marionette.call("WebDriver:GetPageSource").get("value", ""))

            yield load


class _Marionette:
    """The client's side of ``remote/marionette/transport.sys.mjs``: JSON after its length."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._stream = connection.makefile("rb")
        self._numbers = count()
        self._receive()

    def call(self, command: str, **parameters: object) -> dict[str, object]:
        """Run a command; return its result, or its error."""
        text = json.dumps([0, next(self._numbers), command, parameters])
        self._connection.sendall(f"{len(text)}:{text}".encode("ascii"))
        _, _, error, result = self._receive()
        return dict(error or result)

    def _receive(self) -> list[dict[str, object]]:
        length = b"".join(iter(lambda: self._stream.read(1), b":"))
        message: list[dict[str, object]] = json.loads(self._stream.read(int(length)))
        return message


@contextmanager
def chromium(place: Home, session: Mapping[str, str], name: str) -> Iterator[Load]:
    """Run Chromium, which is driven by its DevTools protocol, until the end of the block.

    Args:
        place: The folder of its profile.
        session: The environment of the session.
        name: A host name that stands for 127.0.0.1 without a proxy.
    """
    options = (
        "--headless --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage"
        " --disable-background-networking --disable-component-update --disable-sync --no-first-run"
        f" --password-store=basic --user-data-dir={place.path('chromium-profile')}"
        f" --remote-debugging-pipe --host-resolver-rules='MAP {name} 127.0.0.1' about:blank"
    )
    with subprocess.Popen(
        # Chromium reads the protocol from descriptor 3 and writes it to descriptor 4.
        ["bash", "-c", f"exec chromium {options} 3<&0 4>&1 </dev/null >/dev/null 2>&1"],
        env=dict(session),
        cwd=place.root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        try:
            tools = _DevTools(process.stdin, process.stdout)
            yield tools.load
            tools.call("Browser.close")
        finally:
            process.kill()


class _DevTools:
    """The client's side of the Chrome DevTools Protocol over pipes: JSON before an octet 0."""

    def __init__(self, output: IO[bytes], replies: IO[bytes]) -> None:
        self._output = output
        self._replies = replies
        self._numbers = count()
        self._session: dict[str, object] = {}
        [page] = [
            target["targetId"]
            for target in self.call("Target.getTargets")["targetInfos"]
            if target["type"] == "page"
        ]
        attached = self.call("Target.attachToTarget", targetId=page, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        self.call("Page.enable")

    def load(self, url: str) -> str:
        """Load a page; return its text."""
        self.call("Page.navigate", url=url)
        while self._receive().get("method") != "Page.loadEventFired":
            pass
        text = "document.documentElement.outerHTML"
        return str(self.call("Runtime.evaluate", expression=text)["result"]["value"])

    def call(self, method: str, **parameters: object) -> dict[str, Any]:
        """Run a command; return its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters, **self._session}
        self._output.write(json.dumps(message).encode("ascii") + b"\0")
        self._output.flush()
        while (reply := self._receive()).get("id") != number:
            pass
        assert "result" in reply, reply
        return dict(reply["result"])

    def _receive(self) -> dict[str, Any]:
        octets = b"".join(iter(lambda: self._replies.read(1), b"\0"))
        return dict(json.loads(octets))
