"""Tests for trayproxy.ui.text_sanitizer."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.domain.problem import utf16_units
from trayproxy.ui.text_sanitizer import (
    MENU_WIDTH,
    TOOLTIP_UNITS,
    breakable,
    clean,
    elide,
    fill_name,
    host_text,
    isolate,
    menu_text,
    shorten,
    tooltip,
)

ANY = st.text(st.characters())


@given(ANY)
def test_no_control_or_bidirectional_character_is_left(text: str) -> None:
    categories = {unicodedata.category(c) for c in clean(text)} - {"Cf"}
    assert not any(category.startswith("C") for category in categories)
    assert not {unicodedata.bidirectional(c) for c in clean(text)} & {
        "LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI",
    }  # fmt: skip


@given(ANY)
def test_clean_returns_one_line_and_is_idempotent(text: str) -> None:
    once = clean(text)
    assert len(once.splitlines()) <= 1
    assert clean(once) == once


def test_nul_and_bidirectional_controls_are_removed() -> None:
    assert clean("a\0b\u202ecod.exe") == "abcod.exe"


def test_persian_and_emoji_keep_their_joiners() -> None:
    assert clean("می\u200cخو\u0627\u0647م 👩\u200d💻") == "می\u200cخو\u0627\u0647م 👩\u200d💻"


def test_combining_marks_are_limited() -> None:
    assert clean("e" + "\u0301" * 200 + "x") == "e" + "\u0301" * 4 + "x"


@given(ANY, st.integers(1, 60))
def test_shortened_text_is_within_the_limit(text: str, limit: int) -> None:
    assert len(shorten(text, limit)) <= limit
    assert len(elide(text, limit)) <= limit


def test_both_ends_of_a_long_name_are_kept() -> None:
    assert elide("Branch office Hamburg 17", 15) == "Branch …mburg 17"[:8] + "mburg 17"[-7:]


@given(ANY)
def test_a_menu_row_has_at_most_48_characters_without_isolates(name: str) -> None:
    row = fill_name("Sign in to {name}…", name).replace("\u2068", "").replace("\u2069", "")
    assert len(row) <= MENU_WIDTH


@given(st.lists(ANY, max_size=5))
def test_a_tooltip_fits_windows(lines: list[str]) -> None:
    assert utf16_units(tooltip(lines)) <= TOOLTIP_UNITS


def test_ampersands_and_underscores_are_escaped() -> None:
    assert menu_text("R&D corp_proxy", over_dbus=True) == "R&&D corp__proxy"
    assert menu_text("R&D corp_proxy", over_dbus=False) == "R&&D corp_proxy"


def test_only_right_to_left_text_is_isolated() -> None:
    assert isolate("Office") == "Office"
    assert isolate("משרד") == "\u2068משרד\u2069"


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("proxy.corp.example:8080", "proxy.corp.example:8080"),
        ("xn--bcher-kva.example", "bücher.example"),
        ("bücher.example", "bücher.example"),
        ("пример.example", "пример.example"),
        ("\u0430pple.com", "xn--pple-43d.com"),
        ("\u0430\u0440\u0440\u04cf\u0435.com", "xn--80ak6aa92e.com"),
        ("日本語テスト.example", "日本語テスト.example"),
        ("xn--\u202e.example", "xn--.example"),
        ("xn--bank-.example", "xn--bank-.example"),
    ],
)
def test_a_host_that_imitates_another_is_shown_in_ascii(host: str, shown: str) -> None:
    assert host_text(host) == shown


@given(ANY)
def test_any_host_can_be_shown(host: str) -> None:
    assert isinstance(host_text(host), str)


@given(ANY, st.integers(1, 30))
def test_no_word_is_longer_than_a_line(text: str, width: int) -> None:
    words = breakable(text, width).replace("\u200b", " ").split(" ")
    assert all(len(word) <= width for word in words)
    assert breakable(text, width).replace("\u200b", "") == text.replace("\u200b", "")
