"""Checks the properties with the seeds and with changed seeds; ``python -m tests.fuzz`` searches
longer, guided by coverage."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.properties import PROPERTIES
from tests.fuzz.seeds import seeds
from tests.support.examples import examples

PIECES = (
    *(b"\r\n", b"\n", b"\r", b"\x00", b" ", b"\t", b":", b",", b'"', b"\\", b"=", b";", b"0"),
    *(b"\r\n\r\n", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n", b"chunked"),
    *(b"Host: a\r\n", b"Connection: close, x\r\n", b"http://", b"HTTP/1.", b"realm=", b"\xff"),
)
EDITS = st.lists(
    st.tuples(
        st.integers(0, 400), st.integers(0, 6), st.sampled_from(PIECES) | st.binary(max_size=4)
    ),
    max_size=6,
)


@pytest.mark.parametrize("name", PROPERTIES)
def test_property_holds_for_the_seeds(name: str) -> None:
    for octets in seeds():
        PROPERTIES[name](octets)


@pytest.mark.parametrize("name", PROPERTIES)
@examples(150)
@given(octets=st.sampled_from(seeds()), edits=EDITS)
def test_property_holds_for_changed_seeds(
    name: str, octets: bytes, edits: list[tuple[int, int, bytes]]
) -> None:
    for position, taken, inserted in edits:
        octets = octets[:position] + inserted + octets[position + taken :]
    PROPERTIES[name](octets)
