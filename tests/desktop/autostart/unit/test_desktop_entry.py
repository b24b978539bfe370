"""Tests for trayproxy.desktop.autostart.desktop_entry."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.desktop.autostart.desktop_entry import (
    DesktopEntry,
    escape,
    exec_line,
    parse_exec,
    unescape,
)
from trayproxy.system_settings.entries import TargetError

TEXT = """\
# mine
[Desktop Entry]
Name=Tray\\sProxy
Name[de]=Dienst
 Exec = a  b\u2028c
X-Flag=true

[Desktop Action x]
Name=X
"""

WORDS = st.text(
    st.characters(exclude_categories=["Cs", "Cc"]) | st.sampled_from("\"'\\`$% ~#&;"), max_size=12
)


@given(st.lists(WORDS, min_size=1, max_size=4))
def test_a_command_line_is_read_as_it_was_written(words: list[str]) -> None:
    entry = DesktopEntry("[Desktop Entry]\n")
    entry.set("Exec", exec_line(words))
    assert parse_exec(DesktopEntry(entry.text).get("Exec")) == tuple(words)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["/usr/bin/trayproxy", "--background"], "/usr/bin/trayproxy --background"),
        (["/a b/t", ""], '"/a b/t" ""'),
        (["/a%20b"], "/a%%20b"),
        # The quoting of Exec, then the escapes of a string: four backslashes for one.
        (['/"$`\\'], r'"/\\"\\$\\`\\\\"'),
    ],
)
def test_the_line_in_the_file(words: list[str], line: str) -> None:
    assert escape(exec_line(words)) == line


@pytest.mark.parametrize("char", ["\n", "\x00", "\x7f", "\udc80"])
def test_characters_that_an_entry_cannot_contain_are_refused(char: str) -> None:
    with pytest.raises(TargetError):
        exec_line([f"/a{char}b"])


def test_field_codes_are_no_words() -> None:
    assert parse_exec("a %U %% b%f") == ("a", "%", "b")


def test_an_open_quotation_mark_is_an_error() -> None:
    with pytest.raises(TargetError):
        parse_exec('"a b')


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
def test_escapes(text: str) -> None:
    assert unescape(escape(text)) == text
    assert "\n" not in escape(text)


def test_values_are_read() -> None:
    entry = DesktopEntry(TEXT)
    assert entry.keys == ("Name", "Name[de]", "Exec", "X-Flag")
    assert (entry.get("Name"), entry.get("Exec")) == ("Tray Proxy", "a  b\u2028c")
    assert entry.is_true("X-Flag")
    assert entry.has_more
    assert not DesktopEntry("[Desktop Entry]\nName=a\n\n").has_more


def test_other_lines_are_kept() -> None:
    entry = DesktopEntry(TEXT)
    entry.set("Exec", "new")
    entry.set("X-New", "1")
    entry.remove("Name")
    entry.remove("Missing")
    assert entry.text == (
        "# mine\n[Desktop Entry]\nName[de]=Dienst\nExec=new\nX-Flag=true\nX-New=1\n\n"
        "[Desktop Action x]\nName=X\n"
    )
    assert entry.get("X-New") == "1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Name=a\n",
        "[Other]\n[Desktop Entry]\n",
        "[Desktop Entry]\nnonsense\n",
        "[Desktop Entry]\nName=a\nName=b\n",
        "[Desktop Entry]\n[X]\n[Desktop Entry]\n",
        "[Desktop Entry]\nName=\udcff\n",
    ],
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(TargetError):
        DesktopEntry(text)
