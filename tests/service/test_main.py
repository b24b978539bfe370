"""Tests for what trayproxy.service.main decides by itself."""

import pytest

from trayproxy.service.main import limits_for


@pytest.mark.parametrize(
    ("descriptors", "clients"),
    [(256, 115), (1_024, 460), (20_000, 9_000), (36_408, 16_383), (65_536, 16_384)],
)
def test_clients_are_told_to_come_again_before_descriptors_run_out(
    descriptors: int, clients: int
) -> None:
    assert limits_for(descriptors).clients == clients
    # Each has one and needs another one; a tenth is for what there is besides.
    assert 2 * clients <= descriptors * 0.9
