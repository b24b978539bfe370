"""Checks the errors of the parsers."""

from collections.abc import Callable

import pytest

from trayproxy.http.errors import MessageError


def refusal_status(parse: Callable[..., object], *arguments: object) -> int:
    """Return the status of the MessageError with which a parser refuses its arguments."""
    with pytest.raises(MessageError) as refused:
        parse(*arguments)
    return refused.value.status
