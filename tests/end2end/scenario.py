"""Where most end-to-end stories begin, and the types of the fixtures."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.support.clients import Clients
from tests.support.front_end import FrontEnd, Reaction
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.processes import Job
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import Service
from tests.support.squid import Squid
from trayproxy.auth.login import Login
from trayproxy.control.messages import SaveProfile, UseProfile
from trayproxy.profiles.profile import Profile, Upstream

HELLO = "hello\n\n200"
"""What `UserSession.fetch` returns when all went well: the text, and the status."""
KEYRING_LIMIT_S = 8.0
"""How long the person waits for the keyring at most (ux.md, section 3.4)."""


class StartService(Protocol):
    """Starts a service in the home of this test; one after the other finds the same files.

    It belongs to a session, or to an environment that is told, or to nothing else.
    """

    def __call__(
        self,
        *arguments: str,
        session: KeyringSession | None = None,
        environment: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        program: Sequence[str] = ("trayproxy",),
    ) -> Service: ...


class AttachFrontEnd(Protocol):
    """Attaches a front end to a service, with what its person does when asked."""

    def __call__(self, to: Service, reactions: Iterable[Reaction] = ()) -> FrontEnd: ...


@dataclass(frozen=True, slots=True)
class UserSession:
    """A person at one run of the service.

    Attributes:
        service: What runs.
        front_end: The front end of the person.
        clients: The programs.
        origin: What they go to.
    """

    service: Service
    front_end: FrontEnd
    clients: Clients
    origin: Origin

    def curl(self, *arguments: str) -> Job:
        """Run curl through the service."""
        return self.clients.curl("-x", self.service.url, *arguments)

    def visit(self) -> Job:
        """Let a program fetch a text, for which it may have to wait."""
        return self.curl("-w", "\n%{http_code}", self.origin.url("/hello"))

    def fetch(self) -> str:
        """Return what a program gets; `HELLO` if it gets what it wants."""
        return self.visit().result().out

    def sign_in(self, login: Login) -> str:
        """Let the person answer what a program is asked for; return what that one gets."""
        waiting = self.visit()
        self.front_end.answer(self.front_end.wait_for_prompt(), login)
        return waiting.result().out

    def end(self) -> None:
        """Let the person go, and the service after that."""
        self.front_end.close()
        assert self.service.stop() == 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A workplace behind an upstream that demands a sign-in.

    Attributes:
        run: Starts services there.
        attach: Attaches front ends to them.
        keyring: The keyring, unlocked, and the session that services are started in.
        proxy: The upstream.
        canary: The login that it accepts.
        clients: The programs.
        origin: What they go to.
    """

    run: StartService
    attach: AttachFrontEnd
    keyring: KeyringSession
    proxy: Squid
    account: SearchableSecret
    clients: Clients
    origin: Origin

    @property
    def login(self) -> Login:
        """What the upstream accepts."""
        return self.account.login

    @property
    def wrong(self) -> Login:
        """The same user, and a password that the upstream does not accept."""
        return Login(self.account.user, "wrong")

    @property
    def profile(self) -> Profile:
        """The profile for the upstream."""
        return self._profile(self.proxy, "Office")

    def start(self, *reactions: Reaction) -> UserSession:
        """Start a service for a person who uses the profile.

        Args:
            moves: What the person does when asked, in this order.
        """
        return self.begin(self.run(session=self.keyring), *reactions)

    def begin(self, service: Service, *reactions: Reaction) -> UserSession:
        """Let a person use the profile at a service that runs."""
        user = self.attach_user(service, *reactions)
        self.use(user.front_end, self.proxy)
        return user

    def restart(self, *reactions: Reaction) -> UserSession:
        """Start the service again, for a person who finds what there was before."""
        return self.attach_user(self.run(session=self.keyring), *reactions)

    def attach_user(self, service: Service, *reactions: Reaction) -> UserSession:
        """Let a person come to a service that runs."""
        return UserSession(service, self.attach(service, reactions), self.clients, self.origin)

    def use(self, front_end: FrontEnd, proxy: Squid, name: str = "Office") -> Profile:
        """Let a person save a profile for an upstream, and make it the active one."""
        profile = self._profile(proxy, name)
        front_end.request_done(SaveProfile(profile))
        front_end.request_done(UseProfile(profile.id))
        return profile

    def sign_in_earlier(self) -> None:
        """Let there be an earlier run, in which the password got into the keyring."""
        earlier = self.start(self.login)
        assert earlier.fetch() == HELLO
        self.keyring.wait_for_entries(1)
        earlier.end()

    def _profile(self, proxy: Squid, name: str) -> Profile:
        upstream = Upstream(proxy.host, proxy.port)
        return Profile(name.lower(), name, upstream, user=self.account.user)


class StartWithProfile(Protocol):
    """Starts a service with an environment, and a person at it whose profile is in use."""

    def __call__(self, profile: Profile, environment: Mapping[str, str]) -> UserSession: ...
