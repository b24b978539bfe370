"""Tests for trayproxy.logs."""

import base64
import logging
import os
import select
import shutil
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.logs import Logs, redact

SECRET = "canary-9e1b"
BASIC = base64.b64encode(f"jdoe:{SECRET}".encode()).decode()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "log" / "trayproxy.log"


def start_logs(file: Path, *, to_stderr: bool = False, level: str = "") -> Logs:
    logs = Logs()
    logs.start(file, to_stderr=to_stderr, environ={"TRAYPROXY_LOG_LEVEL": level} if level else {})
    return logs


@pytest.fixture
def logs(file: Path) -> Iterator[Logs]:
    raises, level = logging.raiseExceptions, logging.getLogger().level
    logs = start_logs(file)
    yield logs
    logs.stop()
    logging.raiseExceptions = raises
    logging.getLogger().setLevel(level)


@pytest.mark.parametrize(
    "text",
    [
        f"Proxy-Authorization: Basic {BASIC}",
        f"proxy-authorization: basic {BASIC}",
        f"authorization : Bearer {SECRET}",
        f"Cookie: a={SECRET}; b={SECRET}",
        f"Set-Cookie: sid={SECRET}; Path=/",
        f"b'GET / HTTP/1.1\\r\\nProxy-Authorization: Basic {BASIC}\\r\\nHost: a'",
        f"[(b'Proxy-Authorization', b'Basic {BASIC}'), (b'Host', b'a')]",
        f"{{'Cookie': '{SECRET}'}}",
        f"http://jdoe:{SECRET}@proxy.example:8080/",
        f"connecting to http://{SECRET}@proxy.example",
        f"GET http://a.example/x?token={SECRET} HTTP/1.1",
        f"GET /x?token={SECRET} HTTP/1.1",
        f"sent Basic {BASIC}",
        f"NTLM {BASIC}",
        f"NTLM step output: {BASIC}",
        f"GSSAPI step input: {BASIC}",
        f"the message TlRMTVNTUAADAAAA{BASIC}",
        f'Digest username="jdoe", response="{SECRET.encode().hex()}", cnonce="{SECRET}x"',
    ],
)
def test_secrets_are_redacted(text: str) -> None:
    out = redact(text)
    assert "[hidden]" in out
    for form in (SECRET, BASIC, SECRET.encode().hex()):
        assert form not in out


@pytest.mark.parametrize(
    "text",
    [
        "listening on 127.0.0.1:3128",
        'Basic realm="Corporate Internet Access"',
        "Basic is the only scheme offered",
        "http://proxy.example:8080 does not answer. Why?",
        "jdoe@example.com wrote",
        "profile “Office” (office) is used",
        'File "/usr/lib/python3/x.py", line 3',
    ],
)
def test_other_text_is_not_redacted(text: str) -> None:
    assert redact(text) == text


@given(st.text("ab:=?@/ \"'\r\nCookie", max_size=60), st.sampled_from(["Cookie: ", "://u:"]))
def test_preceding_text_does_not_prevent_redaction(text: str, mark: str) -> None:
    assert SECRET not in redact(f"{text}\n{mark}{SECRET}@h")


def test_a_line_is_written(logs: Logs, file: Path) -> None:
    logging.getLogger("trayproxy.x").info("hello %s", "world")
    logging.getLogger("trayproxy.x").debug("unseen")
    logs.stop()
    line = file.read_text()
    assert line.endswith(" INFO trayproxy.x: hello world\n")
    assert line.count("\n") == 1


def test_the_log_is_written_by_the_handlers_of_later_pythons(
    file: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    # CPython 3.13 enters the handler's lock in these methods; 3.11 calls acquire() if not None.
    def handle(self: logging.Handler, record: logging.LogRecord) -> logging.LogRecord:
        assert self.lock is not None
        with self.lock:
            self.emit(record)
        return record

    def flush(self: logging.StreamHandler[TextIO]) -> None:
        assert self.lock is not None
        with self.lock:
            if self.stream:
                self.stream.flush()

    logs = start_logs(file, to_stderr=True)
    with monkeypatch.context() as changed:
        changed.setattr(logging.Handler, "handle", handle)
        changed.setattr(logging.StreamHandler, "flush", flush)
        logging.getLogger("trayproxy.x").info("hello")
        logs.stop()
    for text in (file.read_text(), capfd.readouterr().err):
        assert text.endswith(" INFO trayproxy.x: hello\n")


def test_the_log_is_private(logs: Logs, file: Path) -> None:
    old = os.umask(0)
    try:
        logging.warning("x")
        logs.stop()
    finally:
        os.umask(old)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_traceback_is_redacted(logs: Logs, file: Path) -> None:
    try:
        raise ValueError(f"http://jdoe:{SECRET}@proxy")
    except ValueError:
        logging.exception("it broke")
    logs.stop()
    text = file.read_text()
    assert "Traceback" in text
    assert "\n  File " in text
    assert SECRET not in text


def test_network_text_cannot_forge_a_record(logs: Logs, file: Path) -> None:
    logging.warning("realm %s", "a\n2026-01-01 00:00:00,000 INFO trayproxy: forged\x1b[2J\r")
    logs.stop()
    assert file.read_text().count("\n") == 1
    assert "\x1b" not in file.read_text()


def test_arguments_are_formatted_when_logged(logs: Logs, file: Path) -> None:
    mutable = ["before"]
    logging.warning("%s", mutable)
    mutable[0] = "after"
    logs.stop()
    assert "before" in file.read_text()


def test_a_malformed_logging_call_is_harmless(file: Path) -> None:
    # In a separate process: pytest cannot send the captured record between its workers.
    script = (
        "import logging, sys\n"
        "from pathlib import Path\n"
        "from trayproxy.logs import Logs\n"
        "logs = Logs()\n"
        "logs.start(Path(sys.argv[1]), to_stderr=False, environ={})\n"
        "logging.warning('%d', 'no number')\n"
        "logging.warning('\\udcff')\n"
        "logs.stop()\n"
    )
    command = [sys.executable, "-c", script, str(file)]
    root = Path(__file__).parents[1]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    assert "\\udcff" in file.read_text()


def test_warnings_are_logged(logs: Logs, file: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("old", stacklevel=1)
    logs.stop()
    assert "UserWarning: old" in file.read_text()


@pytest.mark.parametrize("piece", ["a://", "a.", "://", "Basic ", "Cookie", "?/ ", "x=1 "])
def test_a_long_untrusted_text_is_truncated_quickly(logs: Logs, file: Path, piece: str) -> None:
    logging.warning("realm %s end", piece * (50_000 // len(piece)))
    logging.warning("next")
    before = time.process_time()
    logs.stop()
    assert time.process_time() - before < 5
    first, second = file.read_text().splitlines()
    assert len(first) < 11_000
    assert second.endswith("next")


def test_at_most_five_files_are_kept(file: Path) -> None:
    logs = start_logs(file)
    try:
        for _ in range(700):
            logging.warning("x" * 9_000)
    finally:
        logs.stop()
    sizes = [entry.stat().st_size for entry in file.parent.iterdir()]
    assert len(sizes) == 5
    assert max(sizes) <= 1_000_000
    assert all(stat.S_IMODE(entry.stat().st_mode) == 0o600 for entry in file.parent.iterdir())


def test_a_file_with_a_forbidden_rename_keeps_growing(
    logs: Logs, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Windows does not rename a file that another program has open.
    def rename(source: str, target: str) -> None:
        raise PermissionError(13, "The process cannot access the file", source)

    monkeypatch.setattr(os, "rename", rename)
    line = "x" * 9000
    for _ in range(120):
        logging.warning(line)
    logging.warning("the last")
    logs.stop()
    assert "the last" in file.read_text()
    assert file.stat().st_size > 120 * 9000


def test_a_full_disk_stops_only_the_log(tmp_path: Path) -> None:
    script = (
        "import logging, resource, sys\n"
        "from pathlib import Path\n"
        "from trayproxy.logs import Logs\n"
        "logs = Logs()\n"
        "logs.start(Path(sys.argv[1]), to_stderr=True, environ={})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "for number in range(100):\n"
        "    logging.warning('x' * 100)\n"
        "logs.stop()\n"
        "print('done')\n"
    )
    with open("/dev/full", "w") as full:
        run = subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "log" / "file")],
            cwd=Path(__file__).parents[1],
            stdout=subprocess.PIPE,
            stderr=full,
            text=True,
            timeout=60,
        )
    assert (run.returncode, run.stdout) == (0, "done\n")


def test_a_removed_log_file_is_created_again(logs: Logs, file: Path) -> None:
    def write(text: str) -> None:
        logging.warning(text)
        deadline = time.monotonic() + 30
        while not (file.exists() and text in file.read_text()):
            assert time.monotonic() < deadline, text
            select.select([], [], [], 0.01)

    write("first")
    file.rename(file.with_name("rotated"))
    write("second")
    shutil.rmtree(file.parent)
    write("third")
    assert "second" not in file.read_text()
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_an_unwritable_folder_loses_only_log_lines(logs: Logs, file: Path) -> None:
    shutil.rmtree(file.parent)
    # Even root cannot create a folder in place of a file.
    file.parent.write_text("in the way")
    for _ in range(10):
        logging.warning("x")
    logs.stop()
    assert file.parent.read_text() == "in the way"


def test_a_blocked_standard_error_delays_neither_logging_nor_exit() -> None:
    script = (
        "import logging, sys, time\n"
        "from trayproxy.logs import Logs\n"
        "logs = Logs()\n"
        "logs.start(None, to_stderr=True, environ={})\n"
        "longest = 0.0\n"
        "for number in range(20_000):\n"
        "    before = time.monotonic()\n"
        "    logging.warning('x' * 100)\n"
        "    longest = max(longest, time.monotonic() - before)\n"
        "logs.stop()\n"
        "print(longest, flush=True)\n"
    )
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=Path(__file__).parents[1],
        stdout=subprocess.PIPE,
        stderr=writer,
        text=True,
    ) as program:
        os.close(writer)
        out, _ = program.communicate(timeout=60)
        os.close(reader)
    assert program.returncode == 0
    assert float(out) < 2


def test_a_missing_log_folder_is_not_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    logs = start_logs(tmp_path / "file" / "trayproxy.log")
    logging.warning("x")
    logs.stop()
    logs.stop()


def test_a_fifo_in_place_of_the_log_does_not_block(file: Path) -> None:
    file.parent.mkdir(mode=0o700, parents=True)
    os.mkfifo(file)
    logs = start_logs(file)
    logging.warning("x")
    logs.stop()


def test_the_environment_sets_the_level(file: Path) -> None:
    for level, lines in (("debug", 2), ("ERROR", 0), ("nonsense", 1)):
        logs = start_logs(file, level=level)
        logging.getLogger("t").debug("x")
        logging.getLogger("t").info("x")
        logs.stop()
        assert file.read_text().count("t: x") == lines
        file.unlink()
