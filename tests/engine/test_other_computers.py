"""Tests for trayproxy.engine.upstream.connector: the targets of programs of other computers.

The tests of the parts that need no socket are in `tests.engine.unit.test_connector`.
"""

import socket

import pytest

from trayproxy.engine import error_pages
from trayproxy.engine.error_pages import RequestRefusedError
from trayproxy.engine.net.resolver import Address
from trayproxy.engine.upstream.connector import require_other_computer


@pytest.mark.parametrize(
    ("address", "is_refused"),
    [
        ((socket.AF_INET, ("127.0.0.1", 80)), True),
        ((socket.AF_INET, ("127.9.9.9", 80)), True),
        ((socket.AF_INET, ("0.0.0.0", 80)), True),
        ((socket.AF_INET, ("192.0.2.1", 80)), False),
    ],
)
def test_a_program_of_another_computer_reaches_no_service_of_this_one(
    address: Address, is_refused: bool
) -> None:
    other = (socket.AF_INET, ("192.0.2.9", 80))
    if is_refused:
        with pytest.raises(RequestRefusedError) as refused:
            require_other_computer((other, address))
        assert refused.value.page is error_pages.NOT_FOR_OTHER_COMPUTERS
    else:
        require_other_computer((other, address))
