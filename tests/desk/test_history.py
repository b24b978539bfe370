"""Tests for trayproxy.desk.history: records between runs, without secrets."""

import json
import stat
import sys
from collections.abc import Iterator
from hashlib import scrypt
from pathlib import Path
from queue import SimpleQueue
from threading import Event
from typing import Any

import pytest

from trayproxy.auth.login import Login
from trayproxy.desk.history import HistoryFile, HistoryRecord, NullHistory
from trayproxy.desk.history_records import HOLD_S, MAX_REJECTED, MAX_SIZE, UNHASHED
from trayproxy.desk.machine.events import (
    CancelTrial,
    ClearHistory,
    ClearRejection,
    RecordFingerprint,
    RecordRejection,
)
from trayproxy.desk.protection_space import UpstreamFingerprint, UpstreamId, bounded_realm

SPACE = UpstreamId("office", "http://proxy.example:8080")
OTHER = UpstreamId("lab", "http://proxy.example:8080")
ELSEWHERE = UpstreamId("office", "http://other.corp.example:8080")
LOGIN = Login("CORP\\jdoe", "Zx9-hidden ü")
PIN = UpstreamFingerprint("ntlm", ("Corp", "Ünïcode \N{SNOWMAN}"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "sign-in.json"


@pytest.fixture
def history(path: Path) -> Iterator[HistoryFile]:
    history = HistoryFile(path)
    yield history
    history.close()


def restart(history: HistoryFile, path: Path) -> HistoryFile:
    """Close the history and open its file again, as the next run does."""
    history.close()
    return HistoryFile(path)


def was_rejected(history: HistoryFile, login: Login = LOGIN, space: UpstreamId = SPACE) -> bool:
    return history.rejecting_profile(space, login).result(10) is not None


def test_a_rejected_login_is_known_in_the_next_run(history: HistoryFile, path: Path) -> None:
    history.update(RecordRejection(SPACE, LOGIN))
    later = restart(history, path)
    assert was_rejected(later)
    assert not was_rejected(later, Login(LOGIN.user, "another"))
    assert was_rejected(later, space=OTHER)  # Another profile with the same upstream.
    assert later.rejecting_profile(OTHER, LOGIN).result(10) == SPACE.profile_id
    assert not was_rejected(later, space=ELSEWHERE)
    later.close()


def test_an_acceptance_removes_the_rejection(history: HistoryFile, path: Path) -> None:
    history.update(RecordRejection(SPACE, LOGIN))
    history.update(ClearRejection(SPACE, LOGIN))
    later = restart(history, path)
    assert not was_rejected(later)


def test_a_fingerprint_is_known_in_the_next_run(history: HistoryFile, path: Path) -> None:
    history.update(RecordFingerprint(SPACE, PIN))
    history.update(RecordFingerprint(OTHER, PIN))
    history.update(RecordFingerprint(OTHER, None))
    assert restart(history, path).fingerprints == {SPACE: PIN}


def test_a_forgotten_profile_leaves_no_records(history: HistoryFile, path: Path) -> None:
    history.update(RecordRejection(SPACE, LOGIN))
    history.update(RecordFingerprint(SPACE, PIN))
    history.update(RecordFingerprint(OTHER, PIN))
    history.update(ClearHistory("office"))
    later = restart(history, path)
    assert later.fingerprints == {OTHER: PIN}
    assert not was_rejected(later)
    assert "office" not in path.read_text()


def test_only_the_latest_rejections_are_kept(history: HistoryFile, path: Path) -> None:
    logins = [Login("jdoe", str(number)) for number in range(MAX_REJECTED + 1)]
    for login in logins:
        history.update(RecordRejection(SPACE, login))
    later = restart(history, path)
    assert not was_rejected(later, logins[0])
    assert was_rejected(later, logins[-1])
    later.close()


def test_no_file_is_written_without_records(history: HistoryFile, path: Path) -> None:
    assert not was_rejected(history)
    history.update(ClearRejection(SPACE, LOGIN))
    history.update(ClearHistory("office"))
    history.close()
    assert not path.exists()


def test_the_file_contains_no_secret_and_only_short_hashes(
    history: HistoryFile, path: Path
) -> None:
    history.update(RecordRejection(SPACE, LOGIN))
    history.update(RecordFingerprint(SPACE, PIN))
    history.close()
    text = path.read_text()
    assert "hidden" not in text
    assert "jdoe" not in text
    (entry,) = json.loads(text)["upstreams"]
    assert [len(bytes.fromhex(fingerprint)) for fingerprint in entry["rejected"]] == [2]
    octets = bytes.fromhex(json.loads(text)["salt"])
    assert len(octets) == 16
    quick = scrypt(b"hidden", salt=octets, n=2, r=8, p=1, dklen=2).hex()
    assert entry["rejected"] != [quick]


@pytest.mark.skipif(sys.platform == "win32", reason="there, the folder's ACL protects it")
def test_only_the_user_may_read_the_file(history: HistoryFile, path: Path) -> None:
    history.update(RecordFingerprint(SPACE, PIN))
    history.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"{",
        b"\x00\xff" * 100,
        b"[]",
        b"null",
        b'{"schema": 99}',
        b'{"schema": 1, "salt": "00", "upstreams": []}',
        b'{"schema": 1, "salt": "' + b"00" * 16 + b'", "upstreams": [{"profile": 1}]}',
        b'{"schema": 1, "salt": "' + b"00" * 16 + b'", "upstreams": {"a": 1}}',
        b"[" * 100_000,
        b" " * 1_000_000,
    ],
)
def test_a_damaged_file_is_renamed_and_a_new_file_written(path: Path, octets: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(octets)
    history = HistoryFile(path)
    assert history.fingerprints == {}
    assert path.with_name("sign-in.json.bad").read_bytes() == octets
    history.update(RecordFingerprint(SPACE, PIN))
    assert restart(history, path).fingerprints == {SPACE: PIN}


WHOLE: dict[str, Any] = {
    "schema": 1,
    "salt": "00" * 16,
    "upstreams": [
        {
            "profile": "office",
            "upstream": "http://proxy.example:8080",
            "label": "ntlm",
            "realms": ["Corp"],
            "rejected": ["abcd"],
            "addresses": ["192.0.2.1:8080"],
            "tried": [{"login": "1234", "count": 2, "last": 1_000_000}],
        }
    ],
}
"""A file that is whole, as `HistoryFile` writes it."""

OF_UPSTREAM = ("profile", "upstream", "label", "realms", "rejected", "addresses", "tried")
OF_TRIAL = ("login", "count", "last")
LATER = ("addresses", "tried")
"""What files of earlier versions do not have."""
WRONG = [1, 1.5, True, [1], ["Corp", 1], [["Corp"]], [None], {"Corp": 1}, "Corp", "", {}, None]


def changed(place: str, value: object) -> bytes:
    """Return a complete file with another value at one place; None removes the place."""
    document = json.loads(json.dumps(WHOLE))
    where = document["upstreams"][0] if place in (*OF_UPSTREAM, *OF_TRIAL) else document
    where = where["tried"][0] if place in OF_TRIAL else where
    where[place] = value
    if value is None:
        del where[place]
    return json.dumps(document).encode()


def is_right(place: str, value: object) -> bool:
    if place in ("profile", "upstream", "login"):
        return isinstance(value, str)
    if place == "label":  # Without a label there is no fingerprint.
        return isinstance(value, str) or value == {}
    if place in ("count", "last"):
        return value == 1 and value is not True
    return (place == "schema" and value == 1) or (place in LATER and value is None)


CASES = [
    (place, value)
    for place in (*WHOLE, *OF_UPSTREAM, *OF_TRIAL)
    for value in WRONG
    if not is_right(place, value)
]


@pytest.mark.parametrize(("place", "value"), CASES)
def test_a_file_with_a_wrong_type_is_renamed(path: Path, place: str, value: object) -> None:
    octets = changed(place, value)
    path.parent.mkdir()
    path.write_bytes(octets)
    history = HistoryFile(path)
    assert history.fingerprints == {}
    assert not was_rejected(history)
    assert path.with_name("sign-in.json.bad").read_bytes() == octets
    history.close()


@pytest.mark.parametrize(("place", "value"), [("schema", 1), ("addresses", None), ("tried", None)])
def test_a_complete_file_is_read_even_of_an_earlier_version(
    path: Path, place: str, value: object
) -> None:
    path.parent.mkdir()
    path.write_bytes(changed(place, value))
    assert HistoryFile(path).fingerprints == {SPACE: UpstreamFingerprint("ntlm", ("Corp",))}
    assert not path.with_name("sign-in.json.bad").exists()


@pytest.mark.parametrize(("place", "value"), [("label", ""), ("label", {}), ("realms", [])])
def test_without_a_label_or_a_realm_there_is_no_fingerprint(
    path: Path, place: str, value: object
) -> None:
    path.parent.mkdir()
    path.write_bytes(changed(place, value))
    assert HistoryFile(path).fingerprints == {}
    assert not path.with_name("sign-in.json.bad").exists()


@pytest.mark.parametrize(("size", "is_read"), [(256 * 1024, True), (256 * 1024 + 1, False)])
def test_a_file_of_256_kib_is_read_and_a_larger_file_renamed(
    path: Path, size: int, is_read: bool
) -> None:
    path.parent.mkdir()
    path.write_bytes(json.dumps(WHOLE).encode().ljust(size))
    assert bool(HistoryFile(path).fingerprints) is is_read
    assert path.with_name("sign-in.json.bad").exists() is not is_read


def test_all_records_survive_reading_and_writing(history: HistoryFile, path: Path) -> None:
    path.parent.mkdir()
    path.write_text(json.dumps(WHOLE))
    later = restart(history, path)
    later.update(RecordFingerprint(OTHER, PIN))
    later.close()
    document = json.loads(path.read_text())
    assert document["upstreams"][0] == WHOLE["upstreams"][0]
    assert (document["schema"], document["salt"]) == (WHOLE["schema"], WHOLE["salt"])


def test_a_write_error_affects_only_later_runs(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    history = HistoryFile(in_the_way / "sign-in.json")
    history.update(RecordFingerprint(SPACE, PIN))
    history.update(RecordRejection(SPACE, LOGIN))
    history.close()
    assert history.fingerprints == {SPACE: PIN}


def test_an_unresponsive_folder_does_not_block(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    began, goes_on = Event(), Event()

    def hang(*_: object, **__: object) -> None:
        began.set()
        goes_on.wait()

    monkeypatch.setattr("trayproxy.desk.history.replace_file", hang)
    monkeypatch.setattr("trayproxy.desk.history.CLOSE_S", 0.01)
    history = HistoryFile(path)
    recorded = history.begin_trial(SPACE, LOGIN, retry_rejected=False)
    assert began.wait(30)
    history.update(RecordFingerprint(SPACE, PIN))
    history.close()  # The call returns although the directory does not respond.
    assert not recorded.done()
    goes_on.set()
    assert recorded.result(30) == HistoryRecord()


def test_a_null_history_stores_nothing() -> None:
    history = NullHistory()
    history.update(RecordRejection(SPACE, LOGIN))
    history.update(ClearRejection(SPACE, LOGIN))
    history.update(RecordFingerprint(SPACE, PIN))
    history.update(ClearHistory("office"))
    history.close()
    assert history.rejecting_profile(SPACE, LOGIN).result(0) is None
    assert history.fingerprints == {}


# --- Logins on trial ------------------------------------------------------------------------------


def test_a_login_on_trial_is_held_back_in_the_next_run(history: HistoryFile, path: Path) -> None:
    assert history.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10) == HistoryRecord()
    assert (
        history.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10) == HistoryRecord()
    )  # In the same run.
    later = restart(history, path)
    assert later.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10).hold_s > HOLD_S[1] - 60
    assert later.begin_trial(SPACE, LOGIN, retry_rejected=True).result(10) == HistoryRecord()
    later.close()


@pytest.fixture
def hashes(monkeypatch: pytest.MonkeyPatch) -> "SimpleQueue[str]":
    """The logins that were hashed, in order."""
    made: SimpleQueue[str] = SimpleQueue()

    def noted(message: bytes, **settings: Any) -> bytes:
        made.put(found := scrypt(message, **settings).hex())
        return bytes.fromhex(found)

    monkeypatch.setattr("hashlib.scrypt", noted)
    return made


def names_in(path: Path) -> list[str]:
    """Return the hashes of the logins on trial."""
    upstreams = json.loads(path.read_text())["upstreams"]
    return [one["login"] for upstream in upstreams for one in upstream["tried"]]


def test_an_immediate_acceptance_needs_no_hash(
    history: HistoryFile, path: Path, hashes: "SimpleQueue[str]"
) -> None:
    """Each run begins with such a trial, and its first request would wait for the hash."""
    assert (
        history.begin_trial(SPACE, LOGIN, retry_rejected=False, is_automatic=True).result(10)
        == HistoryRecord()
    )
    assert names_in(path) == [UNHASHED]
    history.update(ClearRejection(SPACE, LOGIN))
    history.close()
    assert hashes.empty()
    assert names_in(path) == []


def test_the_rejection_of_another_login_does_not_end_a_trial(
    history: HistoryFile, path: Path
) -> None:
    history.begin_trial(SPACE, LOGIN, retry_rejected=False, is_automatic=True).result(10)
    history.update(RecordRejection(SPACE, Login(LOGIN.user, "another")))
    history.close()
    assert len(names_in(path)) == 1


def test_a_trial_without_a_verdict_gets_the_hash_of_its_login(
    path: Path, hashes: "SimpleQueue[str]"
) -> None:
    history = HistoryFile(path, hash_after_s=0)
    history.begin_trial(SPACE, LOGIN, retry_rejected=False, is_automatic=True)
    name = hashes.get(timeout=10)
    later = restart(history, path)
    assert names_in(path) == [name]
    another = Login(LOGIN.user, "another")
    assert later.begin_trial(SPACE, another, retry_rejected=False).result(10) == HistoryRecord()
    assert later.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10).hold_s > 0
    later.close()


def test_after_a_kill_the_saved_login_is_held_back(history: HistoryFile, path: Path) -> None:
    """The file does not say which login was on trial; another trial could cost a failed log-on."""
    history.begin_trial(SPACE, LOGIN, retry_rejected=False, is_automatic=True).result(10)
    later = HistoryFile(path)
    another = Login(LOGIN.user, "another")
    for login in (LOGIN, another):
        held = later.begin_trial(SPACE, login, retry_rejected=False, is_automatic=True).result(10)
        assert held.hold_s > 0
    assert later.begin_trial(ELSEWHERE, LOGIN, retry_rejected=False).result(10) == HistoryRecord()
    # A login that is typed or given for this run is another login, or is tried on purpose.
    assert later.begin_trial(SPACE, another, retry_rejected=False).result(10) == HistoryRecord()
    assert later.begin_trial(SPACE, LOGIN, retry_rejected=True).result(10) == HistoryRecord()
    later.update(ClearRejection(SPACE, another))
    later.update(ClearRejection(SPACE, LOGIN))
    later.update(ClearRejection(ELSEWHERE, LOGIN))
    later.close()
    assert names_in(path) == []


def test_after_a_kill_only_the_typed_login_is_held_back(history: HistoryFile, path: Path) -> None:
    """The hash of a typed login is in the file before the login is sent."""
    history.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10)
    assert UNHASHED not in names_in(path)
    later = HistoryFile(path)
    another = Login(LOGIN.user, "another")
    for is_automatic in (True, False):
        tried = later.begin_trial(
            SPACE, another, retry_rejected=False, is_automatic=is_automatic
        ).result(10)
        assert tried == HistoryRecord()
    for is_automatic in (True, False):
        held = later.begin_trial(
            SPACE, LOGIN, retry_rejected=False, is_automatic=is_automatic
        ).result(10)
        assert held.hold_s > 0
    later.close()


def test_an_acceptance_keeps_the_trial_of_another_login(history: HistoryFile, path: Path) -> None:
    another = Login(LOGIN.user, "another")
    history.begin_trial(OTHER, another, retry_rejected=False)
    history.update(ClearRejection(SPACE, LOGIN))
    later = restart(history, path)
    assert later.begin_trial(SPACE, another, retry_rejected=False).result(10).hold_s > 0
    later.close()


def test_a_login_is_tried_even_if_its_trial_cannot_be_recorded(
    history: HistoryFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise no user could sign in on a computer whose OpenSSL has no scrypt."""

    def refuse(*_: object, **__: object) -> bytes:
        raise ValueError

    monkeypatch.setattr("hashlib.scrypt", refuse)
    assert history.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10) == HistoryRecord()


def test_a_login_on_trial_is_held_back_for_a_limited_time(path: Path) -> None:
    first = HistoryFile(path, now=lambda: 1_000_000.0)
    first.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10)
    first.close()
    moments = iter((1_000_000.0, 1_000_599.0))
    later = HistoryFile(path, now=lambda: next(moments))
    for left in (600.0, 1.0):
        assert later.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10) == HistoryRecord(
            hold_s=left
        )
    later = HistoryFile(path, now=lambda: 1_000_600.0)
    assert later.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10) == HistoryRecord()
    later.close()


@pytest.mark.parametrize("ends", [ClearRejection, CancelTrial])
def test_a_finished_trial_holds_nothing_back(
    history: HistoryFile, path: Path, ends: type[ClearRejection | CancelTrial]
) -> None:
    history.begin_trial(SPACE, LOGIN, retry_rejected=False)
    history.update(ends(SPACE, LOGIN))
    later = restart(history, path)
    assert later.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10) == HistoryRecord()
    later.close()


def test_a_cancelled_trial_keeps_the_trial_of_an_earlier_run(
    history: HistoryFile, path: Path
) -> None:
    history.begin_trial(SPACE, LOGIN, retry_rejected=False)
    second = restart(history, path)
    second.begin_trial(SPACE, LOGIN, retry_rejected=True)
    second.update(CancelTrial(SPACE, LOGIN))
    third = restart(second, path)
    hold_s = third.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10).hold_s
    assert HOLD_S[0] - 60 < hold_s <= HOLD_S[0]
    third.close()


def test_a_rejected_trial_becomes_a_rejection(history: HistoryFile, path: Path) -> None:
    history.begin_trial(SPACE, LOGIN, retry_rejected=False)
    history.update(RecordRejection(SPACE, LOGIN))
    later = restart(history, path)
    assert later.begin_trial(SPACE, LOGIN, retry_rejected=False).result(10) == HistoryRecord(
        is_rejected=True
    )
    later.close()


def test_a_rejection_is_known_under_another_name_of_the_address(
    history: HistoryFile, path: Path
) -> None:
    history.set_addresses(SPACE, ("192.0.2.1:8080",))
    history.update(RecordRejection(SPACE, LOGIN))
    later = restart(history, path)
    assert not was_rejected(later, space=ELSEWHERE)
    later.set_addresses(ELSEWHERE, ("192.0.2.1:8080", "192.0.2.2:8080"))
    assert was_rejected(later, space=ELSEWHERE)
    later.close()


def test_several_rejections_of_a_login_have_the_same_hash(history: HistoryFile, path: Path) -> None:
    for space in (SPACE, OTHER, ELSEWHERE):
        history.update(RecordRejection(space, LOGIN))
    history.close()
    entries = json.loads(path.read_text())["upstreams"]
    assert len({tuple(entry["rejected"]) for entry in entries}) == 1


def test_a_file_too_large_to_read_is_not_written(history: HistoryFile, path: Path) -> None:
    """A realm may have 32,000 characters."""
    history.update(RecordRejection(SPACE, LOGIN))
    for number in range(60):
        space = UpstreamId(f"p{number}", f"http://proxy{number}.example:3128")
        history.update(
            RecordFingerprint(
                space,
                UpstreamFingerprint("basic", tuple(f"{n}" + "\xff" * 32_000 for n in range(8))),
            )
        )
    later = restart(history, path)
    assert path.stat().st_size <= MAX_SIZE
    assert not path.with_name("sign-in.json.bad").exists()
    assert UpstreamId("p59", "http://proxy59.example:3128") in later.fingerprints
    later.close()


def test_two_long_realms_stay_different() -> None:
    one, other = ("\xff" * 32_000 + end for end in "ab")
    assert bounded_realm(one) != bounded_realm(other)
    assert bounded_realm(bounded_realm(one)) == bounded_realm(one)


def test_a_run_for_one_upstream_records_rejections_but_no_fingerprints(path: Path) -> None:
    run = HistoryFile(path, keeps_fingerprints=False)
    run.update(RecordFingerprint(SPACE, PIN))
    run.update(RecordRejection(SPACE, LOGIN))
    run.close()
    later = HistoryFile(path)
    assert later.fingerprints == {}
    assert was_rejected(later)
    later.close()
