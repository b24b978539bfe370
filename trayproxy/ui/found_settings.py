"""The settings of other programs, as buttons above the form of the first profile (ux §3.3)."""

from collections.abc import Iterable
from functools import partial

from PySide6.QtCore import QCoreApplication, Signal
from PySide6.QtWidgets import QPushButton, QVBoxLayout, QWidget

from trayproxy.profiles.validate import parse_upstream
from trayproxy.ui.profile_draft import ProfileDraft
from trayproxy.ui.settings_search import FoundPasswordView, FoundSettingsView
from trayproxy.ui.text_sanitizer import clean, elide
from trayproxy.ui.widgets import add_parts, named, plain_label, plain_tooltip, without_margins

translate = QCoreApplication.translate

MAX_BUTTONS = 4
"""The number of buttons; ``trayproxy import`` lists all settings."""
_TEXT_WIDTH = 40


class FoundSettings(QWidget):
    """A button for each of the found settings; hidden if there are none.

    Signals:
        chosen: The user has chosen settings, a `FoundSettingsView`.
    """

    chosen = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("found_settings")
        heading = plain_label("found_heading")
        heading.setText(translate("Profiles", "Found on this computer:"))
        # Created before they are needed: Qt orders widgets for the Tab key by their creation.
        self._buttons = [named(QPushButton(), f"found_{n}") for n in range(MAX_BUTTONS)]
        self._found: tuple[FoundSettingsView, ...] = ()
        add_parts(without_margins(QVBoxLayout(self)), heading, *self._buttons)
        for index, button in enumerate(self._buttons):
            button.clicked.connect(partial(self._choose, index))
            button.hide()
        self.hide()

    @property
    def has_any(self) -> bool:
        """True if there are settings to choose."""
        return bool(self._found)

    def show_found(self, found: Iterable[FoundSettingsView]) -> None:
        """Show a button for each of the settings, at most `MAX_BUTTONS`."""
        self._found = tuple(each for each in found if each.upstreams or each.pac)[:MAX_BUTTONS]
        for button, settings in zip(self._buttons, self._found, strict=False):
            address = elide(clean(_address(settings)), _TEXT_WIDTH)
            text = translate("Profiles", "Use {proxy} — from {source}").format(
                proxy=address, source=clean(settings.title)
            )
            # An ampersand would be the mark of a mnemonic.
            button.setText(text.replace("&", "&&"))
            button.setToolTip(plain_tooltip(clean(settings.place)))
            button.setAccessibleName(text)
            button.setAccessibleDescription(clean(settings.place))
            button.show()

    def _choose(self, index: int) -> None:
        self.chosen.emit(self._found[index])


def _address(settings: FoundSettingsView) -> str:
    """Return the address for people: of a PAC script without the query, which may be a secret."""
    if settings.upstreams:
        return settings.upstreams[0].removeprefix("http://")
    return settings.pac.partition("?")[0]


def draft_from_found(settings: FoundSettingsView) -> ProfileDraft:
    """Return the draft of a profile with the found settings.

    Raises:
        ProfileError: The address of the proxy is invalid.
    """
    if not settings.upstreams:
        return ProfileDraft(
            settings.name,
            settings.pac,
            sign_in=settings.sign_in,
            user=settings.user,
            bypass=", ".join(settings.bypass),
            method=settings.method,
        )
    upstream = parse_upstream(settings.upstreams[0])
    return ProfileDraft(
        settings.name,
        upstream.host,
        str(upstream.port),
        settings.sign_in,
        settings.user,
        ", ".join(settings.bypass),
        upstream.scheme,
        ", ".join(settings.upstreams[1:]),
        method=settings.method,
    )


def found_notes(settings: FoundSettingsView) -> str:
    """Return the text for the user after the settings were chosen, one sentence a line."""
    password = password_note(settings.password) if settings.password else ""
    return "\n".join(filter(None, (password, *map(clean, settings.notes))))


def password_note(password: FoundPasswordView) -> str:
    """Return the sentence about a password that other programs can read; empty if it is encrypted.

    The window does not try the password: the sign-in asks for it.
    """
    if password.form == "keyring":
        return ""
    place = clean(password.place)
    if password.line:
        place = translate("Profiles", "{file}, line {line}").format(file=place, line=password.line)
    return translate(
        "Profiles",
        "A password for this proxy is in {place}, where other programs can read it. TrayProxy asks "
        "for the password, and keeps it in the keyring; delete it there afterwards.",
    ).format(place=place)
