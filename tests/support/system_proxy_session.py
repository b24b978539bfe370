"""A computer whose desktop session uses TrayProxy as its system proxy."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.dconf_session import DconfSession
from tests.support.processes import Home
from tests.support.service import ServiceProcess, run_command, service
from trayproxy.control.client import connect
from trayproxy.control.messages import GetSystemProxy, SystemProxyStatus
from trayproxy.paths import Paths
from trayproxy.profiles.config import Config, SystemProxySettings
from trayproxy.profiles.profile import Profile
from trayproxy.profiles.store import SettingsStore


@dataclass(frozen=True, slots=True)
class SystemProxySession:
    """A session of a desktop, and the files of TrayProxy in it.

    Attributes:
        dconf: The session with its bus and dconf.
        place: The home with the files of TrayProxy.
        desktop: The variables by which programs recognise the desktop.
    """

    dconf: DconfSession
    place: Home
    desktop: Mapping[str, str]

    @property
    def environment(self) -> dict[str, str]:
        """The environment of programs in the session."""
        return {**self.dconf.environment, **self.desktop}

    @property
    def paths(self) -> Paths:
        """The files of TrayProxy."""
        return self.place.trayproxy_paths(self.environment)

    @property
    def has_journal(self) -> bool:
        """True if values of TrayProxy may be in the settings."""
        return self.paths.system_proxy_file.exists()

    def prepare(self, profile: Profile) -> None:
        """Create the settings file with an active profile."""
        self.paths.prepare()
        self._change(lambda config: replace(config, active=profile.id, profiles=(profile,)))

    def configure(self, settings: SystemProxySettings) -> None:
        """Change the settings of the system proxy in the settings file."""
        self._change(lambda config: replace(config, system_proxy=settings))

    def service(self) -> AbstractContextManager[ServiceProcess]:
        """Run the service of the session on a free port."""
        return service(self.place, environment=self.environment)

    def command(self, *arguments: str) -> str:
        """Run a verb of ``trayproxy system-proxy``; return its output."""
        done = run_command(self.place, "system-proxy", *arguments, environment=self.environment)
        assert done.returncode == 0, done
        return done.stdout

    def status(self) -> SystemProxyStatus:
        """Return the status of the system proxy after all changes that the service has begun."""
        with connect(self.paths) as client:
            client.hello("cli", can_prompt=False)
            status = client.request(GetSystemProxy())
        assert isinstance(status, SystemProxyStatus), status
        return status

    def _change(self, change: Callable[[Config], Config]) -> None:
        store = SettingsStore(self.paths.config_file)
        store.save(change(store.load()))

    def watchdogs(self) -> list[int]:
        """Return the process ids of the watchdogs for the files of TrayProxy."""
        journal = str(self.paths.system_proxy_file)
        return [pid for pid, words in _command_lines() if {"--watchdog", journal} <= set(words)]


def _command_lines() -> Iterator[tuple[int, list[str]]]:
    """Yield the process id and the command line of each running process."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_text("utf-8", "replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(path.parent.name), words
