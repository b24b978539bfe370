"""Tests for trayproxy.service.own_requests.save_login: why a login is not saved."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from tests.desk.machine_driver import OFFICE
from tests.desk.test_desk import FakeCredentialStore, SkippingLoop
from tests.desk.test_desk_schemes import FakeHistory
from tests.support.values import RIGHT
from trayproxy.auth.login import Login
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.limits import LIMITS
from trayproxy.service.own_requests.save_login import SaveTools, verify_and_save


class UnresponsiveHistory(FakeHistory):
    """A history on an unresponsive network drive."""

    def rejecting_profile(self, space: UpstreamId, login: Login) -> Future[str | None]:
        return Future()


@pytest.fixture
def loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = SkippingLoop()
    yield loop
    loop.close()


def test_an_unresponsive_state_folder_is_reported(loop: asyncio.AbstractEventLoop) -> None:
    tools = SaveTools(
        FakeCredentialStore(), UnresponsiveHistory(), LIMITS, lambda _: "", lambda _: False
    )
    saving = verify_and_save(tools, OFFICE, RIGHT, is_typed=False)
    problem = loop.run_until_complete(saving).problem
    assert problem is not None
    assert problem.id == "TP-311"
