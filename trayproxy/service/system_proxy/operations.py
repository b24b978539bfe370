"""Read, set and restore the system proxy. Every function blocks, so it runs in a thread."""

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from trayproxy.control.messages import LeftoverChoice
from trayproxy.desktop.system_proxy.base import (
    ProxyKind,
    ProxySetting,
    ProxyTarget,
    ProxyTargets,
    ProxyView,
    endpoint,
)
from trayproxy.desktop.system_proxy.dead_proxy import dead_address, loopback_endpoints
from trayproxy.desktop.system_proxy.repair import LOCK_TIMEOUT_S
from trayproxy.paths import make_private
from trayproxy.service.system_proxy.changed_by import listening_program
from trayproxy.service.system_proxy.files import SystemProxyFiles
from trayproxy.service.system_proxy.state import Foreign, Leftover, find_foreign, program_at
from trayproxy.system_settings.apply import NotAppliedError, RefusedPart, TargetChange, apply
from trayproxy.system_settings.compare import Owner, owners
from trayproxy.system_settings.entries import TargetError, Values
from trayproxy.system_settings.journal import DamagedJournalError, Journal, JournalFile
from trayproxy.system_settings.lock import changing_settings
from trayproxy.system_settings.record import TargetRecord
from trayproxy.system_settings.restore import restore

logger = logging.getLogger(__name__)

EFFECT_PAUSES_S = (0.05, 0.1, 0.2, 0.4)
"""Pauses between the attempts to find the new system proxy in effect, in seconds: macOS applies it
a moment after the change."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""Linux: a random number of the computer's run (random(4))."""


@dataclass(frozen=True, slots=True)
class ReadBack:
    """The system proxy as read.

    Attributes:
        titles: The titles of the targets that TrayProxy has changed; empty without a journal.
        hints: Sentences that users must know about these targets.
        foreign: The system proxy of another program, None if no other program has set one.
        is_managed: True if an administrator has locked the system proxy.
        pid: The process that has set the system proxy; 0 if it is not set.
        waiting: The targets and parts whose earlier settings could not be restored yet.
        withheld: The earlier address that was not restored because no program answers there; empty
            if there is none.
        holder: The settings file of another TrayProxy that has set the system proxy; empty if there
            is none.
    """

    titles: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    foreign: Foreign | None = None
    is_managed: bool = False
    pid: int = 0
    waiting: tuple[str, ...] = ()
    withheld: str = ""
    holder: str = ""


@dataclass(frozen=True, slots=True)
class TurnedOn:
    """The result of setting the system proxy.

    Attributes:
        inexpressible: Bypass rules that a target cannot express.
        skipped: The titles of the optional targets that could not be read, and the parts of targets
            that could not be read or refused the change.
        damaged: The new path of a damaged journal, None if there was none.
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


class HeldError(Exception):
    """Another TrayProxy of the user has set the system proxy.

    Attributes:
        settings: The settings file of the other TrayProxy.
        pid: The id of the process of the other TrayProxy.
    """

    def __init__(self, settings: str, pid: int) -> None:
        super().__init__(settings)
        self.settings = settings
        self.pid = pid


def read_back(files: SystemProxyFiles, targets: ProxyTargets) -> ReadBack:
    """Return the present system proxy. A target that cannot be read is left out.

    Raises:
        JournalError: The journal cannot be read.
    """
    journal = files.journal.load()
    if journal is None or not journal.pid:
        # Asked only here: the answer needs several commands, and each change of any setting of the
        # desktop leads to a read while the system proxy is TrayProxy's.
        is_managed = any(target.is_managed for target in targets.required)
        waiting, withheld = _rest(journal, targets) if journal is not None else ((), "")
        return ReadBack(is_managed=is_managed, waiting=waiting, withheld=withheld)
    if files.is_of_another(journal):
        return ReadBack(holder=journal.settings)
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
    foreign = find_foreign(journal, changed, present)
    if foreign is not None:
        foreign = replace(foreign, program=listening_program(foreign.view))
    return ReadBack(
        tuple(target.title for target in changed),
        tuple(target.hint for target in changed if target.hint),
        foreign,
        pid=journal.pid,
    )


def _rest(journal: Journal, targets: ProxyTargets) -> tuple[tuple[str, ...], str]:
    """Return the titles of the targets and parts that are still to be restored, and the address of
    the proxy that was not restored because it does not work; empty if there is none."""
    waiting: list[str] = []
    withheld = ""
    known = {target.name: target for target in (*targets.required, *targets.optional)}
    for record in journal.targets:
        target = known.get(record.target)
        title = target.title if target is not None else record.target
        parts = (unit.part for unit in record.units if unit.name not in record.withheld)
        waiting += (f"{title}: {part}" if part else title for part in dict.fromkeys(parts))
        if target is not None and record.withheld:
            with suppress(TargetError):
                withheld = withheld or dead_address(target, record, target.read())
    return tuple(waiting), withheld


def turn_on(
    files: SystemProxyFiles,
    targets: ProxyTargets,
    setting: ProxySetting,
    leftovers: LeftoverChoice | None,
    is_dead: Callable[[str, int], bool],
) -> TurnedOn:
    """Set the system proxy, or change it if TrayProxy has set it before.

    Args:
        files: The journal and the lock.
        targets: The targets of this desktop.
        setting: The new setting.
        leftovers: The choice about an earlier system proxy at which no program listens; None: the
            restoration decides.
        is_dead: Returns True if no program listens at an address of this computer.

    Raises:
        HeldError: Another TrayProxy has set the system proxy.
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
        if journal is not None and files.is_of_another(journal):
            raise HeldError(journal.settings, journal.pid)
        changes: list[TargetChange] = []
        inexpressible: list[str] = []
        is_possible = False
        for target, present in usable:
            wanted = target.wanted(setting, present)
            is_possible |= bool(wanted.values)
            record = journal.record_of(target.name) if journal is not None else None
            values = {**_unneeded(record, present, wanted.values), **wanted.values}
            if not values:
                continue
            change = TargetChange(target, present, values)
            if record is None or journal is None or not journal.pid:
                change = _with_original(change, target, setting, leftovers, is_dead)
            changes.append(change)
            inexpressible += (rule for rule in wanted.inexpressible if rule not in inexpressible)
        if not is_possible:
            raise TargetError("this desktop has no setting for a PAC file; use the mode “address”")
        refusals = apply(files.journal, changes, partial(_make_journal, files.settings))
        _check_effect(files, [target for target, _ in usable], setting, refusals)
        titles = {target.name: target.title for target, _ in usable}
        refusing = (f"{titles[refusal.target]}: {refusal.part}" for refusal in refusals)
        return TurnedOn(tuple(inexpressible), (*skipped, *refusing), damaged)


def _unneeded(record: TargetRecord | None, present: Values, wanted: Values) -> Values:
    """Return the original values of units that TrayProxy has changed, and that the new setting does
    not need.
    """
    if record is None:
        return {}
    found = owners(record, present)
    return {
        key: record.original[key]
        for unit in record.units
        if found[unit.name] is Owner.TRAYPROXY
        and unit.name not in record.withheld
        and wanted.keys().isdisjoint(unit.keys)
        for key in unit.keys
    }


def _check_effect(
    files: SystemProxyFiles,
    targets: Sequence[ProxyTarget],
    setting: ProxySetting,
    refusals: Sequence[RefusedPart],
) -> None:
    """Check that the parts that refuse the change are not those that programs use now.

    Raises:
        NotAppliedError: Programs use a part that refuses; the earlier settings are restored.
    """
    for refusal in refusals:
        [target] = [target for target in targets if target.name == refusal.target]
        if not _is_in_effect(target, setting):
            result = restore(files.journal, _finder(targets))
            raise NotAppliedError(
                refusal.target,
                f"{refusal.part}: {refusal.reason}",
                is_rolled_back=not result.rest,
            )


def _is_in_effect(target: ProxyTarget, setting: ProxySetting) -> bool:
    """Return False if programs use another proxy than the setting."""
    own = (setting.pac_url, endpoint(setting.host, setting.port))
    for pause_s in (*EFFECT_PAUSES_S, 0.0):
        view = target.in_effect()
        if view is None or view.kind is ProxyKind.NONE or view.address in own:
            return True
        time.sleep(pause_s)
    return False


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
    targets and of the parts that cannot.

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
    for target, present in usable:
        parts = dict.fromkeys(unit.part for unit in target.units)
        read = {unit.part for unit in target.units for key in unit.keys if key in present}
        skipped += (f"{target.title}: {part}" for part in parts if part not in read)
    return usable, tuple(skipped)


def _with_original(
    change: TargetChange,
    target: ProxyTarget,
    setting: ProxySetting,
    leftovers: LeftoverChoice | None,
    is_dead: Callable[[str, int], bool],
) -> TargetChange:
    """Return the first change of a target with the values to restore later.

    Raises:
        LeftoverError: The user has to decide about the present system proxy.
    """
    present = change.present
    for view in _views(target, present):
        found = loopback_endpoints(view)
        # TrayProxy's own address without a journal: nothing answers there after TrayProxy's end.
        is_own = (setting.host, setting.port) in found
        dead = [endpoint for endpoint in found if is_own or is_dead(*endpoint)]
        if not dead:
            continue
        if leftovers is LeftoverChoice.ASK:
            program = "" if is_own else program_at(dead[0][1])
            raise LeftoverError(Leftover(target.name, view.address, program))
        if leftovers is LeftoverChoice.FORGET or is_own:
            return replace(change, original=target.without_proxy(present))
        return replace(change, restores_dead=leftovers is LeftoverChoice.KEEP)
    return change


def _views(target: ProxyTarget, present: Values) -> Iterator[ProxyView]:
    """Yield the proxy that each part of the target sets; parts that are missing are skipped."""
    for part in dict.fromkeys(unit.part for unit in target.units):
        units = (unit for unit in target.units if unit.part == part)
        if all(key in present for unit in units for key in unit.keys):
            yield target.describe(present, part)


def _finder(targets: Sequence[ProxyTarget]) -> Callable[[str], ProxyTarget]:
    def find(name: str) -> ProxyTarget:
        for target in targets:
            if target.name == name:
                return target
        raise TargetError("this desktop does not have it")

    return find


def _make_journal(settings: str, records: tuple[TargetRecord, ...]) -> Journal:
    return Journal(os.getpid(), _boot_id(), time.time(), records, settings)


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
