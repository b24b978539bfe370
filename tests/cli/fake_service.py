"""A fake service for tests of the command line."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from msgspec.structs import replace

from tests.support.session_handler import SessionHandler
from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    DeleteProfile,
    Done,
    EvaluatePac,
    Failed,
    FindRoute,
    ForgetLogin,
    GetStatus,
    GetSystemProxy,
    KeptInMemory,
    ListenerState,
    OpenProfilePort,
    PacAnswer,
    ProfilePort,
    PromptChanged,
    Quit,
    Reply,
    Request,
    Resume,
    RouteFound,
    SaveLogin,
    SaveProfile,
    ShowWindow,
    Status,
    Subscribe,
    SystemProxyStatus,
    UpstreamState,
    UseProfile,
    UseSystemProxy,
)
from trayproxy.control.server import Session
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import KeyringState, KeyringStatus, Prompt, SignInState
from trayproxy.profiles.config import Config
from trayproxy.profiles.profile import Profile, Upstream

OFFICE = Profile("office", "Office", Upstream("proxy.example", 8080), user="CORP\\jdoe")
LAB = Profile("lab", "Lab", Upstream("lab.example", 3128))
ROOT = Path(__file__).parents[2]


class FakeServiceHandler(SessionHandler):
    """A handler that answers requests like the real service, in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config().with_profile(OFFICE).with_profile(LAB)
        self.status = Status("0.1.0", os.getpid(), ListenerState.UP, "127.0.0.1:4128")
        self.requests: list[Request] = []
        self.failure: Failed | None = None
        self.result = CheckResult(())
        self.kept_in_memory: KeptInMemory | None = None
        self.system_proxy = SystemProxyStatus()
        self.route: RouteFound | None = None
        self.answer: PacAnswer | None = None
        self.prompt: Prompt | None = None
        self.quit: Callable[[], None] = lambda: None
        self.ending: asyncio.Task[None] | None = None

    async def handle(self, session: Session, request: Request) -> Reply:
        if isinstance(request, GetStatus):
            config = self.config
            return replace(
                self.status,
                profile=None if self.status.direct else config.profile,
                profiles=config.profiles,
                direct=self.status.direct or config.is_direct,
            )
        self.requests.append(request)
        if self.failure:
            return self.failure
        match request:
            case CheckProfile():
                if self.prompt:
                    session.send_event(PromptChanged(self.prompt))
                return self.result
            case Subscribe():
                return self.status
            case EvaluatePac() if self.answer:
                return self.answer
            case FindRoute() if self.route:
                return self.route
            case OpenProfilePort():
                return ProfilePort("127.0.0.1:4321")
            case GetSystemProxy() | UseSystemProxy():
                return self.system_proxy
            case SaveProfile(profile):
                self.config = self.config.with_profile(profile)
            case DeleteProfile(profile_id, _):
                self.config = self.config.without_profile(profile_id)
            case UseProfile(_, for_s) if for_s:
                self.status = replace(
                    self.status, direct=True, direct_until=1_800_000_000.0 + for_s
                )
            case UseProfile(profile_id):
                self.config = self.config.with_active(profile_id)
            case Resume() if self.status.direct:
                self.status = replace(self.status, direct=False, direct_until=None)
            case Resume():
                self.config = self.config.with_active(self.config.previous_profile().id)
            case SaveLogin() if self.kept_in_memory:
                return self.kept_in_memory
            case SaveLogin() | ForgetLogin() | ShowWindow():
                pass
            case Quit():
                self.quit()
        return Done()


def connected(status: Status) -> Status:
    return replace(
        status,
        sign_in=SignInState.OK,
        user="CORP\\jdoe",
        upstream=UpstreamState.OK,
        keyring=KeyringStatus(KeyringState.OK, "GNOME Keyring"),
        active=3,
    )


LOCKED = Failed(Problem("TP-401", "GNOME Keyring is locked", "Unlock it."), 6)
