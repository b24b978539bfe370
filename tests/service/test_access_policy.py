"""Tests for trayproxy.service.access_policy."""

import os
import socket
from contextlib import closing

import pytest

from trayproxy.desktop.socket_owner.base import OwnerLookup, OwnerUnknownError
from trayproxy.engine.server.access_control import AccessControl
from trayproxy.service import access_policy
from trayproxy.service.access_policy import (
    EVERYONE_ALLOWED,
    apply_allowed_users,
    make_access_control,
)


def ignore(connection: socket.SocketType, user: object) -> None: ...


def test_users_are_allowed_by_name_and_number() -> None:
    with closing(make_access_control((), ignore)) as control:
        assert apply_allowed_users(control, ("root", "1234567")) == ()
        assert control.allowed == {0, 1_234_567}
        assert not control.open_to_all


def test_an_unknown_user_is_reported_and_the_others_are_allowed() -> None:
    with closing(make_access_control((), ignore)) as control:
        (problem,) = apply_allowed_users(control, ("no-such-user", "root"))
        assert problem.id == "TP-107"
        assert "no-such-user" in problem.body
        assert control.allowed == {0}


def test_access_for_everyone_is_reported_until_it_ends() -> None:
    with closing(make_access_control(("*",), ignore)) as control:
        assert apply_allowed_users(control, ("*",)) == (EVERYONE_ALLOWED,)
        assert admits_own_user(control)
        assert apply_allowed_users(control, ()) == ()
        assert admits_own_user(control)
        assert not control.allowed


def no_owner_lookup() -> OwnerLookup:
    raise OwnerUnknownError


def test_without_owner_lookup_either_everyone_or_no_user_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access_policy, "open_owner_lookup", no_owner_lookup)
    with pytest.raises(OwnerUnknownError):
        make_access_control(("root",), ignore)
    control = make_access_control(("*",), ignore)
    apply_allowed_users(control, ("*",))
    assert admits_own_user(control)
    apply_allowed_users(control, (str(os.geteuid()),))
    assert not admits_own_user(control)


def admits_own_user(control: AccessControl) -> bool:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        client.connect(listener.getsockname())
        connection, _ = listener.accept()
        with connection:
            connection.setblocking(False)
            return control.admits(connection, connection.getpeername())
