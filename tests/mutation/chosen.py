"""A pytest plugin: runs only the tests listed in a file."""

import json
import os
from pathlib import Path

import pytest

CHOSEN = "TRAYPROXY_CHOSEN_TESTS"
"""A file with a JSON list of the ids of the tests."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the other tests."""
    chosen = set(json.loads(Path(os.environ[CHOSEN]).read_text("utf-8")))
    left_out = [item for item in items if item.nodeid not in chosen]
    items[:] = [item for item in items if item.nodeid in chosen]
    config.hook.pytest_deselected(items=left_out)
