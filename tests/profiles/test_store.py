"""Tests for trayproxy.profiles.store: the file on disk, and its failures."""

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.processes import RunPython
from tests.support.values import LAB, OFFICE
from trayproxy.profiles.config import MAX_PROFILES, Config
from trayproxy.profiles.profile import ProfileError
from trayproxy.profiles.store import MAX_SIZE, SettingsError, SettingsStore

ONE = Config().with_profile(OFFICE)
TWO = ONE.with_profile(LAB)

CHILD = """
import os, signal, sys
from pathlib import Path
from trayproxy.profiles.config import Config
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.profiles.store import SettingsError, SettingsStore
import trayproxy.profiles.edit
store = SettingsStore(Path(sys.argv[1]))
config = store.load().with_profile(Profile("lab", "Lab", Upstream("lab.example", 8080)))
"""

KILLED_AT_EVENT = (
    CHILD
    + """
left = int(sys.argv[2])
def count(event, arguments):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(count)
store.save(config)
"""
)

SAVE = """
try:
    store.save(config)
except SettingsError as error:
    print(error.id, error.title, error.body, sep="\\n")
"""
DISK_FULL = (
    f"{CHILD}\nimport resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n{SAVE}"
)
READ_ONLY = f"{CHILD}\nif os.geteuid() == 0:\n    os.setuid(65534)\n{SAVE}"


def loaded(path: Path, last_good: Path | None = None) -> SettingsStore:
    store = SettingsStore(path, last_good)
    store.load()
    return store


def error_of(step: Callable[[], object]) -> SettingsError:
    with pytest.raises(SettingsError) as caught:
        step()
    return caught.value


def has_no_temporary_file(path: Path) -> bool:
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config.toml"


@pytest.fixture
def saved(path: Path) -> Path:
    """Return a file with a single profile."""
    loaded(path).save(ONE)
    return path


def test_without_a_file_the_settings_are_the_defaults(path: Path) -> None:
    assert SettingsStore(path).load() == Config()
    assert not path.exists()


def test_saved_settings_are_read_again(saved: Path) -> None:
    store = SettingsStore(saved)
    assert store.load() == ONE
    store.save(TWO)
    assert store.config == TWO
    assert SettingsStore(saved).load() == TWO


@pytest.mark.unix
def test_the_first_save_creates_a_private_folder(path: Path) -> None:
    below = path.parent / "new" / path.name
    loaded(below).save(ONE)
    assert stat.S_IMODE(below.parent.stat().st_mode) == 0o700
    assert SettingsStore(below).load() == ONE


@pytest.mark.unix
def test_the_file_is_private(saved: Path) -> None:
    saved.chmod(0o644)
    loaded(saved).save(TWO)
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert has_no_temporary_file(saved)


@pytest.mark.parametrize(
    ("octets", "line"),
    [
        (b"schema = 1\nprofiles = \n", 2),
        (b"\n\n\xff\xfe", 3),
        (b"\0" * 4096, 1),
        (b"[[profiles]]\nid = 'a'\n", 1),
        (b"#" * (MAX_SIZE + 1), 1),
    ],
    ids=["cut", "binary", "zeros", "incomplete", "large"],
)
def test_an_invalid_file_is_reported_and_not_changed(saved: Path, octets: bytes, line: int) -> None:
    store = loaded(saved)
    saved.write_bytes(octets)
    for step in (store.load, lambda: store.save(TWO)):
        error = error_of(step)
        assert (error.id, error.title) == ("TP-801", "The settings file has a mistake")
        assert error.body.startswith(f"{saved}, line {line}: ")
        assert error.body.endswith(". The file was not touched.")
    assert store.config == ONE
    assert saved.read_bytes() == octets


HOSTILE = {
    "a number of 5,000 digits": "schema = " + "9" * 5000,
    "a port of 5,000 hexadecimal digits": "[listen]\nport = 0x" + "f" * 5000,
    "a number of 5,000 digits with an unknown key": "other = -" + "1" * 5000,
    "a key of 40 KB": ".".join("a" * 20_000) + " = 1",
    "a header of 40 KB": f"[{'.'.join('a' * 20_000)}]",
    "a key of 40 KB in an inline table": f"a = {{ {'.'.join('a' * 20_000)} = 1 }}",
    "quoted parts": "'a'." * 10_000 + "a = 1",
    "12,000 profiles": "".join(
        f'[[profiles]]\nid = "p{n}"\nname = "{n}"\nupstream = "p:1"\n' for n in range(12_000)
    ),
    "as many profiles as fit": "".join(
        f'[[profiles]]\nid="{n}"\nname="{n}"\nupstream="p:1"\n' for n in range(2500)
    ),
    "nested lists": "a = " + "[" * 60_000,
    "texts without an end": 'a = """' + '\\"""' * 30_000,
    "escaped quotes": 'a = "' + '\\"' * 60_000,
    "one long word": "a" * 120_000,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_every_text_is_parsed_quickly(saved: Path, text: str, run_python: RunPython) -> None:
    # In a separate process, because only its end can stop an endless computation.
    saved.write_text(text)
    script = (
        "import sys; from pathlib import Path; from trayproxy.profiles.store import *\n"
        "try: SettingsStore(Path(sys.argv[1])).load()\n"
        "except SettingsError as error: print(error.id, len(error.body) < 500)\n"
    )
    result = run_python(script, saved)
    assert (result.stdout, result.stderr) == ("TP-801 True\n", "")


@pytest.mark.parametrize(
    "text",
    [
        "other = [" + ", ".join(f"{n}.5" for n in range(100)) + "]",
        "# " + "." * 200,
        'other = """\n' + "a." * 200 + '\n"""',
        "other = '" + "a.b=" * 200 + "'",
        '"a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r" = 1',
        "a.b.c.d = 1",
    ],
)
def test_dots_outside_keys_are_accepted(saved: Path, text: str) -> None:
    saved.write_text(text)
    assert SettingsStore(saved).load() == Config()


def test_the_number_of_profiles_is_limited(path: Path) -> None:
    config = Config()
    for number in range(MAX_PROFILES):
        config = config.with_profile(replace(OFFICE, id=f"p{number}", name=str(number)))
    loaded(path).save(config)
    assert SettingsStore(path).load() == config
    assert config.with_profile(replace(OFFICE, id="p1", name="other")).find("other")
    with pytest.raises(ProfileError, match="Delete one first"):
        config.with_profile(OFFICE)


def test_a_folder_is_not_a_file_where_folders_cannot_be_opened(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def windows_open(path: Path, *_: int) -> int:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "open", windows_open)
    assert error_of(SettingsStore(saved).load).id == "TP-802"
    saved.unlink()
    saved.mkdir()
    assert error_of(SettingsStore(saved).load).id == "TP-801"


@pytest.mark.parametrize("kind", [pytest.param("mkfifo", marks=pytest.mark.unix), "mkdir"])
def test_reading_a_fifo_or_a_folder_does_not_block(saved: Path, tmp_path: Path, kind: str) -> None:
    good = tmp_path / "last-good.toml"
    SettingsStore(saved, good).load()
    saved.unlink()
    make: Callable[[Path], None] = getattr(os, kind)
    make(saved)
    store = SettingsStore(saved, good)
    for step in (store.load, lambda: store.save(TWO)):
        error = error_of(step)
        assert error.id == "TP-801"
        assert error.body.startswith(f"{saved}: it is not a file. ")
    assert store.load_last_good() == ONE
    # The same for the copy, without which the defaults are used.
    good.unlink()
    make(good)
    assert store.load_last_good() is None
    assert store.is_changed_on_disk() is False


def test_a_file_of_a_newer_version_is_not_changed(saved: Path) -> None:
    saved.write_text("schema = 99\n")
    store = SettingsStore(saved)
    error = error_of(store.load)
    assert error.id == "TP-803"
    assert "newer" in str(error)
    error_of(lambda: store.save(ONE))
    assert saved.read_text() == "schema = 99\n"


def test_a_file_changed_on_disk_is_not_overwritten(saved: Path) -> None:
    store, other = loaded(saved), loaded(saved)
    assert not store.is_changed_on_disk()
    other.save(TWO)
    assert store.is_changed_on_disk()
    assert error_of(lambda: store.save(Config())).id == "TP-804"
    assert SettingsStore(saved).load() == TWO
    store.load()
    store.save(ONE)
    assert SettingsStore(saved).load() == ONE


def test_a_created_or_deleted_file_is_changed_on_disk(saved: Path) -> None:
    store = loaded(saved)
    saved.unlink()
    assert store.is_changed_on_disk()
    error_of(lambda: store.save(TWO))
    assert store.load() == Config()


@pytest.mark.unix
def test_the_target_of_a_link_is_changed(tmp_path: Path, saved: Path) -> None:
    link = tmp_path / "elsewhere" / "config.toml"
    link.parent.mkdir()
    link.symlink_to(saved)
    loaded(link).save(TWO)
    assert link.is_symlink()
    assert SettingsStore(saved).load() == TWO


def test_a_byte_order_mark_is_accepted(saved: Path) -> None:
    saved.write_bytes(b"\xef\xbb\xbf" + saved.read_bytes())
    store = SettingsStore(saved)
    assert store.load() == ONE
    store.save(TWO)
    assert SettingsStore(saved).load() == TWO


def test_the_error_names_the_settings_in_use(saved: Path) -> None:
    good, fine = saved.with_name("good.toml"), saved.read_bytes()

    for used in ("The defaults", "The last good settings"):
        saved.write_text("broken")
        body = error_of(SettingsStore(saved, good).load).body
        assert body.endswith(f". {used} are in use; the file was not touched.")
        saved.write_bytes(fine)
        loaded(saved, good)


@pytest.mark.unix
def test_the_last_good_settings_are_used_for_a_start_with_an_invalid_file(saved: Path) -> None:
    good = saved.with_name("good.toml")
    assert SettingsStore(saved, good).load_last_good() is None
    loaded(saved, good)
    assert stat.S_IMODE(good.stat().st_mode) == 0o600
    saved.write_text("broken")
    store = SettingsStore(saved, good)
    error_of(store.load)
    assert store.load_last_good() == store.config == ONE
    good.write_text("broken too")
    assert store.load_last_good() is None


@pytest.mark.unix
def test_a_full_disk_keeps_the_old_file(saved: Path, run_python: RunPython) -> None:
    before = saved.read_bytes()
    problem, title, body = run_python(DISK_FULL, saved).stdout.splitlines()
    assert (problem, title) == ("TP-802", "The settings could not be saved")
    assert "File too large" in body
    assert saved.read_bytes() == before
    assert has_no_temporary_file(saved)


@pytest.mark.unix
def test_a_read_only_folder_keeps_the_old_file(saved: Path, run_python: RunPython) -> None:
    before = saved.read_bytes()
    saved.chmod(0o644)
    for folder in (saved.parent, *saved.parent.parents[:2]):
        folder.chmod(0o555)
    try:
        problem, _, body = run_python(READ_ONLY, saved).stdout.splitlines()
    finally:
        for folder in (saved.parent, *saved.parent.parents[:2]):
            folder.chmod(0o700)
    assert problem == "TP-802"
    assert "Permission denied" in body
    assert saved.read_bytes() == before


def test_after_a_kill_at_any_moment_the_file_is_the_old_or_the_new_file(
    saved: Path, run_python: RunPython
) -> None:
    before = saved.read_bytes()
    outcomes = []
    for event in range(1, 20):
        saved.write_bytes(before)
        code = run_python(KILLED_AT_EVENT, saved, event).returncode
        outcomes.append(SettingsStore(saved).load())
        assert outcomes[-1] in (ONE, TWO)
        if code == 0:
            break
    assert code == 0
    assert outcomes.count(ONE) >= 3
    assert outcomes[-1] == TWO
    # The temporary files of killed processes are harmless and are removed.
    assert has_no_temporary_file(saved)


@pytest.mark.unix
def test_no_descriptor_is_left_open(saved: Path) -> None:
    store = loaded(saved)
    before = len(os.listdir("/proc/self/fd"))
    for config in (TWO, ONE) * 5:
        store.save(config)
    assert len(os.listdir("/proc/self/fd")) == before
