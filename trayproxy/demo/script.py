"""The automatic demonstration: run the use case and check each step.

Two programs receive a 407, TrayProxy opens a single prompt, a wrong and then the right password are
entered, the programs receive their page, and the next request opens no prompt. TrayProxy becomes
the system proxy of a private desktop, which gets its own proxy back. Each step returns a sentence;
the first failed step ends the script.
"""

import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path
from typing import TypeVar

from trayproxy.auth.login import Login
from trayproxy.control.client import Client
from trayproxy.control.messages import (
    AnswerPrompt,
    Event,
    GetStatus,
    PromptChanged,
    PromptClosed,
    Quit,
    Status,
    Subscribe,
    SystemProxyState,
    SystemProxyStatus,
    UseProfile,
    UseSystemProxy,
)
from trayproxy.control.transport import ControlError
from trayproxy.demo.company_network import LAB, OFFICE, CompanyNetwork
from trayproxy.demo.origin import PAGE
from trayproxy.demo.program import FetchedPage, fetch, fetch_through_tunnel
from trayproxy.demo.surroundings import (
    RunningService,
    SurroundingsError,
    TemporaryHome,
    profiles,
    request,
    save_profiles,
)
from trayproxy.demo.system_settings import (
    OwnSettings,
    changed_stores,
    own_settings,
    proxy_port,
    settings_file,
    unchanged_text,
    use_proxy,
)
from trayproxy.demo.upstream import ProxyDecision, ProxyLogEntry
from trayproxy.desktop.system_proxy.private_store import HAS_PRIVATE_STORE
from trayproxy.domain.signin import Ending, KeyringState, PromptReason
from trayproxy.system_settings.entries import TargetError

STEP_TIMEOUT_S = 20.0
"""The timeout for the expected result of a step."""

_FAILURES = (OSError, HTTPException, SurroundingsError, ControlError, TargetError)

_EventT = TypeVar("_EventT", bound=Event)


class StepError(Exception):
    """A step did not have the expected result; the text contains the difference."""


@dataclass
class DemoScript:
    """The steps of the script, in order; each step returns a sentence about its result.

    Attributes:
        log: The log of the proxies; it grows while the script runs.
        home: The home of the service.
        client: A connection to the service as a front end that answers prompts.
        programs: The executor for the programs, with at least two threads.
        own_settings: The system proxy of the user before the demonstration.
    """

    network: CompanyNetwork
    log: list[ProxyLogEntry]
    home: TemporaryHome
    service: RunningService
    client: Client
    programs: Executor
    own_settings: OwnSettings
    _waiting: list[Future[FetchedPage]] = field(default_factory=list, init=False)
    _prompt_numbers: set[int] = field(default_factory=set, init=False)
    _private_settings: bytes = field(default=b"", init=False)

    def play(self) -> Iterator[str]:
        """Run the steps and yield their sentences; raise `StepError` for an unexpected result."""
        for step in (
            self._direct_request_is_refused,
            self._profiles_are_saved,
            self._two_requests_share_a_prompt,
            self._wrong_password_is_sent_once,
            self._right_password_releases_both,
            self._next_requests_need_no_prompt,
            self._switched_profile_is_used,
            *((self._system_proxy_is_on, self._system_proxy_is_off) if HAS_PRIVATE_STORE else ()),
            self._no_password_is_stored,
            self._service_quits,
            self._own_settings_are_unchanged,
        ):
            try:
                yield step()
            except _FAILURES as error:
                raise StepError(str(error) or type(error).__name__) from error

    def _direct_request_is_refused(self) -> str:
        page = fetch(self.network.ports.office)
        _check(page.status == 407, f"the proxy answered {page.status} instead of 407")
        return f"Without TrayProxy, a program fails: the proxy “{OFFICE}” answers 407"

    def _profiles_are_saved(self) -> str:
        save_profiles(self.client, self.network)
        self.client.request(Subscribe())
        return (
            f"TrayProxy listens on {self.service.url} and has the profiles “{OFFICE}” and “{LAB}”"
        )

    def _two_requests_share_a_prompt(self) -> str:
        port = self.service.port
        self._waiting = [self.programs.submit(f, port) for f in (fetch, fetch_through_tunnel)]
        prompt = self._wait_for(PromptChanged, lambda event: event.prompt.waiting == 2).prompt
        _check(len(self._prompt_numbers) == 1, f"{len(self._prompt_numbers)} questions were asked")
        return (
            "Two programs use TrayProxy and wait; it asks one question: the proxy"
            f" “{prompt.profile}” ({prompt.upstream}, {prompt.method}) wants a sign-in"
        )

    def _wrong_password_is_sent_once(self) -> str:
        self._answer(Login(self.network.login.user, "not the password"))
        rejected = PromptReason.TYPED_REJECTED
        self._wait_for(
            PromptChanged,
            lambda event: event.prompt.reason is rejected and not event.prompt.checking,
        )
        self._check_rejections()
        return "A wrong password is tried once, for one of the two; the question stays open"

    def _right_password_releases_both(self) -> str:
        self._answer(self.network.login)
        closed = self._wait_for(PromptClosed, lambda _: True)
        _check(closed.ending is Ending.ACCEPTED, f"the question ended as “{closed.ending}”")
        for program in self._waiting:
            _check_page(program.result(STEP_TIMEOUT_S))
        self._check_rejections()
        return "The right password: the question closes, and both programs get their page (200)"

    def _next_requests_need_no_prompt(self) -> str:
        before = self._count(ProxyDecision.CHALLENGED)
        for fetch_page in (fetch, fetch_through_tunnel):
            _check_page(fetch_page(self.service.port))
        _check(self._count(ProxyDecision.CHALLENGED) == before, "the proxy had to ask again")
        self._check_no_new_prompt()
        return "The next requests pass at once: neither you nor TrayProxy is asked again"

    def _switched_profile_is_used(self) -> str:
        request(self.client, UseProfile(profiles(self.network)[1].id))
        _check_page(fetch(self.service.port))
        _check(self.log[-1].proxy == LAB, f"the request went through “{self.log[-1].proxy}”")
        return f"After a switch to the profile “{LAB}” the next request goes through its proxy"

    def _system_proxy_is_on(self) -> str:
        folder = self.home.folder
        use_proxy(folder, self.network.ports.office)
        self._check_old_system_proxy()
        self._private_settings = settings_file(folder).read_bytes()
        status = request(self.client, UseSystemProxy(True))
        assert isinstance(status, SystemProxyStatus)
        _check(status.state is SystemProxyState.ON, f"the system proxy is “{status.state}”")
        _check(proxy_port(folder) == self.service.port, "programs have another proxy")
        _check_page(fetch(proxy_port(folder)))
        return (
            "System proxy on, in the settings of a private desktop: a program that follows them "
            "gets its page through TrayProxy"
        )

    def _system_proxy_is_off(self) -> str:
        request(self.client, UseSystemProxy(False))
        octets = settings_file(self.home.folder).read_bytes()
        _check(octets == self._private_settings, "the settings of the desktop are not as before")
        self._check_old_system_proxy()
        return "System proxy off: the proxy that the private desktop had before is back"

    def _own_settings_are_unchanged(self) -> str:
        now = own_settings()
        changed = changed_stores(self.own_settings, now)
        _check(not changed, f"your own system proxy has changed meanwhile: {changed}")
        return unchanged_text(now)

    def _no_password_is_stored(self) -> str:
        status = request(self.client, GetStatus())
        assert isinstance(status, Status)
        _check(status.keyring.state is not KeyringState.OK, "a keyring was used")
        password = self.network.login.password.encode()
        user_pass = self.network.login.user.encode() + b":" + password
        for file in filter(Path.is_file, self.home.folder.rglob("*")):
            octets = file.read_bytes()
            is_stored = password in octets or b64encode(user_pass) in octets
            _check(not is_stored, f"the password lies in {file.name}")
        return "No keyring was used, and no file of TrayProxy has the password"

    def _service_quits(self) -> str:
        self.client.request(Quit())
        code = self.service.process.wait(STEP_TIMEOUT_S)
        _check(code == 0, f"TrayProxy ended with code {code}")
        return "TrayProxy ends when it is told to"

    def _answer(self, login: Login) -> None:
        (number,) = self._prompt_numbers
        # The demonstration has no keyring.
        request(self.client, AnswerPrompt(number, login, remember=False))

    def _wait_for(self, kind: type[_EventT], condition: Callable[[_EventT], bool]) -> _EventT:
        """Return the first event that fulfils a condition; record the prompts on the way."""
        deadline = time.monotonic() + STEP_TIMEOUT_S
        while (left_s := deadline - time.monotonic()) > 0:
            for event in self.client.events(left_s):
                self._record(event)
                if isinstance(event, kind) and condition(event):
                    return event
                break
        raise StepError(f"after {STEP_TIMEOUT_S:.0f} s TrayProxy had not said so")

    def _record(self, event: Event) -> None:
        if isinstance(event, PromptChanged):
            self._prompt_numbers.add(event.prompt.number)

    def _check_old_system_proxy(self) -> None:
        """Check that programs of the private desktop use the proxy “Office” without TrayProxy."""
        page = fetch(proxy_port(self.home.folder))
        _check(page.status == 407, f"the system proxy answered {page.status} instead of 407")

    def _check_no_new_prompt(self) -> None:
        count_before = len(self._prompt_numbers)
        # The event of a new prompt would arrive before this reply.
        request(self.client, GetStatus())
        for event in self.client.events(0.0):
            self._record(event)
        _check(len(self._prompt_numbers) == count_before, "a question was asked")

    def _check_rejections(self) -> None:
        count = self._count(ProxyDecision.REJECTED)
        _check(count == 1, f"the proxy has seen {count} wrong passwords")

    def _count(self, verdict: ProxyDecision) -> int:
        return sum(entry.decision is verdict for entry in self.log)


def _check_page(page: FetchedPage) -> None:
    _check(page == FetchedPage(200, PAGE), f"a program got {page.status}: {page.text[:200]!r}")


def _check(holds: bool, failure: str) -> None:
    if not holds:
        raise StepError(failure)
