"""Keeping a login while no service runs: tried at its proxy first, as the service would."""

import asyncio
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from secrets import token_bytes

from trayproxy.auth.login import Login
from trayproxy.auth.schemes import http_schemes
from trayproxy.control.messages import Ending, KeyringState, Problem, Question
from trayproxy.desk.desk import Desk
from trayproxy.desk.memory import MemoryFile
from trayproxy.desk.problems import no_store
from trayproxy.desk.space import Space
from trayproxy.desk.store import Store
from trayproxy.engine.dial import Dialler
from trayproxy.engine.limits import LIMITS, Limits
from trayproxy.paths import Paths
from trayproxy.profiles.profile import Profile
from trayproxy.service.probe import Tools
from trayproxy.service.trial import try_login

GIVE_UP_S = 60.0
"""Longer than any step of a sign-in takes that comes to anything."""
REJECTED_BEFORE = Problem(
    "TP-302",
    "The proxy did not accept this password before",
    "It was not sent again, since companies lock accounts after a few wrong tries. If it is right "
    "by now, type it: trayproxy login.",
)
NOT_CHECKED = Problem(
    "TP-307",
    "The password could not be checked",
    "The proxy did not answer, or did not ask for a password. Nothing was saved.",
)


def save_login(
    paths: Paths,
    vault: Store,
    profile: Profile,
    login: Login,
    *,
    is_typed: bool,
    limits: Limits = LIMITS,
) -> Problem | None:
    """Save a login once the proxy has accepted it.

    Args:
        paths: Where it is remembered what proxies rejected.
        vault: The keyring.
        profile: Whose login.
        login: The login.
        is_typed: A person has just typed it: one that was rejected before is tried once more.
        limits: How long to wait for what.

    Returns:
        Why it was not saved, None if it was.
    """
    with asyncio.Runner() as runner:
        work = _save(paths, Remembered(vault), profile, login, is_typed=is_typed, limits=limits)
        return runner.run(work)


class Remembered:
    """A keyring that remembers what it said about the last login: here nothing stays in memory."""

    def __init__(self, vault: Store) -> None:
        """Stand before a keyring."""
        self.find = vault.find
        self.forget = vault.forget
        self.survey = vault.survey
        self.watch = vault.watch
        self._save = vault.save
        self._said: Future[Problem | None] | None = None

    def save(self, profile: Profile, login: Login) -> "Future[Problem | None]":
        """Keep the login of a profile, in the place of any other."""
        self._said = self._save(profile, login)
        return self._said

    def problem(self) -> Problem | None:
        """Return why the last login was not saved, as the keyring said it; None if it said none."""
        return self._said.result() if self._said is not None and self._said.done() else None


class Nobody:
    """Hears of everything, and has nobody to tell."""

    def question_changed(self, question: Question) -> None:
        """Tell nobody."""

    def question_closed(self, number: int, ending: Ending) -> None:
        """Tell nobody."""

    def facts_changed(self) -> None:
        """Tell nobody."""


async def _save(
    paths: Paths,
    vault: Remembered,
    profile: Profile,
    login: Login,
    *,
    is_typed: bool,
    limits: Limits,
) -> Problem | None:
    loop = asyncio.get_running_loop()
    keyring = await asyncio.wrap_future(vault.survey())
    if keyring.state in (KeyringState.MISSING, KeyringState.UNSAFE):
        return no_store()
    memory = MemoryFile(paths.sign_in_file)
    with closing(memory):
        known_wrong = memory.was_rejected(Space.of(profile), login)
        if not is_typed and await asyncio.wrap_future(known_wrong):
            return REJECTED_BEFORE
    desk = Desk(
        vault=vault,
        listener=Nobody(),
        loop=loop,
        schemes=http_schemes(token_bytes),
        memory=MemoryFile(paths.sign_in_file),
    )
    # There is no listener of ours that a profile could lead back to.
    dialler = Dialler(loop, limits, desk, lambda addresses: False)
    via = b"trayproxy-" + token_bytes(4).hex().encode()
    desk.on_try = partial(try_login, Tools(desk, dialler, limits, via, loop.time))
    try:
        async with asyncio.timeout(GIVE_UP_S):
            problem = await desk.save_login(profile, login)
    except TimeoutError:
        return NOT_CHECKED
    finally:
        desk.close()
    if problem is not None and problem.id == NOT_CHECKED.id:
        return NOT_CHECKED
    return vault.problem() or problem
