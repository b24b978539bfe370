"""A fixture for pyspnego's NTLM server."""

from pathlib import Path

import pytest

from tests.auth.steps import SECRET


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    r"""Create the user file of pyspnego's server, with the user name ``CORP\jdoe`` and `SECRET`."""
    file = tmp_path / "users"
    file.write_text(f"CORP:jdoe:{SECRET}\n")
    monkeypatch.setenv("NTLM_USER_FILE", str(file))
