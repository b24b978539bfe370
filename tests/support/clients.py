"""Client programs of a proxy.

Each method starts a program and returns a `Job`: the program may wait for a sign-in while the test
answers the prompt.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.processes import Home, Job, Process

_REQUESTS = """\
import sys
import requests

answer = requests.get(sys.argv[1], timeout=60, verify=sys.argv[2] or True)
print(answer.status_code)
sys.stdout.write(answer.text)
"""


@dataclass(slots=True)
class Clients:
    """Starts clients, and ends them."""

    home: Home
    jobs: list[Job] = field(default_factory=list)

    def curl(self, *arguments: str, **more: str) -> Job:
        """Run curl without a progress meter, with further environment variables."""
        return self._start(["curl", "--silent", "--show-error", *arguments], **more)

    def requests(self, url: str, proxy: str, *, trust: Path | None = None) -> Job:
        """Get a URL with Python's requests; environment variables configure the proxy.

        The output is a line with the status, and the content.
        """
        argv = [sys.executable, "-c", _REQUESTS, url, str(trust or "")]
        return self._start(argv, http_proxy=proxy, https_proxy=proxy)

    def start(self, *argv: str) -> Job:
        """Run a program without an address of the proxy."""
        return self._start(list(argv))

    def git(self, proxy: str, *arguments: str, trust: Path | None = None) -> Job:
        """Run a Git command through a proxy."""
        options = ["-c", f"http.proxy={proxy}", "-c", "user.name=Test", "-c", "user.email=t@test"]
        if trust:
            options += ["-c", f"http.sslCAInfo={trust}"]
        # A client must never prompt for the login that TrayProxy knows.
        environment = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
        return self._start(["git", *options, *arguments], **environment)

    def chromium(
        self, url: str, proxy: str = "", *, pin: str = "", session: Mapping[str, str] | None = None
    ) -> Job:
        """Load a page in headless Chromium; the output is the resulting document.

        Args:
            url: The page.
            proxy: The proxy; empty to use the system proxy.
            pin: A public key (`Certificate.pin`) for which certificates are accepted.
            session: The environment of the session with the system proxy.
        """
        profile = self.home.path(f"chromium-{len(self.jobs)}")
        # Without the list, Chromium connects to 127.0.0.1 and localhost directly.
        by_option = [f"--proxy-server={proxy}", "--proxy-bypass-list=<-loopback>"]
        return self._start(
            [
                "chromium",
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
                "--disable-dev-shm-usage",
                "--disable-background-networking",
                "--disable-component-update",
                "--disable-sync",
                "--no-first-run",
                "--password-store=basic",
                f"--user-data-dir={profile}",
                *(by_option if proxy else []),
                *([f"--ignore-certificate-errors-spki-list={pin}"] if pin else []),
                "--dump-dom",
                url,
            ],
            **(session or {}),
        )

    def close(self) -> None:
        """End all running clients."""
        for job in self.jobs:
            job.process.end()

    def _start(self, argv: list[str], **more: str) -> Job:
        process = Process(argv, env=self.home.environment(**more), cwd=self.home.path("work"))
        self.jobs.append(Job(process))
        return self.jobs[-1]
