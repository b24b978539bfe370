"""The right half of the window: one profile, being edited.

What was typed is kept as text, a `Draft`, until it is a `Profile`; what keeps it from being one is
said under the field, when the field is left (ux §3.3).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from PySide6.QtCore import QCoreApplication, QEvent, QObject, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from trayproxy.control.messages import Keyring
from trayproxy.profiles.profile import Profile, ProfileError, SignIn, Upstream
from trayproxy.profiles.validate import (
    check_host,
    check_name,
    check_port,
    check_user,
    make_id,
    parse_rules,
    parse_upstream,
)
from trayproxy.ui import words
from trayproxy.ui.plain import breakable
from trayproxy.ui.widgets import named, plain_label

translate = QCoreApplication.translate

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Draft:
    """A profile as typed so far; every part may be wrong."""

    name: str = ""
    host: str = ""
    port: str = ""
    sign_in: SignIn = SignIn.PASSWORD
    user: str = ""
    bypass: str = ""


def draft_of(profile: Profile) -> Draft:
    """Return a profile as text."""
    return Draft(
        profile.name,
        profile.upstream.host,
        str(profile.upstream.port),
        profile.sign_in,
        profile.user,
        ", ".join(profile.bypass),
    )


def tidied(draft: Draft) -> Draft:
    """Return the draft with an address that was pasted whole taken apart.

    ``http://proxy.corp.example:8080`` into the first field is what people do. A profile without a
    name gets that of its proxy.
    """
    host, port = draft.host.strip(), draft.port
    if not _is_host(host):
        try:
            upstream = parse_upstream(host)
        except ProfileError:
            pass
        else:
            host, port = upstream.host, str(upstream.port)
    name = draft.name if draft.name.strip() or not _is_host(host) else host
    return Draft(name, host, port, draft.sign_in, draft.user, draft.bypass)


def _is_host(text: str) -> bool:
    try:
        check_host(text)
    except ProfileError:
        return False
    return True


class ProfileForm(QWidget):
    """Edits one profile.

    Signals:
        edited: Something was changed by hand.
        forget_wanted: Remove the saved password.
    """

    edited = Signal()
    forget_wanted = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Build the fields, empty."""
        super().__init__(parent)
        self.setObjectName("profile_form")
        self._errors: dict[QWidget, QLabel] = {}
        self._taken: tuple[Profile, ...] = ()
        self._id = ""
        self._may_forget = False
        self._build()

    # --- Content ---------------------------------------------------------------------------------

    def show_draft(self, draft: Draft, profile_id: str, profiles: Iterable[Profile]) -> None:
        """Edit this.

        Args:
            draft: The texts.
            profile_id: Whose they are, empty for a new profile.
            profiles: All profiles there are; their names are taken.
        """
        self._taken, self._id = tuple(profiles), profile_id
        self._fill(draft)
        for label in self._errors.values():
            label.hide()

    def draft(self) -> Draft:
        """Return what is typed."""
        return Draft(
            self._name.text(),
            self._host.text(),
            self._port.text(),
            SignIn.PASSWORD if self._with_password.isChecked() else SignIn.NONE,
            self._user.text(),
            self._bypass.text(),
        )

    def profile(self) -> Profile | None:
        """Return the profile, or None after having said under the fields what is wrong."""
        self._tidy()
        name = self._read(self._name, self._check_name)
        host = self._read(self._host, check_host)
        port = self._read(self._port, check_port)
        user = self._read(self._user, check_user)
        bypass = self._read(self._bypass, parse_rules)
        if name is None or host is None or port is None or user is None or bypass is None:
            self._first_wrong().setFocus(Qt.FocusReason.OtherFocusReason)
            return None
        made = self._id or make_id(name, (profile.id for profile in self._taken))
        return Profile(made, name, Upstream(host, port), self.draft().sign_in, user, bypass)

    def show_keyring(self, keyring: Keyring) -> None:
        """Say where passwords are kept."""
        text = words.no_remember_reason(keyring)
        if not text and keyring.name:
            text = translate("Profiles", "Kept in {store} once the proxy has accepted it").format(
                store=words.store_name(keyring)
            )
        elif not text:
            text = translate("Profiles", "TrayProxy asks for it when the proxy does")
        self._kept.setText(breakable(text))

    def allow_forgetting(self, allowed: bool) -> None:
        """Offer to remove the saved password; a profile that is not saved has none."""
        self._may_forget = allowed
        self._enable_login()

    def focus_first(self) -> None:
        """Put the cursor where typing begins."""
        field = self._host if not self._host.text() else self._name
        field.setFocus(Qt.FocusReason.OtherFocusReason)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Check a field that is left."""
        if event.type() == QEvent.Type.FocusOut:
            self._check(watched)
        return super().eventFilter(watched, event)

    # --- Checks ----------------------------------------------------------------------------------

    def _check(self, field: QObject) -> None:
        if field is self._host:
            self._tidy()
        checks: dict[QObject, tuple[QLineEdit, Callable[[str], object]]] = {
            self._name: (self._name, self._check_name),
            self._host: (self._host, check_host),
            self._port: (self._port, check_port),
            self._user: (self._user, check_user),
            self._bypass: (self._bypass, parse_rules),
        }
        line, check = checks[field]
        # An empty field that was only passed through is no mistake yet.
        if line.text() or not self._errors[line].isHidden():
            self._read(line, check)

    def _check_name(self, text: str) -> str:
        name = check_name(text)
        same = (p for p in self._taken if p.id != self._id and p.name.lower() == name.lower())
        if next(same, None) is not None:
            raise ProfileError(translate("Profiles", "Another profile has this name."))
        return name

    def _read(self, field: QLineEdit, check: Callable[[str], Value]) -> Value | None:
        label = self._errors[field]
        try:
            value = check(field.text())
        except ProfileError as error:
            label.setText(breakable(str(error)))
            field.setAccessibleDescription(str(error))
            label.show()
            return None
        field.setAccessibleDescription("")
        label.hide()
        return value

    def _first_wrong(self) -> QWidget:
        return next(field for field, label in self._errors.items() if not label.isHidden())

    def _tidy(self) -> None:
        self._fill(tidied(self.draft()))

    def _fill(self, draft: Draft) -> None:
        for field, text in (
            (self._name, draft.name),
            (self._host, draft.host),
            (self._port, draft.port),
            (self._user, draft.user),
            (self._bypass, draft.bypass),
        ):
            if field.text() != text:
                field.setText(text)
        with_password = draft.sign_in is SignIn.PASSWORD
        (self._with_password if with_password else self._without).setChecked(True)
        self._enable_login()

    @Slot()
    def _enable_login(self) -> None:
        with_password = self._with_password.isChecked()
        self._user.setEnabled(with_password)
        self._forget.setEnabled(with_password and self._may_forget)

    @Slot()
    def _on_sign_in(self) -> None:
        self._enable_login()
        self.edited.emit()

    # --- Building --------------------------------------------------------------------------------

    def _build(self) -> None:
        form = QFormLayout(self)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._name = self._line("name")
        form.addRow(translate("Profiles", "&Name:"), self._name)
        form.addRow("", self._error(self._name))
        self._build_address(form)
        self._build_sign_in(form)
        self._bypass = self._line("bypass")
        self._bypass.setPlaceholderText("localhost, *.corp.example")
        form.addRow(translate("Profiles", "&Do not use for:"), self._bypass)
        form.addRow("", self._error(self._bypass))

    def _build_address(self, form: QFormLayout) -> None:
        self._host = self._line("host")
        self._host.setPlaceholderText("proxy.corp.example")
        self._host.setAccessibleName(translate("Profiles", "Address of the proxy"))
        self._port = self._line("port")
        self._port.setPlaceholderText("8080")
        self._port.setAccessibleName(translate("Profiles", "Port of the proxy"))
        self._port.setMaxLength(5)
        self._port.setFixedWidth(self.fontMetrics().averageCharWidth() * 12)
        for field in (self._host, self._port):
            field.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        row = QWidget()
        # An address reads from left to right in every language.
        row.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        parts = QHBoxLayout(row)
        parts.setContentsMargins(0, 0, 0, 0)
        parts.addWidget(named(QLabel("http://"), "scheme"))
        parts.addWidget(self._host, 1)
        parts.addWidget(QLabel(":"))
        parts.addWidget(self._port)
        label = QLabel(translate("Profiles", "&Address:"))
        label.setBuddy(self._host)
        form.addRow(label, row)
        form.addRow("", self._error(self._host))
        form.addRow("", self._error(self._port))

    def _build_sign_in(self, form: QFormLayout) -> None:
        self._with_password = named(
            QRadioButton(translate("Profiles", "User name and &password")), "with_password"
        )
        self._without = named(QRadioButton(translate("Profiles", "N&one")), "without_sign_in")
        group = QButtonGroup(self)
        for button in (self._with_password, self._without):
            group.addButton(button)
            button.clicked.connect(self._on_sign_in)
        self._user = self._line("profile_user")
        self._user.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._kept = plain_label("password_kept")
        self._forget = named(
            QPushButton(translate("Profiles", "&Forget password")), "forget_password"
        )
        self._forget.clicked.connect(self.forget_wanted)
        choice = QVBoxLayout()
        choice.addWidget(self._with_password)
        choice.addWidget(self._without)
        form.addRow(translate("Profiles", "Sign-in:"), choice)
        form.addRow(translate("Profiles", "&User name:"), self._user)
        form.addRow("", self._error(self._user))
        form.addRow(translate("Profiles", "Password:"), self._kept)
        below = QHBoxLayout()
        below.addWidget(self._forget)
        below.addStretch()
        form.addRow("", below)

    def _line(self, name: str) -> QLineEdit:
        line = named(QLineEdit(), name)
        line.textEdited.connect(self.edited)
        line.installEventFilter(self)
        return line

    def _error(self, field: QLineEdit) -> QLabel:
        label = plain_label(f"{field.objectName()}_error")
        font = label.font()
        font.setItalic(True)
        label.setFont(font)
        label.hide()
        self._errors[field] = label
        return label
