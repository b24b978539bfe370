"""The form of a profile, in the right half of the window.

The input is kept as text in a `ProfileDraft` until it is saved as a `Profile`. An invalid field
shows its error below the field when the focus leaves it (ux §3.3).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from PySide6.QtCore import QCoreApplication, QDir, QEvent, QObject, Qt, Signal, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from trayproxy.domain.signin import KeyringStatus
from trayproxy.profiles.profile import (
    Encoding,
    Method,
    Profile,
    ProfileError,
    ProxyScheme,
    SignIn,
    Upstream,
)
from trayproxy.profiles.validate import (
    check_ca_file,
    check_host,
    check_name,
    check_port,
    check_sign_in,
    check_user,
    make_id,
    parse_rules,
    parse_upstream,
    parse_upstreams,
)
from trayproxy.ui import texts
from trayproxy.ui.text_sanitizer import breakable
from trayproxy.ui.widgets import named, plain_label

translate = QCoreApplication.translate

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class ProfileDraft:
    """The input of the form as text; each field may be invalid."""

    name: str = ""
    host: str = ""
    port: str = ""
    sign_in: SignIn = SignIn.PASSWORD
    user: str = ""
    bypass: str = ""
    scheme: ProxyScheme = ProxyScheme.HTTP
    fallbacks: str = ""
    ca_file: str = ""
    method: Method = Method.AUTOMATIC
    encoding: Encoding = Encoding.UTF_8


def draft_from_profile(profile: Profile) -> ProfileDraft:
    """Return the draft of a saved profile."""
    return ProfileDraft(
        profile.name,
        profile.upstream.host,
        str(profile.upstream.port),
        profile.sign_in,
        profile.user,
        ", ".join(profile.bypass),
        profile.upstream.scheme,
        ", ".join(map(str, profile.fallbacks)),
        profile.ca_file,
        profile.method,
        profile.encoding,
    )


def normalized(draft: ProfileDraft) -> ProfileDraft:
    """Return the draft with a complete address in the host field split into its parts.

    Users paste addresses such as ``https://proxy.corp.example:8080`` into the host field. A draft
    without a name gets the host as its name.
    """
    host, port, scheme = draft.host.strip(), draft.port, draft.scheme
    if not _is_host(host):
        try:
            upstream = parse_upstream(host)
        except ProfileError:
            pass
        else:
            scheme = upstream.scheme if "://" in host else scheme
            host, port = upstream.host, str(upstream.port)
    name = draft.name if draft.name.strip() or not _is_host(host) else host
    return replace(draft, name=name, host=host, port=port, scheme=scheme)


def _is_host(text: str) -> bool:
    try:
        check_host(text)
    except ProfileError:
        return False
    return True


def _align_labels(*forms: QFormLayout) -> None:
    """Give the labels of several forms the same width, to align their fields."""
    role = QFormLayout.ItemRole.LabelRole
    items = (form.itemAt(row, role) for form in forms for row in range(form.rowCount()))
    labels = [widget for item in items if item is not None and (widget := item.widget())]
    width = max(label.sizeHint().width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width)


class ProfileForm(QWidget):
    """Form for the fields of a profile.

    Signals:
        edited: The user has changed a field.
        forget_requested: Remove the saved password.
    """

    edited = Signal()
    forget_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        """Build the form with empty fields."""
        super().__init__(parent)
        self.setObjectName("profile_form")
        self._errors: dict[QWidget, QLabel] = {}
        self._existing_profiles: tuple[Profile, ...] = ()
        self._id = ""
        self._may_forget = False
        self._build()

    # --- Reading and writing ---------------------------------------------------------------------

    def show_draft(self, draft: ProfileDraft, profile_id: str, profiles: Iterable[Profile]) -> None:
        """Show a draft and hide all errors.

        Args:
            draft: The draft.
            profile_id: The id of the edited profile, empty for a new profile.
            profiles: All profiles; the name of the draft must differ from their names.
        """
        self._existing_profiles, self._id = tuple(profiles), profile_id
        self._set_fields(draft)
        for label in self._errors.values():
            label.hide()
        is_special = draft.encoding is not Encoding.UTF_8
        self._advanced.setChecked(bool(draft.fallbacks or draft.ca_file or is_special))

    def draft(self) -> ProfileDraft:
        """Return the input of the form."""
        return ProfileDraft(
            self._name.text(),
            self._host.text(),
            self._port.text(),
            self._selected_sign_in(),
            self._user.text(),
            self._bypass.text(),
            ProxyScheme(self._scheme.currentData()),
            self._fallbacks.text(),
            self._ca_file.text(),
            Method(self._method.currentData()),
            Encoding(self._encoding.currentData()),
        )

    def _selected_sign_in(self) -> SignIn:
        return next(
            sign_in for sign_in, button in self._sign_in_buttons.items() if button.isChecked()
        )

    def profile(self) -> Profile | None:
        """Return the edited profile, or None if the input is invalid.

        If the input is invalid, the errors are shown below the fields.
        """
        self._normalize()
        name = self._read_field(self._name, self._check_name)
        host = self._read_field(self._host, check_host)
        port = self._read_field(self._port, check_port)
        user = self._read_field(self._user, check_user)
        bypass = self._read_field(self._bypass, parse_rules)
        fallbacks = self._read_field(self._fallbacks, self._check_fallbacks)
        ca_file = self._read_field(self._ca_file, check_ca_file)
        if name is None or host is None or port is None or user is None or bypass is None:
            self._focus_first_error()
            return None
        if fallbacks is None or ca_file is None:
            self._focus_first_error()
            return None
        draft = self.draft()
        upstream = Upstream(host, port, draft.scheme)
        if not self._check_sign_in_method((upstream, *fallbacks)):
            self._focus_first_error()
            return None
        return Profile(
            self._id or make_id(name, (profile.id for profile in self._existing_profiles)),
            name,
            upstream,
            draft.sign_in,
            user,
            bypass,
            fallbacks,
            ca_file,
            draft.method,
            draft.encoding,
        )

    def _check_sign_in_method(self, upstreams: Iterable[Upstream]) -> bool:
        """Return whether the sign-in, the method and the upstreams can be combined; show the error
        if not.
        """
        label, button = self._errors[self._method], self._sign_in_buttons[self._selected_sign_in()]
        try:
            check_sign_in(self._selected_sign_in(), Method(self._method.currentData()), upstreams)
        except ProfileError as error:
            label.setText(breakable(str(error)))
            button.setAccessibleDescription(str(error))
            label.show()
            return False
        self._clear_sign_in_error()
        return True

    def _clear_sign_in_error(self) -> None:
        self._errors[self._method].hide()
        for button in self._sign_in_buttons.values():
            button.setAccessibleDescription("")

    def _focus_first_error(self) -> None:
        """Move the focus to the first invalid field."""
        field = self._first_invalid_field()
        if field in (self._fallbacks, self._ca_file):
            self._advanced.setChecked(True)
        if field is self._method:
            field = self._sign_in_buttons[self._selected_sign_in()]
        field.setFocus(Qt.FocusReason.OtherFocusReason)

    def show_keyring(self, keyring: KeyringStatus, *, has_password: bool | None = None) -> None:
        """Show where the password of the profile is stored.

        Args:
            keyring: The state of the password store.
            has_password: True if the store has a password for this profile; None if unknown.
        """
        text = texts.no_remember_reason(keyring)
        if has_password:
            text = translate("Profiles", "Kept in {store}").format(store=texts.store_name(keyring))
        elif not text and keyring.name:
            text = translate("Profiles", "Kept in {store} once the proxy has accepted it").format(
                store=texts.store_name(keyring)
            )
        elif not text:
            text = translate("Profiles", "TrayProxy asks for it when the proxy does")
        self._password_status.setText(breakable(text))

    def set_forget_allowed(self, allowed: bool) -> None:
        """Enable or disable *Forget password*."""
        self._may_forget = allowed
        self._update_enabled()

    def focus_first(self) -> None:
        """Move the focus to the first field to fill in."""
        field = self._host if not self._host.text() else self._name
        field.setFocus(Qt.FocusReason.OtherFocusReason)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Check a field when the focus leaves it."""
        if event.type() == QEvent.Type.FocusOut:
            self._check_field(watched)
        return super().eventFilter(watched, event)

    # --- Checks ----------------------------------------------------------------------------------

    def _check_field(self, field: QObject) -> None:
        if field is self._host:
            self._normalize()
        checks: dict[QObject, tuple[QLineEdit, Callable[[str], object]]] = {
            self._name: (self._name, self._check_name),
            self._host: (self._host, check_host),
            self._port: (self._port, check_port),
            self._user: (self._user, check_user),
            self._bypass: (self._bypass, parse_rules),
            self._fallbacks: (self._fallbacks, self._check_fallbacks),
            self._ca_file: (self._ca_file, check_ca_file),
        }
        line, check = checks[field]
        # An empty field without an error is not checked: the user may fill it in later.
        if line.text() or not self._errors[line].isHidden():
            self._read_field(line, check)

    def _check_name(self, text: str) -> str:
        name = check_name(text)
        same_name = (
            p
            for p in self._existing_profiles
            if p.id != self._id and p.name.lower() == name.lower()
        )
        if next(same_name, None) is not None:
            raise ProfileError(translate("Profiles", "Another profile has this name."))
        return name

    def _check_fallbacks(self, text: str) -> tuple[Upstream, ...]:
        upstreams = parse_upstreams(text)
        draft = self.draft()
        try:
            first = Upstream(check_host(draft.host), check_port(draft.port), draft.scheme)
        except ProfileError:
            return upstreams  # The error is shown below the host or port field.
        if len({first, *upstreams}) <= len(upstreams):
            raise ProfileError(translate("Profiles", "The same proxy stands here twice."))
        return upstreams

    def _read_field(self, field: QLineEdit, check: Callable[[str], Value]) -> Value | None:
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

    def _first_invalid_field(self) -> QWidget:
        return next(field for field, label in self._errors.items() if not label.isHidden())

    def _normalize(self) -> None:
        self._set_fields(normalized(self.draft()))

    def _set_fields(self, draft: ProfileDraft) -> None:
        for field, text in (
            (self._name, draft.name),
            (self._host, draft.host),
            (self._port, draft.port),
            (self._user, draft.user),
            (self._bypass, draft.bypass),
            (self._fallbacks, draft.fallbacks),
            (self._ca_file, draft.ca_file),
        ):
            if field.text() != text:
                field.setText(text)
        self._scheme.setCurrentIndex(self._scheme.findData(draft.scheme))
        self._method.setCurrentIndex(self._method.findData(draft.method))
        self._encoding.setCurrentIndex(self._encoding.findData(draft.encoding))
        self._sign_in_buttons[draft.sign_in].setChecked(True)
        self._update_enabled()

    @Slot()
    def _update_enabled(self) -> None:
        with_password = self._selected_sign_in() is SignIn.PASSWORD
        is_socks = self._scheme.currentData() == ProxyScheme.SOCKS5
        self._user.setEnabled(with_password)
        self._password_status.setEnabled(with_password)
        self._forget_button.setEnabled(with_password and self._may_forget)
        # SOCKS5 has one method with a password, and no choice of encoding (RFC 1929).
        self._method.setEnabled(self._selected_sign_in() is not SignIn.NONE and not is_socks)
        self._encoding.setEnabled(with_password and not is_socks)

    @Slot()
    def _on_sign_in_changed(self) -> None:
        self._clear_sign_in_error()
        self._update_enabled()
        self.edited.emit()

    # --- Building --------------------------------------------------------------------------------

    def _build(self) -> None:
        form = QFormLayout(self)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._name = self._add_line_edit("name")
        form.addRow(translate("Profiles", "&Name:"), self._name)
        form.addRow("", self._add_error_label(self._name))
        self._build_address(form)
        self._build_sign_in(form)
        self._bypass = self._add_line_edit("bypass")
        self._bypass.setPlaceholderText("localhost, *.corp.example")
        form.addRow(translate("Profiles", "&Do not use for:"), self._bypass)
        form.addRow("", self._add_error_label(self._bypass))
        self._build_advanced(form)

    def _build_address(self, form: QFormLayout) -> None:
        self._host = self._add_line_edit("host")
        self._host.setPlaceholderText("proxy.corp.example")
        self._host.setAccessibleName(translate("Profiles", "Address of the proxy"))
        self._port = self._add_line_edit("port")
        self._port.setPlaceholderText("8080")
        self._port.setAccessibleName(translate("Profiles", "Port of the proxy"))
        self._port.setMaxLength(5)
        self._port.setFixedWidth(self.fontMetrics().averageCharWidth() * 12)
        for field in (self._host, self._port):
            field.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        row = QWidget()
        # An address is written from left to right in every language.
        row.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        parts = QHBoxLayout(row)
        parts.setContentsMargins(0, 0, 0, 0)
        self._scheme = named(QComboBox(), "scheme")
        self._scheme.setAccessibleName(translate("Profiles", "Kind of proxy"))
        for scheme in ProxyScheme:
            self._scheme.addItem(f"{scheme}://", scheme)
        self._scheme.activated.connect(self._on_sign_in_changed)
        parts.addWidget(self._scheme)
        parts.addWidget(self._host, 1)
        parts.addWidget(QLabel(":"))
        parts.addWidget(self._port)
        label = QLabel(translate("Profiles", "&Address:"))
        label.setBuddy(self._host)
        form.addRow(label, row)
        form.addRow("", self._add_error_label(self._host))
        form.addRow("", self._add_error_label(self._port))

    def _build_sign_in(self, form: QFormLayout) -> None:
        self._sign_in_buttons = {
            SignIn.PASSWORD: named(
                QRadioButton(translate("Profiles", "User name and &password")), "with_password"
            ),
            SignIn.SSO: named(QRadioButton(texts.own_sign_in_text()), "with_own_sign_in"),
            SignIn.NONE: named(QRadioButton(translate("Profiles", "N&one")), "without_sign_in"),
        }
        column = QVBoxLayout()
        group = QButtonGroup(self)
        for button in self._sign_in_buttons.values():
            group.addButton(button)
            column.addWidget(button)
            button.clicked.connect(self._on_sign_in_changed)
        self._sign_in_buttons[SignIn.PASSWORD].setChecked(True)
        self._build_method()
        self._user = self._add_line_edit("profile_user")
        self._user.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._password_status = plain_label("password_kept")
        self._forget_button = named(
            QPushButton(translate("Profiles", "&Forget password")), "forget_password"
        )
        self._forget_button.clicked.connect(self.forget_requested)
        form.addRow(translate("Profiles", "Sign-in:"), column)
        form.addRow(translate("Profiles", "&Method:"), self._method)
        form.addRow("", self._add_error_label(self._method))
        form.addRow(translate("Profiles", "&User name:"), self._user)
        form.addRow("", self._add_error_label(self._user))
        form.addRow(translate("Profiles", "Password:"), self._password_status)
        forget = QHBoxLayout()
        forget.addWidget(self._forget_button)
        forget.addStretch()
        form.addRow("", forget)

    def _build_method(self) -> None:
        self._method = named(QComboBox(), "method")
        self._method.setToolTip(
            translate("Profiles", "Automatic uses the strongest method that the proxy offers")
        )
        for method in Method:
            self._method.addItem(texts.method_name(method), method)
        self._method.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self._method.activated.connect(self._on_sign_in_changed)

    def _build_encoding(self) -> None:
        self._encoding = named(QComboBox(), "encoding")
        self._encoding.setToolTip(
            translate(
                "Profiles",
                "Of user name and password, for a proxy that does not name its own. Choose Latin-1 "
                "if a right password with letters such as ä or é is not accepted.",
            )
        )
        for encoding in Encoding:
            self._encoding.addItem(texts.encoding_name(encoding), encoding)
        self._encoding.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self._encoding.activated.connect(self.edited)

    def _build_advanced(self, form: QFormLayout) -> None:
        self._advanced = named(QToolButton(), "advanced")
        self._advanced.setText(translate("Profiles", "Advanced"))
        self._advanced.setCheckable(True)
        self._advanced.setAutoRaise(True)
        self._advanced.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self._advanced.setArrowType(Qt.ArrowType.RightArrow)
        self._advanced.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._advanced.toggled.connect(self._on_advanced)
        self._fallbacks = self._add_line_edit("fallbacks")
        self._fallbacks.setPlaceholderText("proxy2.corp.example:8080")
        self._fallbacks.setToolTip(
            translate("Profiles", "Used while the proxy above cannot be reached, in this order")
        )
        self._ca_file = self._add_line_edit("ca_file")
        self._ca_file.setPlaceholderText(translate("Profiles", "The system's authorities"))
        for field in (self._fallbacks, self._ca_file):
            field.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._build_encoding()
        choose_button = named(QPushButton(translate("Profiles", "&Choose…")), "choose_ca_file")
        choose_button.clicked.connect(self._on_choose_ca_file)
        file = QWidget()
        parts = QHBoxLayout(file)
        parts.setContentsMargins(0, 0, 0, 0)
        parts.addWidget(self._ca_file, 1)
        parts.addWidget(choose_button)
        label = QLabel(translate("Profiles", "Cert&ificate:"))
        label.setBuddy(self._ca_file)
        form.addRow("", self._advanced)
        self._advanced_rows = QWidget()
        rows = QFormLayout(self._advanced_rows)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow(translate("Profiles", "Othe&rwise use:"), self._fallbacks)
        rows.addRow("", self._add_error_label(self._fallbacks))
        rows.addRow(label, file)
        rows.addRow("", self._add_error_label(self._ca_file))
        rows.addRow(translate("Profiles", "Te&xt encoding:"), self._encoding)
        self._advanced_rows.hide()
        _align_labels(form, rows)
        form.addRow(self._advanced_rows)

    @Slot(bool)
    def _on_advanced(self, is_open: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self._advanced.setArrowType(arrow)
        self._advanced_rows.setVisible(is_open)

    @Slot()
    def _on_choose_ca_file(self) -> None:
        dialog = named(QFileDialog(self), "ca_file_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters(
            [
                translate("Profiles", "Certificates (*.pem *.crt *.cer *.der)"),
                translate("Profiles", "All files (*)"),
            ]
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self._on_ca_file_chosen)
        dialog.open()

    @Slot(str)
    def _on_ca_file_chosen(self, path: str) -> None:
        self._ca_file.setText(QDir.toNativeSeparators(path))
        self._read_field(self._ca_file, check_ca_file)
        self.edited.emit()

    def _add_line_edit(self, name: str) -> QLineEdit:
        line = named(QLineEdit(), name)
        line.textEdited.connect(self.edited)
        line.installEventFilter(self)
        return line

    def _add_error_label(self, field: QWidget) -> QLabel:
        label = plain_label(f"{field.objectName()}_error")
        font = label.font()
        font.setItalic(True)
        label.setFont(font)
        label.hide()
        self._errors[field] = label
        return label
