"""The PAC scripts of the automatic profiles in use: one loader and one evaluator for each.

A draft of a profile, which is tested before it is saved, has a loader and an evaluator of its own,
so that the requests of the saved profile are not affected.
"""

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from trayproxy.desktop.network_identity.factory import network_reader
from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.desktop.system_pac.factory import read_system_setting
from trayproxy.engine.engine import Engine
from trayproxy.engine.net.resolver import literal_address
from trayproxy.pac.direct_connection import DownloadError
from trayproxy.pac.evaluator import Evaluator
from trayproxy.pac.fetch import PacTools
from trayproxy.pac.loader import PacLoader
from trayproxy.pac.names import NameTable
from trayproxy.pac.script_thread import ScriptThread
from trayproxy.pac.state import PacState
from trayproxy.pac.system_resolver import SystemResolver
from trayproxy.paths import Paths
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.service.pac_routes import PacRoutes
from trayproxy.service.upstream_status import ScriptStatus


@dataclass(frozen=True, slots=True)
class _Opened:
    """The routes of a profile, as they were opened for this profile."""

    profile: Profile
    routes: PacRoutes


class PacProfiles:
    """Opens the scripts of automatic profiles. Each stays loaded until the service ends, the
    profile is deleted, or the source of the script changes."""

    def __init__(
        self,
        engine: Engine,
        paths: Paths,
        loop: asyncio.AbstractEventLoop,
        on_status: Callable[[ScriptStatus], None],
    ) -> None:
        """Create an instance without scripts; `on_status` is called when the state of a script
        changes."""
        self._engine = engine
        self._paths = paths
        self._loop = loop
        self._on_status = on_status
        self._thread = ScriptThread()
        self._names = NameTable(SystemResolver(), loop.time)
        self._checks: set[asyncio.Task[None]] = set()
        self._opened: dict[str, _Opened] = {}

    def routes_of(self, profile: Profile) -> PacRoutes:
        """Return the routes of an automatic profile. The first call begins to load its script."""
        opened = self._opened.get(profile.id)
        if opened is not None and _loads_the_same(opened.profile, profile):
            opened.routes.use(profile)
        else:
            if opened is not None:
                opened.routes.close()
            opened = _Opened(profile, self._open(profile))
        self._opened[profile.id] = _Opened(profile, opened.routes)
        return opened.routes

    def routes_of_draft(self, profile: Profile) -> PacRoutes:
        """Return the routes of an automatic profile that is not saved. Close them after use."""
        return self._open(profile, is_draft=True)

    def close_unsaved(self, find: Callable[[str], Profile | None]) -> None:
        """Stop to load the scripts that no profile has any more; `find` returns the profile with an
        id."""
        for profile_id, opened in list(self._opened.items()):
            saved = find(profile_id)
            if saved is None or not _loads_the_same(opened.profile, saved):
                self._opened.pop(profile_id).routes.close()

    def _open(self, profile: Profile, *, is_draft: bool = False) -> PacRoutes:
        assert profile.pac is not None
        routes: list[PacRoutes] = []

        def changed(state: PacState) -> None:
            is_new = routes[0].changed(state)
            if is_draft:
                return
            self._on_status(ScriptStatus(profile.id, state.problem, not state.is_settled))
            if is_new:
                self._checks.add(task := self._loop.create_task(self._check(profile, routes[0])))
                task.add_done_callback(self._checks.discard)

        own = self._engine.context.own_address

        def read_system() -> SystemSetting:
            return read_system_setting(self._paths.system_proxy_file, [(own.host, own.port)])

        tools = PacTools(
            self._paths.pac_folder,
            partial(ssl_context, profile.ca_file),
            read_system,
            dns_suffixes,
        )
        loader = PacLoader(profile.pac, tools, changed)
        routes.append(
            PacRoutes(profile, loader, self._make_evaluator, self._loop.time, self._is_own)
        )
        loader.start()
        return routes[0]

    def _is_own(self, upstream: Upstream) -> bool:
        """Return whether an upstream is TrayProxy itself."""
        host = "127.0.0.1" if upstream.host == "localhost" else upstream.host
        own_address = self._engine.context.own_address
        return own_address.is_among(literal_address(host, upstream.port))

    async def _check(self, profile: Profile, routes: PacRoutes) -> None:
        """Report a new script that cannot be run, before a request needs it."""
        problem = await routes.check()
        if problem is not None:
            self._on_status(ScriptStatus(profile.id, problem, is_blocking=True))

    def _make_evaluator(self, script: str) -> Evaluator:
        return Evaluator(script, self._thread, self._names, self._loop.time)

    def network_changed(self) -> None:
        """Forget answers and names, and load the scripts again."""
        self._names.forget()
        for opened in self._opened.values():
            opened.routes.forget()
            opened.routes.loader.network_changed()

    def close(self) -> None:
        """Stop loading, and end the thread of the scripts."""
        for check in self._checks:
            check.cancel()
        for opened in self._opened.values():
            opened.routes.close()
        self._opened.clear()
        self._thread.close()


def _loads_the_same(first: Profile, second: Profile) -> bool:
    return (first.pac, first.ca_file) == (second.pac, second.ca_file)


def ssl_context(ca_file: str) -> ssl.SSLContext:
    """Return the context for a script at an https URL: with the authorities of a file, or with
    those of the system if `ca_file` is empty. Reads files: call it in a thread.

    Raises:
        DownloadError: The file cannot be read, or contains no certificate.
    """
    from trayproxy.engine.net.handshake_error import HandshakeError
    from trayproxy.engine.net.tls import private_ca_context, system_context

    try:
        return private_ca_context(Path(ca_file).read_bytes()) if ca_file else system_context()
    except OSError as error:
        raise DownloadError(f"{ca_file}: {error.strerror or error}") from None
    except HandshakeError as error:
        raise DownloadError(f"{ca_file}: {error.reason}") from None


def dns_suffixes() -> Sequence[str]:
    """Return the DNS suffixes of the present network. Waits for services of the system: call it in
    a thread."""
    return network_reader()().dns_suffixes
