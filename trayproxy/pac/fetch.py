"""Loads a PAC script from its source once, with the last good copy in reserve. It blocks."""

import logging
import re
from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import time
from urllib.parse import unquote_to_bytes

from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.file_replacement import read_file
from trayproxy.pac.decoding import MAX_SIZE, PacContentError, decode_script
from trayproxy.pac.direct_connection import (
    Address,
    Deadline,
    DownloadError,
    LookUp,
    MakeContext,
    UnknownNameError,
    look_up,
)
from trayproxy.pac.download import Downloader
from trayproxy.pac.state import PacState, not_loaded
from trayproxy.pac.stored_copy import (
    DamagedCopyError,
    StoredCopy,
    Validators,
    load_copy,
    store_copy,
)
from trayproxy.pac.wpad import wpad_urls
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.system_settings.entries import TargetError

TIME_LIMIT_S = 10.0
"""The time limit of a download with all redirects, in seconds."""

_DATA = re.compile("data:(?P<type>[^,]*),(?P<data>.*)", re.IGNORECASE | re.DOTALL)
_CHARSET = re.compile(r";\s*charset=([^;,]*)", re.IGNORECASE)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PacTools:
    """What loading a script needs. All functions may block.

    Attributes:
        copies: The folder of the last good copies, `Paths.pac_folder`.
        make_context: Makes the TLS context for https servers, with the authorities of the profile.
        read_system: Returns the system's own setting; raises `TargetError`.
        dns_suffixes: Returns the DNS suffixes of the present network.
        look_up: Resolves names.
        now: Returns the time in seconds since the epoch.
        time_limit_s: The time limit of a download, in seconds.
    """

    copies: Path
    make_context: MakeContext
    read_system: Callable[[], SystemSetting]
    dns_suffixes: Callable[[], Sequence[str]]
    look_up: LookUp = look_up
    now: Callable[[], float] = time
    time_limit_s: float = TIME_LIMIT_S


def load(
    source: PacSource,
    tools: PacTools,
    known: PacState,
    report_copy: Callable[[PacState], None] = lambda state: None,
) -> PacState:
    """Load a script, or take its last good copy.

    Args:
        source: The source.
        tools: See `PacTools`.
        known: The present state, whose script serves if there is no copy.
        report_copy: Called with the state of the last good copy, if there is one, before the
            source is asked, which may take its time.

    Returns:
        The new state; with a problem if the source cannot be loaded.
    """
    try:
        places = _places(source, tools)
    except TargetError as error:
        problem = not_loaded(source.title, str(error), known)
        return replace(known, is_stored=known.script is not None, problem=problem)
    if isinstance(places, SystemSetting):
        return PacState(setting=places)
    if not places.sources:
        return _undetected("the network names no domain with a PAC script")
    copies, is_damaged = _stored_copies(places, tools)
    for origin, copy in copies.items():
        report_copy(PacState(copy.script, origin, copy.loaded_at, is_stored=True))
        break
    errors: list[tuple[PacSource, DownloadError | PacContentError]] = []
    deadline = Deadline(tools.time_limit_s)
    for origin in places.sources:
        try:
            new = _load_one(origin, places, copies.get(origin), tools, deadline)
        except (DownloadError, PacContentError) as error:
            errors.append((origin, error))
        else:
            _store(origin, new, tools)
            return PacState(new.script, origin, new.loaded_at)
    if places.is_detected and all(isinstance(error, UnknownNameError) for _, error in errors):
        return _undetected("the network has no server with a PAC script")
    failed = next((e for e in errors if not isinstance(e[1], UnknownNameError)), errors[0])
    return _in_reserve(failed, places, known, copies, is_copy_damaged=is_damaged)


def _undetected(reason: str) -> PacState:
    return PacState(setting=SystemSetting(reason=reason), is_undetected=True)


@dataclass(frozen=True, slots=True)
class _Places:
    """The places to look for the script, in order; `is_detected` if they are only guessed."""

    sources: tuple[PacSource, ...]
    is_detected: bool = False


def _places(source: PacSource, tools: PacTools) -> _Places | SystemSetting:
    """Return the places of the script, or the setting if there is no script.

    Raises:
        TargetError: The system's own setting cannot be read.
    """
    if source.kind is PacKind.SYSTEM:
        setting = tools.read_system()
        if setting.source is None:
            return setting
        source = setting.source
    if source.kind is not PacKind.WPAD:
        return _Places((source,))
    urls = wpad_urls(tools.dns_suffixes())
    return _Places(tuple(PacSource(PacKind.URL, url) for url in urls), is_detected=True)


def _load_one(
    origin: PacSource,
    places: _Places,
    copy: StoredCopy | None,
    tools: PacTools,
    deadline: Deadline,
) -> StoredCopy:
    """Return the script of one place.

    Raises:
        DownloadError: The file cannot be loaded.
        PacContentError: The file is not a script.
    """
    match origin.kind:
        case PacKind.URL:
            absolute = partial(_look_up_absolute, tools.look_up)
            find = absolute if places.is_detected else tools.look_up
            downloader = Downloader(find, tools.make_context, deadline)
            validators = copy.validators if copy is not None else Validators()
            found = downloader.download(origin.location, validators)
            if found is None and copy is not None:
                return replace(copy, loaded_at=tools.now())
            if found is None:
                raise DownloadError("the server sends nothing")
            script = decode_script(found.octets, found.charset)
            return StoredCopy(script, tools.now(), found.validators)
        case PacKind.FILE:
            return StoredCopy(decode_script(_octets_of_file(origin.location)), tools.now())
    return StoredCopy(decode_script(*_octets_of_url(origin.location)), tools.now())


def _look_up_absolute(find: LookUp, host: str, port: int) -> Sequence[Address]:
    """Resolve a name without the search list of the system, which would ask for other names."""
    is_name = ":" not in host and not host[-1:].isdigit()
    return find(f"{host}." if is_name else host, port)


def _octets_of_file(path: str) -> bytes:
    try:
        return read_file(Path(path), MAX_SIZE + 1)
    except FileNotFoundError:
        raise DownloadError("there is no such file") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DownloadError(f"the file cannot be read ({reason})") from None


def _octets_of_url(url: str) -> tuple[bytes, str]:
    """Return the octets and the charset of a ``data:`` URL (RFC 2397)."""
    parts = _DATA.fullmatch(url)
    if parts is None:
        raise DownloadError("the URL has no comma before the script")
    octets = unquote_to_bytes(parts["data"])
    if parts["type"].rstrip().lower().endswith(";base64"):
        try:
            octets = b64decode(octets)
        except Base64Error:
            raise DownloadError("the URL is not valid base64") from None
    charset = _CHARSET.search(parts["type"])
    return octets, charset[1].strip() if charset else ""


def _stored_copies(places: _Places, tools: PacTools) -> tuple[dict[PacSource, StoredCopy], bool]:
    """Return the copies of the places, and whether one is damaged."""
    copies: dict[PacSource, StoredCopy] = {}
    is_damaged = False
    for origin in places.sources:
        try:
            copy = load_copy(tools.copies, origin) if _is_stored(origin) else None
        except DamagedCopyError as error:
            logger.warning("the last good copy of %s is not used: %s", origin.title, error)
            is_damaged = True
        else:
            if copy is not None:
                copies[origin] = copy
    return copies, is_damaged


def _store(origin: PacSource, copy: StoredCopy, tools: PacTools) -> None:
    if not _is_stored(origin):
        return
    try:
        store_copy(tools.copies, origin, copy)
    except OSError as error:
        logger.warning("no copy of %s is kept: %s", origin.title, error.strerror or error)


def _is_stored(origin: PacSource) -> bool:
    return origin.kind in (PacKind.URL, PacKind.FILE)


def _in_reserve(
    failed: tuple[PacSource, Exception],
    places: _Places,
    known: PacState,
    copies: Mapping[PacSource, StoredCopy],
    *,
    is_copy_damaged: bool,
) -> PacState:
    """Return the state with the script known before, or else with a copy, and the problem."""
    origin, error = failed
    logger.info("%s cannot be loaded: %s", origin.title, error)
    reserve = PacState()
    if known.script is not None and known.origin in places.sources:
        reserve = replace(known, is_stored=True)
    else:
        for place, copy in copies.items():
            reserve = PacState(copy.script, place, copy.loaded_at, is_stored=True)
            break
    problem = not_loaded(origin.title, str(error), reserve, is_copy_damaged=is_copy_damaged)
    return replace(reserve, problem=problem)
