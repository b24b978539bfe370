"""Sanitizes untrusted text for display: cleans, truncates and escapes it.

A realm, a target or a profile name may contain any character: line breaks to move text out of
sight, bidirectional controls to reorder a host name, a hundred combining marks on a letter.
Such text is not rejected; it is shown without harmful characters and within a length limit (ux §2a,
§2c).
"""

import unicodedata
from itertools import groupby

from trayproxy.domain.problem import single_line, utf16_units

MENU_WIDTH = 48
"""Maximum length of the text of a menu row, in characters (ux §3.2)."""
NAME_WIDTH = 40
"""Maximum length of a profile name within such a text, in characters."""
TOOLTIP_UNITS = 120
"""Maximum length of a tooltip in UTF-16 code units; Windows keeps 127."""

_ELLIPSIS = "…"
_JOINERS = "\u200c\u200d"
_MAX_COMBINING_MARKS = 4
_LATIN_LOOK_ALIKES = frozenset("асԁеһіјӏорԛѕԝхуүαικνορτυχ")
_SCRIPTS_WRITTEN_TOGETHER = (
    {"LATIN", "CJK", "HIRAGANA", "KATAKANA"},
    {"LATIN", "CJK", "BOPOMOFO"},
    {"LATIN", "CJK", "HANGUL"},
)


def clean(text: str) -> str:
    """Return the text as a single line without invisible characters.

    - White space and line ends become single spaces.
    - Control, format (including all bidirectional controls), surrogate, private-use and unassigned
      characters are removed, except the zero-width joiners of Persian text and emoji.
    - After four combining marks in a row, further marks, which would overlap the lines above and
      below, are removed.
    """
    return "".join(_limit_marks(single_line(text, kept=_JOINERS)))


def _limit_marks(line: str) -> list[str]:
    runs = groupby(line, key=lambda character: unicodedata.category(character) in ("Mn", "Me"))
    return ["".join(run)[: _MAX_COMBINING_MARKS if marks else None] for marks, run in runs]


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters; an ellipsis replaces the rest of a longer text."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + _ELLIPSIS


def elide(text: str, limit: int) -> str:
    """Return at most `limit` characters; an ellipsis replaces the middle of a longer text.

    Names with different ends, such as numbered branch offices, remain distinguishable.
    """
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return text[: limit - 1 - tail] + _ELLIPSIS + text[len(text) - tail :]


def fill_name(template: str, name: str) -> str:
    """Insert a name for ``{name}``, shortened to keep the result within `MENU_WIDTH` characters."""
    room = MENU_WIDTH - len(template.format(name=""))
    return template.format(name=isolate(elide(clean(name), max(1, min(NAME_WIDTH, room)))))


def tooltip(lines: list[str]) -> str:
    """Return the first three lines as a text, cut off at `TOOLTIP_UNITS`."""
    text = "\n".join(line for line in lines[:3] if line)
    while utf16_units(text) > TOOLTIP_UNITS:
        text = text[:-2].rstrip() + _ELLIPSIS
    return text


def menu_text(text: str, *, over_dbus: bool) -> str:
    """Escape the characters for mnemonics in a menu.

    In a menu that the desktop draws from D-Bus, an underscore marks a mnemonic, and Qt does not
    escape it; in Qt's own menus an underscore has no meaning.
    """
    escaped = text.replace("&", "&&")
    return escaped.replace("_", "__") if over_dbus else escaped


def isolate(text: str) -> str:
    """Enclose a text with right-to-left letters in bidirectional isolates.

    FIRST STRONG ISOLATE and POP DIRECTIONAL ISOLATE prevent the letters from reordering the
    sentence around the text.
    """
    has_rtl = any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)
    return f"\u2068{text}\u2069" if has_rtl else text


def host_text(host: str) -> str:
    """Return a host name in a form that does not imitate another host name.

    A label in one script is shown in that script. A label that mixes scripts, or consists of
    letters that look like Latin letters, is shown in its ASCII form (``xn--…``), as in browsers.
    """
    return ".".join(_label_text(label) for label in clean(host).split("."))


def _label_text(label: str) -> str:
    ascii_form, unicode_form = label, label
    try:
        if label.lower().startswith("xn--"):
            unicode_form = clean(label[4:].encode("ascii").decode("punycode"))
        elif not label.isascii():
            ascii_form = "xn--" + label.lower().encode("punycode").decode("ascii")
    except UnicodeError:
        return label
    # An ASCII result was not encoded by IDNA: ``xn--bank-`` is not ``bank``.
    is_shown_in_unicode = not unicode_form.isascii() and _is_single_script(unicode_form)
    return unicode_form if is_shown_in_unicode else ascii_form


def _is_single_script(label: str) -> bool:
    letters = [character for character in label.lower() if character.isalpha()]
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in letters}
    if len(scripts) == 1:
        return not _LATIN_LOOK_ALIKES.issuperset(letters)
    return any(scripts <= together for together in _SCRIPTS_WRITTEN_TOGETHER)


def breakable(text: str, width: int = 24) -> str:
    """Insert zero-width spaces into words longer than `width`, to allow line breaks there.

    A label breaks lines between words only; a realm of 80 letters without a space would make the
    dialog wider than the screen.
    """
    words = (
        "\u200b".join(word[start : start + width] for start in range(0, len(word), width))
        for word in text.split(" ")
    )
    return " ".join(words)
