"""The programs that people point at a proxy, each with a home of its own.

Each call starts the program and returns a `Job`: it may wait for a sign-in while the test answers.
"""

import sys
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
    """Starts clients and ends them.

    Attributes:
        home: Where they live.
        jobs: All that were started.
    """

    home: Home
    jobs: list[Job] = field(default_factory=list)

    def curl(self, *arguments: str, **more: str) -> Job:
        """Run curl, without a progress meter, and with these further variables."""
        return self._start(["curl", "--silent", "--show-error", *arguments], **more)

    def requests(self, url: str, proxy: str, *, trust: Path | None = None) -> Job:
        """Get a URL with Python's requests, which is told of the proxy as usual: by variables.

        Its output is the status in a line, and the body.
        """
        argv = [sys.executable, "-c", _REQUESTS, url, str(trust or "")]
        return self._start(argv, http_proxy=proxy, https_proxy=proxy)

    def git(self, proxy: str, *arguments: str, trust: Path | None = None) -> Job:
        """Run a command of Git through a proxy."""
        options = ["-c", f"http.proxy={proxy}", "-c", "user.name=Test", "-c", "user.email=t@test"]
        if trust:
            options += ["-c", f"http.sslCAInfo={trust}"]
        # A client must never ask the person for the login that TrayProxy knows.
        environment = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
        return self._start(["git", *options, *arguments], **environment)

    def chromium(self, url: str, proxy: str, *, pin: str = "") -> Job:
        """Show a page in Chromium without a screen; the output is its document afterwards.

        Args:
            url: The page.
            proxy: The URL of the proxy.
            pin: Accept certificates for this public key (`Certificate.pin`).
        """
        profile = self.home.path(f"chromium-{len(self.jobs)}")
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
                f"--proxy-server={proxy}",
                # It would reach 127.0.0.1 and localhost without the proxy.
                "--proxy-bypass-list=<-loopback>",
                *([f"--ignore-certificate-errors-spki-list={pin}"] if pin else []),
                "--dump-dom",
                url,
            ]
        )

    def close(self) -> None:
        """End all that still run."""
        for job in self.jobs:
            job.process.end()

    def _start(self, argv: list[str], **more: str) -> Job:
        process = Process(argv, env=self.home.environment(**more), cwd=self.home.path("work"))
        self.jobs.append(Job(process))
        return self.jobs[-1]
