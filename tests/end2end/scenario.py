"""The scenario of most end-to-end tests, and the classes of the fixtures."""

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.support.clients import Clients
from tests.support.front_end import FrontEnd, Reaction
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.processes import Home, Job
from tests.support.reports import Reports
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import ServiceProcess, service
from tests.support.squid import Squid
from trayproxy.auth.login import Login
from trayproxy.control.messages import KeepPromptOpen, SaveProfile, UseProfile
from trayproxy.domain.signin import Prompt
from trayproxy.profiles.profile import Profile, Upstream

HELLO = "hello\n\n200"
"""The result of a successful `UserSession.fetch`: the text and the status."""
KEYRING_LIMIT_S = 8.0
"""The longest wait of a user for the keyring (ux.md, section 3.4)."""


@dataclass(frozen=True, slots=True)
class StartService:
    """Starts a service in the home of the test; later services find the files of earlier services.

    The service gets the environment of a session or the given environment, and runs until the end
    of the test.
    """

    place: Home
    stack: ExitStack
    reports: Reports

    def __call__(
        self,
        *arguments: str,
        session: KeyringSession | None = None,
        environment: Mapping[str, str] | None = None,
        login: Login | None = None,
        program: Sequence[str] = ("trayproxy",),
    ) -> ServiceProcess:
        found = session.environment if session else environment
        running = service(self.place, *arguments, environment=found, login=login, program=program)
        started = self.stack.enter_context(running)
        self.reports["service"] = started.log
        return started


@dataclass(frozen=True, slots=True)
class AttachFrontEnd:
    """Attaches a front end to a service, with the reactions to its prompts."""

    stack: ExitStack
    reports: Reports

    def __call__(self, to: ServiceProcess, reactions: Iterable[Reaction] = ()) -> FrontEnd:
        front_end = self.stack.enter_context(FrontEnd(to.paths, reactions))
        self.reports["front end"] = front_end.describe
        return front_end


@dataclass(frozen=True, slots=True)
class UserSession:
    """A user of one run of the service."""

    service: ServiceProcess
    front_end: FrontEnd
    clients: Clients
    origin: Origin

    def curl(self, *arguments: str) -> Job:
        """Run curl through the service."""
        return self.clients.curl("-x", self.service.url, *arguments)

    def git(self, *arguments: str, trust: Path | None = None) -> Job:
        """Run a Git command through the service."""
        return self.clients.git(self.service.url, *arguments, trust=trust)

    def get(self, url: str, *options: str) -> str:
        """Return the output of curl for a URL."""
        return self.curl(*options, url).result().out

    def visit(self) -> Job:
        """Start a program to fetch a text; it may have to wait."""
        return self.curl("-w", "\n%{http_code}", self.origin.url("/hello"))

    def fetch(self) -> str:
        """Fetch a text with a program; return its output, `HELLO` if it succeeds."""
        return self.visit().result().out

    def sign_in(self, login: Login) -> str:
        """Answer the prompt of a program's request; return the output of the program."""
        waiting = self.visit()
        self.front_end.answer(self.front_end.wait_for_prompt(), login)
        return waiting.result().out

    def use(self, profile: Profile) -> None:
        """Save a profile, and activate it."""
        self.front_end.request_done(SaveProfile(profile))
        self.front_end.request_done(UseProfile(profile.id))

    def disconnect_during_prompt(self) -> Prompt:
        """Disconnect a program while the user types the login; return the prompt."""
        impatient = self.visit()
        prompt = self.front_end.wait_for_prompt()
        self.front_end.request_done(KeepPromptOpen(prompt.number))
        impatient.process.end()
        self.front_end.wait_for_prompt(lambda question: question.waiting == 0)
        return prompt

    def end(self) -> None:
        """Close the front end, and stop the service."""
        self.front_end.close()
        assert self.service.stop() == 0


@dataclass(frozen=True, slots=True)
class Scenario:
    """A computer with an unlocked keyring, behind an upstream with a sign-in."""

    run: StartService
    attach: AttachFrontEnd
    keyring: KeyringSession
    proxy: Squid
    account: SearchableSecret
    clients: Clients
    origin: Origin

    @property
    def login(self) -> Login:
        """The accepted login."""
        return self.account.login

    @property
    def wrong(self) -> Login:
        """The same user with a rejected password."""
        return Login(self.account.user, "wrong")

    @property
    def profile(self) -> Profile:
        """The profile for the upstream."""
        return self._profile(self.proxy, "Office")

    def start(self, *reactions: Reaction) -> UserSession:
        """Start a service, use the profile, and react to prompts in this order."""
        return self.begin(self.run(session=self.keyring), *reactions)

    def begin(self, service: ServiceProcess, *reactions: Reaction) -> UserSession:
        """Attach a user to a running service, and use the profile."""
        user = self.attach_user(service, *reactions)
        self.use(user, self.proxy)
        return user

    def restart(self, *reactions: Reaction) -> UserSession:
        """Start a service with the files of the previous service, and attach a user."""
        return self.attach_user(self.run(session=self.keyring), *reactions)

    def attach_user(self, service: ServiceProcess, *reactions: Reaction) -> UserSession:
        """Attach a user to a running service."""
        return UserSession(service, self.attach(service, reactions), self.clients, self.origin)

    def use(self, user: UserSession, proxy: Squid, name: str = "Office") -> Profile:
        """Save a profile for an upstream, and activate it."""
        profile = self._profile(proxy, name)
        user.use(profile)
        return profile

    def sign_in_earlier(self) -> None:
        """Sign in during an earlier run, so that the password is in the keyring."""
        earlier = self.start(self.login)
        assert earlier.fetch() == HELLO
        self.keyring.wait_for_entries(1)
        earlier.end()

    def _profile(self, proxy: Squid, name: str) -> Profile:
        upstream = Upstream(proxy.host, proxy.port)
        return Profile(name.lower(), name, upstream, user=self.account.user)


@dataclass(frozen=True, slots=True)
class StartUser:
    """Starts a service with a profile, and a user who answers prompts with these logins."""

    run: StartService
    attach: AttachFrontEnd
    keyring: KeyringSession
    clients: Clients
    origin: Origin

    def __call__(self, profile: Profile, *logins: Login) -> UserSession:
        service = self.run(session=self.keyring)
        user = UserSession(service, self.attach(service, logins), self.clients, self.origin)
        user.use(profile)
        return user


@dataclass(frozen=True, slots=True)
class StartWithProfile:
    """Starts a service with an environment, attaches a user and uses a profile named Office.

    `user` is the user name in the profile; `more` are further attributes of the profile.
    """

    run: StartService
    attach: AttachFrontEnd
    clients: Clients
    origin: Origin

    def __call__(
        self,
        upstream: Upstream,
        user: str = "",
        environment: Mapping[str, str] = MappingProxyType({}),
        **more: Any,
    ) -> UserSession:
        started = self.run(environment=self.run.place.environment(**environment))
        session = UserSession(started, self.attach(started), self.clients, self.origin)
        session.use(Profile("office", "Office", upstream, user=user, **more))
        return session
