"""Tests for tests.support.searchable_secret, whose searches must find a password everywhere."""

import json
import os
import sys
from base64 import b64encode
from urllib.parse import quote

import pytest

from tests.support.processes import Home, running
from tests.support.searchable_secret import (
    SearchableSecret,
    files_below,
    process_and_children,
    text,
)


def test_two_passwords_differ() -> None:
    assert SearchableSecret().password != SearchableSecret().password


def test_a_password_is_not_in_the_repr() -> None:
    account = SearchableSecret()
    account.assert_absent([text("repr", repr(account)), text("repr of login", repr(account.login))])


@pytest.mark.parametrize("before", ["", "a", "ab", "abc", "alice:"])
@pytest.mark.parametrize("after", ["", "z", "yz", "xyz"])
def test_a_password_is_found_at_each_alignment_of_base64(before: str, after: str) -> None:
    account = SearchableSecret()
    coded = b64encode((before + account.password + after).encode())
    with pytest.raises(AssertionError, match="base64"):
        account.assert_absent([("x", b"noise" + coded + b"noise")])


@pytest.mark.parametrize(
    "encode",
    [
        str.encode,
        lambda t: t.encode("utf-16-le"),
        lambda t: t.encode("utf-16-be"),
        lambda t: t.encode("latin-1"),
        lambda t: t.encode().hex().encode(),
        lambda t: quote(t, safe="").encode(),
        lambda t: json.dumps({"password": t}).encode(),
        lambda t: json.dumps({"password": t}, ensure_ascii=False).encode(),
        lambda t: repr(t.encode()).encode(),
    ],
)
def test_a_password_is_found_in_every_encoding(encode: object) -> None:
    assert callable(encode)
    account = SearchableSecret()
    with pytest.raises(AssertionError) as failed:
        account.assert_absent([("clean", b"nothing"), ("dirty", b"x" + encode(account.password))])
    assert "dirty contains it as" in str(failed.value)
    assert account.password not in str(failed.value)


def test_files_are_searched_with_their_names(place: Home) -> None:
    account = SearchableSecret()
    (place.path("a") / "b").write_bytes(account.password.encode())
    (place.path("c") / account.password.encode().hex()).touch()
    with pytest.raises(AssertionError) as failed:
        account.assert_absent(files_below(place.root))
    assert "a/b contains it as UTF-8" in str(failed.value)
    assert "contains it as hexadecimal" in str(failed.value)


def test_arguments_and_environment_of_a_process_and_its_children_are_searched(place: Home) -> None:
    account = SearchableSecret()
    child = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1], 'child'])"
    idle = "import os, sys; print('up', flush=True); sys.stdin.read(); os.read(0, 1)"
    environment = place.environment(SECRET=account.password)
    argv = [sys.executable, "-c", child, f"{idle}; import signal; signal.pause()"]
    with running(argv, env=environment, cwd=place.root) as process:
        process.out.wait_for("up")
        found = dict(process_and_children(process.pid))
        assert sum("environ" in name for name in found) == 2
        with pytest.raises(AssertionError, match="environ"):
            account.assert_absent(found.items())
        account.assert_absent((n, o) for n, o in found.items() if "cmdline" in n)
    assert os.getpid() != process.pid
