"""Remembers which upstreams inspect TLS, and keeps the file with the certificates up to date."""

import asyncio
from collections.abc import Callable
from logging import getLogger
from typing import TYPE_CHECKING

from trayproxy.paths import Paths
from trayproxy.profiles.profile import Upstream
from trayproxy.system_settings.entries import TargetError

if TYPE_CHECKING:
    from trayproxy.service.own_requests.certificate_finding import CertificateFinding

REFRESH_S = 86_400.0
"""The seconds between two refreshes of the file."""

_log = getLogger(__name__)


class CompanyCaFile:
    """The file with the company's certificate authorities, see `trayproxy.desktop.company_ca`.

    All files are read and written in other threads. Modules are imported on first use: most users
    need no such file.
    """

    def __init__(self, paths: Paths, *, is_kept: bool) -> None:
        """Create an instance for the running event loop; with `is_kept` False, write no file."""
        self._loop = asyncio.get_running_loop()
        self._paths = paths
        self._is_kept = is_kept
        self._timer: asyncio.TimerHandle | None = None
        self._lock = asyncio.Lock()

    def start(self) -> None:
        """Bring the file up to date now and once a day, if it exists."""
        if self._is_kept:
            self._run(self._refresh)
            self._timer = self._loop.call_later(REFRESH_S, self.start)

    def close(self) -> None:
        """Stop the daily update."""
        if self._timer is not None:
            self._timer.cancel()

    def _refresh(self) -> None:
        # Other programs may name an existing file in their settings.
        if self._paths.ca_file.exists():
            from trayproxy.desktop.company_ca import update_ca_file

            update_ca_file(self._paths)

    async def record(self, upstream: Upstream, finding: "CertificateFinding") -> None:
        """Record a certificate that a test of a profile has seen through an upstream.

        Many proxies do not inspect some sites, such as banks: a public certificate of a site of the
        user's choice proves nothing about others.
        """
        from trayproxy.service.own_requests.certificate_finding import IssuerKind

        if not self._is_kept:
            return
        if finding.kind is IssuerKind.COMPANY:
            await self._store(str(upstream), finding.issuer)
        elif finding.kind is IssuerKind.PUBLIC and finding.is_of_public_site:
            await self._store(str(upstream), None)

    async def _store(self, upstream: str, issuer: str | None) -> None:
        def write() -> None:
            from trayproxy.desktop.company_ca import refresh_ca_file, store_upstream

            store_upstream(self._paths, upstream, issuer)
            if issuer is not None:
                refresh_ca_file(self._paths)

        async with self._lock:
            await self._run(write)

    def _run(self, function: Callable[[], object]) -> "asyncio.Future[None]":
        def guarded() -> None:
            try:
                function()
            except (OSError, TargetError) as error:
                _log.warning("the file with the company's certificates: %s", error)

        return self._loop.run_in_executor(None, guarded)
