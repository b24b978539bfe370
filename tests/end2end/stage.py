"""The types of the fixtures of end-to-end tests."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from tests.support.face import Face, Move
from tests.support.keyring_session import KeyringSession
from tests.support.service import Service
from tests.support.squid import Squid
from trayproxy.profiles.profile import Profile


class Run(Protocol):
    """Starts a service in the home of this test; one after the other finds the same files."""

    def __call__(
        self, *arguments: str, session: KeyringSession | None = None, stdin: bytes = b""
    ) -> Service: ...


class Attach(Protocol):
    """Attaches a face to a service, with what its person does when asked."""

    def __call__(self, to: Service, moves: Iterable[Move] = ()) -> Face: ...


class Use(Protocol):
    """Saves a profile for an upstream, and makes it the active one."""

    def __call__(self, face: Face, proxy: Squid, name: str = "Office") -> Profile: ...


class Stand(Protocol):
    """Starts a service with an environment, and a person at it whose profile is in use."""

    def __call__(
        self, profile: Profile, environment: Mapping[str, str]
    ) -> tuple[Service, Face]: ...
