"""Tests for trayproxy.service.access_policy."""

import os
import socket

import pytest

from trayproxy.desktop.socket_owner.base import OwnerLookup, OwnerUnknownError
from trayproxy.engine.server.access_control import AccessControl
from trayproxy.service import access_policy
from trayproxy.service.access_policy import (
    EVERYONE_ALLOWED,
    apply_allowed_users,
    make_access_control,
)


def nobody(connection: socket.SocketType, user: object) -> None: ...


def test_users_are_allowed_by_name_and_number() -> None:
    guard = make_access_control((), nobody)
    assert apply_allowed_users(guard, ("root", "1234567")) == ()
    assert guard.allowed == {0, 1_234_567}
    assert not guard.open_to_all
    guard.close()


def test_an_unknown_user_is_reported_and_the_others_are_allowed() -> None:
    guard = make_access_control((), nobody)
    (problem,) = apply_allowed_users(guard, ("no-such-user", "root"))
    assert problem.id == "TP-107"
    assert "no-such-user" in problem.body
    assert guard.allowed == {0}
    guard.close()


def test_access_for_everyone_is_reported_while_it_lasts() -> None:
    guard = make_access_control(("*",), nobody)
    assert apply_allowed_users(guard, ("*",)) == (EVERYONE_ALLOWED,)
    assert lets_in_ours(guard)
    assert apply_allowed_users(guard, ()) == ()
    assert lets_in_ours(guard)
    assert not guard.allowed
    guard.close()


def does_not_tell() -> OwnerLookup:
    raise OwnerUnknownError


def test_without_owner_lookup_either_everyone_or_no_user_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_policy, "open_owner_lookup", does_not_tell)
    with pytest.raises(OwnerUnknownError):
        make_access_control(("root",), nobody)
    guard = make_access_control(("*",), nobody)
    apply_allowed_users(guard, ("*",))
    assert lets_in_ours(guard)
    apply_allowed_users(guard, (str(os.geteuid()),))
    assert not lets_in_ours(guard)


def lets_in_ours(guard: AccessControl) -> bool:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            connection.setblocking(False)
            return guard.admits(connection, connection.getpeername())
