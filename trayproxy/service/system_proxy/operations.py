"""Read, set and restore the system proxy. Every function blocks, so it runs in a thread."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trayproxy.control.messages import LeftoverChoice, SystemProxyState, SystemProxyStatus
from trayproxy.desktop.system_proxy.base import ProxySetting, ProxyTarget, ProxyTargets
from trayproxy.desktop.system_proxy.repair import LOCK_TIMEOUT_S
from trayproxy.paths import make_private
from trayproxy.service.system_proxy.state import (
    Foreign,
    Leftover,
    find_foreign,
    loopback_endpoints,
    program_at,
)
from trayproxy.system_settings.apply import TargetChange, apply
from trayproxy.system_settings.entries import TargetError, Values
from trayproxy.system_settings.journal import DamagedJournalError, Journal, JournalFile
from trayproxy.system_settings.lock import changing_settings
from trayproxy.system_settings.record import TargetRecord
from trayproxy.system_settings.restore import restore

logger = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux: a random number of the computer's run (random(4))."""


@dataclass(frozen=True, slots=True)
class ReadBack:
    """The system proxy as read.

    Attributes:
        titles: The titles of the targets that TrayProxy has changed; empty without a journal.
        hints: What users must know about these targets.
        foreign: What another program has set instead, None if nothing.
        is_managed: True if an administrator has locked the system proxy.
    """

    titles: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    foreign: Foreign | None = None
    is_managed: bool = False


@dataclass(frozen=True, slots=True)
class TurnedOn:
    """The result of setting the system proxy.

    Attributes:
        inexpressible: Bypass rules that a target cannot express.
        skipped: The titles of the optional targets that could not be read.
        damaged: Where a damaged journal is kept now, None if there was none.
    """

    inexpressible: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    damaged: Path | None = None


class ManagedError(Exception):
    """An administrator has locked the system proxy."""


class LeftoverError(Exception):
    """The present system proxy is one at which no program listens: the user has to decide.

    Attributes:
        leftover: The present system proxy.
    """

    def __init__(self, leftover: Leftover) -> None:
        super().__init__(leftover.address)
        self.leftover = leftover


class SystemProxyFiles:
    """The journal of the system proxy and the lock for its changes.

    Attributes:
        journal: The journal.
        lock: The lock file.
    """

    def __init__(self, journal: Path, lock: Path) -> None:
        self.journal = JournalFile(journal)
        self.lock = lock


def read_back(files: SystemProxyFiles, targets: ProxyTargets) -> ReadBack:
    """Return the present system proxy. A target that cannot be read is left out.

    Raises:
        JournalError: The journal cannot be read.
    """
    journal = files.journal.load()
    if journal is None:
        # Asked only here: the answer needs several commands, and each change of any setting of the
        # desktop leads to a read while the system proxy is TrayProxy's.
        return ReadBack(is_managed=any(target.is_managed for target in targets.required))
    changed: list[ProxyTarget] = []
    present: dict[str, Values] = {}
    for target in (*targets.required, *targets.optional):
        if journal.record_of(target.name) is None:
            continue
        try:
            present[target.name] = target.read()
        except TargetError:
            continue
        changed.append(target)
    return ReadBack(
        tuple(target.title for target in changed),
        tuple(target.hint for target in changed if target.hint),
        find_foreign(journal, changed, present),
    )


def turn_on(
    files: SystemProxyFiles,
    targets: ProxyTargets,
    setting: ProxySetting,
    leftovers: LeftoverChoice,
    is_dead: Callable[[str, int], bool],
) -> TurnedOn:
    """Set the system proxy, or change it if TrayProxy has set it before.

    Args:
        files: The journal and the lock.
        targets: The targets of this desktop.
        setting: The new setting.
        leftovers: What becomes of an earlier system proxy at which no program listens.
        is_dead: Returns True if no program listens at an address of this computer.

    Raises:
        ManagedError: An administrator has locked the system proxy.
        LeftoverError: The user has to decide about the present system proxy.
        TargetError: A required target cannot be read.
        NotAppliedError: The system proxy was not set.
        JournalError: The journal cannot be read.
        SettingsBusyError: Another process changes the settings.
        OSError: The folder of the journal cannot be used.
    """
    make_private(files.lock.parent)
    with changing_settings(files.lock, LOCK_TIMEOUT_S):
        if any(target.is_managed for target in targets.required):
            raise ManagedError
        usable, skipped = _read_usable(targets)
        journal, damaged = _load_or_set_aside(files.journal)
        if journal is not None and _has_other_units(journal, usable, setting):
            # Entries that the new setting does not need get their original values first.
            restore(files.journal, _finder([target for target, _ in usable]))
            journal = files.journal.load()
            usable = [(target, target.read()) for target, _ in usable]
        changes: list[TargetChange] = []
        inexpressible: list[str] = []
        for target, present in usable:
            wanted = target.wanted(setting, present)
            if not wanted.values:
                continue
            original = None
            if journal is None or journal.record_of(target.name) is None:
                original = _original(target, present, setting, leftovers, is_dead)
            changes.append(TargetChange(target, present, wanted.values, original))
            inexpressible += (rule for rule in wanted.inexpressible if rule not in inexpressible)
        if not changes:
            raise TargetError("this desktop has no setting for a PAC file; use the mode “address”")
        apply(files.journal, changes, _make_journal)
        return TurnedOn(tuple(inexpressible), skipped, damaged)


def _load_or_set_aside(file: JournalFile) -> tuple[Journal | None, Path | None]:
    """Return the journal, and where a damaged journal is kept now.

    The values of a damaged journal are unknown, so the present values become the original ones.
    """
    try:
        return file.load(), None
    except DamagedJournalError:
        aside = file.set_aside()
        logger.error("the journal of the system proxy is damaged; it is kept as %s", aside)
        return None, aside


def _read_usable(
    targets: ProxyTargets,
) -> tuple[list[tuple[ProxyTarget, Values]], tuple[str, ...]]:
    """Return the targets that can be read with their present values, and the titles of the optional
    targets that cannot.

    Raises:
        TargetError: A required target cannot be read.
    """
    usable = [(target, target.read()) for target in targets.required]
    skipped: list[str] = []
    for target in targets.optional:
        try:
            usable.append((target, target.read()))
        except TargetError:
            skipped.append(target.title)
    return usable, tuple(skipped)


def _has_other_units(
    journal: Journal, targets: Sequence[tuple[ProxyTarget, Values]], setting: ProxySetting
) -> bool:
    """Return whether TrayProxy has changed entries that the setting does not need."""
    for target, present in targets:
        record = journal.record_of(target.name)
        if record is not None:
            wanted = target.wanted(setting, present).values
            if not wanted.keys() >= set(record.keys):
                return True
    return False


def _original(
    target: ProxyTarget,
    present: Values,
    setting: ProxySetting,
    leftovers: LeftoverChoice,
    is_dead: Callable[[str, int], bool],
) -> Values | None:
    """Return the values to restore later; None for the present ones.

    Raises:
        LeftoverError: The user has to decide about the present system proxy.
    """
    view = target.describe(present)
    found = loopback_endpoints(view)
    if (setting.host, setting.port) in found:
        # TrayProxy's own address without a journal: nothing answers there after TrayProxy's end.
        if leftovers is LeftoverChoice.ASK:
            raise LeftoverError(Leftover(target.name, view.address, ""))
        return target.without_proxy(present)
    dead = [endpoint for endpoint in found if is_dead(*endpoint)]
    if not dead or leftovers is LeftoverChoice.KEEP:
        return None
    if leftovers is LeftoverChoice.ASK:
        raise LeftoverError(Leftover(target.name, view.address, program_at(dead[0][1])))
    return target.without_proxy(present)


def _finder(targets: Sequence[ProxyTarget]) -> Callable[[str], ProxyTarget]:
    def find(name: str) -> ProxyTarget:
        for target in targets:
            if target.name == name:
                return target
        raise TargetError("this desktop does not have it")

    return find


def _make_journal(records: tuple[TargetRecord, ...]) -> Journal:
    return Journal(os.getpid(), _boot_id(), time.time(), records)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def status_of(found: ReadBack) -> SystemProxyStatus:
    """Return the status for the system proxy as read."""
    state = SystemProxyState.ON if found.titles else SystemProxyState.OFF
    value = ""
    if found.is_managed:
        state = SystemProxyState.MANAGED
    elif found.foreign is not None:
        state, value = SystemProxyState.CHANGED, found.foreign.view.address
    return SystemProxyStatus(state, value=value, targets=found.titles, hints=found.hints)
