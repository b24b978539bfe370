"""Text from strangers, made fit to show: cleaned, shortened, and escaped for menus.

A realm, a target or a profile name may hold anything: line breaks that push text out of sight,
bidirectional controls that turn a host name around, a hundred accents on one letter. Nothing of
this is rejected; it is shown as what it is, in a bounded space (ux §2a, §2c).
"""

import unicodedata
from itertools import groupby

MENU_WIDTH = 48
"""The longest text of a menu row, in characters (ux §3.2)."""
NAME_WIDTH = 40
"""The longest profile name within one."""
TOOLTIP_UNITS = 120
"""The longest tooltip in UTF-16 units: Windows keeps 127."""

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
    """Return one line without invisible characters.

    White space of any kind and line ends become single spaces; control, format (all bidirectional
    ones among them), surrogate and unassigned characters go. The zero-width joiners stay, because
    Persian and emoji are not readable without them. Of more than four accents in a row the rest
    goes: they would be drawn over the lines above and below.
    """
    visible = (_without_controls(character) for character in text)
    line = " ".join("".join(visible).split())
    return "".join(_limit_marks(line))


def _without_controls(character: str) -> str:
    if character.isspace():
        return " "
    category = unicodedata.category(character)
    return "" if category.startswith("C") and character not in _JOINERS else character


def _limit_marks(line: str) -> list[str]:
    runs = groupby(line, key=lambda character: unicodedata.category(character) in ("Mn", "Me"))
    return ["".join(run)[: _MAX_COMBINING_MARKS if marks else None] for marks, run in runs]


def shorten(text: str, limit: int) -> str:
    """Return at most `limit` characters, the end replaced by an ellipsis."""
    return text if len(text) <= limit else text[: limit - 1].rstrip() + _ELLIPSIS


def elide(text: str, limit: int) -> str:
    """Return at most `limit` characters, the middle replaced by an ellipsis.

    Names that differ at their ends only, as numbered branch offices do, stay distinct.
    """
    if len(text) <= limit:
        return text
    tail = (limit - 1) // 2
    return text[: limit - 1 - tail] + _ELLIPSIS + text[len(text) - tail :]


def fill_name(template: str, name: str, limit: int = MENU_WIDTH) -> str:
    """Fill the one ``{name}`` of a template so that the whole is at most `limit` characters."""
    room = limit - len(template.format(name=""))
    return template.format(name=isolate(elide(clean(name), max(1, min(NAME_WIDTH, room)))))


def utf16_units(text: str) -> int:
    """Return the length that Windows counts."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def tooltip(lines: list[str]) -> str:
    """Return at most three lines within `TOOLTIP_UNITS`; the first ones matter most."""
    text = "\n".join(line for line in lines[:3] if line)
    while utf16_units(text) > TOOLTIP_UNITS:
        text = text[:-2].rstrip() + _ELLIPSIS
    return text


def menu_text(text: str, *, over_dbus: bool) -> str:
    """Escape what a menu would take for a mnemonic.

    Args:
        text: The text as a person should read it.
        over_dbus: Whether the desktop draws the menu from D-Bus. There an underscore marks the
            mnemonic and Qt does not double it; in Qt's own menus it is just an underscore.
    """
    escaped = text.replace("&", "&&")
    return escaped.replace("_", "__") if over_dbus else escaped


def isolate(text: str) -> str:
    """Keep right-to-left letters of a name from reordering the sentence around it.

    Wraps in FIRST STRONG ISOLATE … POP DIRECTIONAL ISOLATE, and only where there are such letters.
    """
    has_rtl = any(unicodedata.bidirectional(character) in ("R", "AL", "AN") for character in text)
    return f"\u2068{text}\u2069" if has_rtl else text


def host_text(host: str) -> str:
    """Return a host name as a person may safely read it.

    A label in one script is shown in that script. One that mixes scripts, or is made of letters
    that look Latin and are not, is shown in its ASCII form (``xn--…``), as browsers do.
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
    # What decodes to ASCII was never encoded: ``xn--bank-`` is not ``bank``.
    is_shown_in_unicode = not unicode_form.isascii() and _is_single_script(unicode_form)
    return unicode_form if is_shown_in_unicode else ascii_form


def _is_single_script(label: str) -> bool:
    letters = [character for character in label.lower() if character.isalpha()]
    scripts = {unicodedata.name(letter, "?").split()[0] for letter in letters}
    if len(scripts) == 1:
        return not _LATIN_LOOK_ALIKES.issuperset(letters)
    return any(
        scripts <= scripts_of_one_language for scripts_of_one_language in _SCRIPTS_WRITTEN_TOGETHER
    )


def breakable(text: str, width: int = 24) -> str:
    """Allow a line break within each word that is longer than `width`.

    A label wraps between words only: a realm of 80 letters without a space would make the dialog
    wider than the screen.
    """
    words = (
        "\u200b".join(word[start : start + width] for start in range(0, len(word), width))
        for word in text.split(" ")
    )
    return " ".join(words)
