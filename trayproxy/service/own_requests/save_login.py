"""Verifies and saves a login from ``trayproxy login``, without a prompt.

A separate desk verifies the login, so the running service keeps its working login until the new
login is accepted: a wrong password changes nothing and causes no prompt.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from os import urandom

from trayproxy.auth.login import Login
from trayproxy.desk.credential_store import CredentialStore
from trayproxy.desk.desk import Desk
from trayproxy.desk.history import History, HistoryFile
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.problems import NO_KEYRING, UNRECORDED, rejected_before
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.desktop.kerberos import disable_name_canonicalization
from trayproxy.desktop.optional_dependencies import is_installed
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Ending, KeyringState, Prompt
from trayproxy.engine.limits import LIMITS, EngineLimits
from trayproxy.engine.net.resolver import Address
from trayproxy.engine.proxy_auth.handshake_threads import HandshakeThreads
from trayproxy.engine.proxy_auth.own_auth_port import OwnRequestTools
from trayproxy.engine.upstream.connector import Connector
from trayproxy.paths import Paths
from trayproxy.profiles.profile import Profile
from trayproxy.service.own_requests.trial import verify_login
from trayproxy.service.schemes import service_schemes

TIMEOUT_S = 60.0
"""Seconds after which the verification ends; longer than any sign-in that can still succeed."""
NOT_CHECKED = Problem(
    "TP-307",
    "The password could not be checked yet",
    "The proxy did not answer, did not ask for a password, or did not say whether it accepts this "
    "one. Nothing was saved.",
)
NO_SAFE_KEYRING = Problem(
    NO_KEYRING.id,
    NO_KEYRING.title,
    f"{NO_KEYRING.body} Start TrayProxy first: it keeps the password in memory while it runs.",
)
_NO_STORE_STATES = (KeyringState.MISSING, KeyringState.UNSAFE, KeyringState.OFF)


@dataclass(frozen=True, slots=True)
class SaveTools:
    """The parts for verifying and saving a login.

    Attributes:
        history: The rejected logins of this run and of earlier runs.
        name_of: Returns the name of the profile with this id, empty if it no longer exists.
        is_own: Returns True if any of these addresses is TrayProxy's own listener.
        keeps_in_memory: True if a running service can use a login without a keyring.
        certificate_password: Returns the password of a profile's client certificate, empty if there
            is none; called in a thread.
    """

    keyring: CredentialStore
    history: History
    limits: EngineLimits
    name_of: Callable[[str], str]
    is_own: Callable[[tuple[Address, ...]], bool]
    keeps_in_memory: bool = True
    certificate_password: Callable[[Profile], str] = lambda profile: ""


@dataclass(frozen=True, slots=True)
class SaveOutcome:
    """The result of verifying and saving a login.

    Attributes:
        problem: Why the login was not saved, None if it was.
        is_right: True if the proxy has accepted the login, even if it was not saved.
    """

    problem: Problem | None
    is_right: bool = False


async def verify_and_save(
    tools: SaveTools, profile: Profile, login: Login, *, is_typed: bool
) -> SaveOutcome:
    """Save a login once its proxy has accepted it.

    A login that the user has just typed (`is_typed`) is tried even if it was rejected before.
    """
    loop = asyncio.get_running_loop()
    status = await asyncio.wrap_future(tools.keyring.survey())
    if status.state in _NO_STORE_STATES and not tools.keeps_in_memory:
        return SaveOutcome(NO_SAFE_KEYRING)
    upstream_id = UpstreamId.of(profile)
    if not is_typed and (rejected := await _rejected_before(tools, upstream_id, login)):
        return SaveOutcome(rejected)
    store = _RecordingStore(tools.keyring)
    desk = Desk(
        store=store,
        listener=_NullListener(),
        loop=loop,
        schemes=service_schemes(),
        is_installed=is_installed,
        history=tools.history,
        owns_history=False,
    )
    connector = Connector(loop, tools.limits, desk.broker, tools.is_own)
    connector.certificate_password = tools.certificate_password
    via = b"trayproxy-" + urandom(4).hex().encode()
    threads = HandshakeThreads(loop)
    request_tools = OwnRequestTools(desk.broker, connector, threads, tools.limits, via, loop.time)
    desk.send_own_request = partial(verify_login, request_tools)
    desk.broker.addresses_of = connector.addresses_of
    try:
        async with asyncio.timeout(TIMEOUT_S):
            problem = await desk.save_login(profile, login, is_typed=is_typed)
    except TimeoutError:
        return SaveOutcome(NOT_CHECKED)
    finally:
        desk.close()
    if problem is not None and problem.id == NOT_CHECKED.id:
        return SaveOutcome(NOT_CHECKED)
    if problem == rejected_before():
        # The address is known now: the login was rejected by the same proxy with another name.
        return SaveOutcome(await _rejected_before(tools, upstream_id, login) or problem)
    save_problem = store.problem()
    return SaveOutcome(
        save_problem or problem, is_right=problem is None or save_problem is not None
    )


def verify_and_save_offline(
    paths: Paths,
    keyring: CredentialStore,
    profile: Profile,
    login: Login,
    *,
    is_typed: bool,
    name_of: Callable[[str], str] = lambda profile_id: "",
    certificate_password: Callable[[Profile], str] = lambda profile: "",
    limits: EngineLimits = LIMITS,
) -> Problem | None:
    """Save a login as `verify_and_save` does, while no service runs.

    Returns:
        Why the login was not saved, None if it was.
    """
    disable_name_canonicalization()
    with asyncio.Runner() as runner, closing(HistoryFile(paths.sign_in_file)) as history:
        # TrayProxy does not listen here, so no upstream can be its own listener.
        tools = SaveTools(
            keyring,
            history,
            limits,
            name_of,
            lambda addresses: False,
            keeps_in_memory=False,
            certificate_password=certificate_password,
        )
        return runner.run(verify_and_save(tools, profile, login, is_typed=is_typed)).problem


async def _rejected_before(
    tools: SaveTools, upstream_id: UpstreamId, login: Login
) -> Problem | None:
    """Return the problem of a login that was rejected in any run, None if it was not.

    If the state directory does not respond, return the problem of an unrecorded trial.
    """
    is_known = tools.history.rejected.contains((upstream_id.upstream,), login)
    try:
        async with asyncio.timeout(DeskLimits().record_timeout):
            profile_id = await asyncio.wrap_future(
                tools.history.rejecting_profile(upstream_id, login)
            )
    except TimeoutError:
        return rejected_before() if is_known else UNRECORDED
    if profile_id is None:
        return rejected_before() if is_known else None
    is_same = profile_id == upstream_id.profile_id
    return rejected_before("" if is_same else tools.name_of(profile_id))


class _RecordingStore:
    """A credential store that records the keyring's result for the last saved login."""

    def __init__(self, keyring: CredentialStore) -> None:
        self.find = keyring.find
        self.forget = keyring.forget
        self.survey = keyring.survey
        self._save = keyring.save
        self._last_save: Future[Problem | None] | None = None

    def save(self, profile: Profile, login: Login) -> "Future[Problem | None]":
        self._last_save = self._save(profile, login)
        return self._last_save

    def watch(self, on_change: Callable[..., None]) -> None:
        """Do nothing: the running service already watches the keyring."""

    def problem(self) -> Problem | None:
        """Return why the last login was not saved; None if it was, or if there is no result."""
        saved = self._last_save
        return saved.result() if saved is not None and saved.done() else None


class _NullListener:
    """A listener that ignores all changes: there is no front end."""

    def prompt_changed(self, prompt: Prompt) -> None: ...
    def prompt_closed(self, number: int, ending: Ending) -> None: ...
    def facts_changed(self) -> None: ...
