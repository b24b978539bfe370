"""The right half of the window: one profile, being edited.

What was typed is kept as text, a `ProfileDraft`, until it is a `Profile`; what keeps it from being
one is said under the field, when the field is left (ux §3.3).
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

from trayproxy.control.messages import KeyringStatus
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
    """A profile as typed so far; every part may be wrong."""

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


def draft_of(profile: Profile) -> ProfileDraft:
    """Return a profile as text."""
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


def tidied(draft: ProfileDraft) -> ProfileDraft:
    """Return the draft with an address that was pasted whole taken apart.

    ``https://proxy.corp.example:8080`` into the first field is what people do. A profile without a
    name gets that of its proxy.
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
    """Let the fields of several forms that stand below each other begin at the same place."""
    role = QFormLayout.ItemRole.LabelRole
    items = (form.itemAt(row, role) for form in forms for row in range(form.rowCount()))
    labels = [widget for item in items if item is not None and (widget := item.widget())]
    width = max(label.sizeHint().width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width)


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

    def show_draft(self, draft: ProfileDraft, profile_id: str, profiles: Iterable[Profile]) -> None:
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
        is_special = draft.encoding is not Encoding.UTF_8
        self._advanced.setChecked(bool(draft.fallbacks or draft.ca_file or is_special))

    def draft(self) -> ProfileDraft:
        """Return what is typed."""
        return ProfileDraft(
            self._name.text(),
            self._host.text(),
            self._port.text(),
            self._sign_in(),
            self._user.text(),
            self._bypass.text(),
            ProxyScheme(self._scheme.currentData()),
            self._fallbacks.text(),
            self._ca_file.text(),
            Method(self._method.currentData()),
            Encoding(self._encoding.currentData()),
        )

    def _sign_in(self) -> SignIn:
        return next(way for way, button in self._ways.items() if button.isChecked())

    def profile(self) -> Profile | None:
        """Return the profile, or None after having said under the fields what is wrong."""
        self._tidy()
        name = self._read(self._name, self._check_name)
        host = self._read(self._host, check_host)
        port = self._read(self._port, check_port)
        user = self._read(self._user, check_user)
        bypass = self._read(self._bypass, parse_rules)
        fallbacks = self._read(self._fallbacks, self._check_fallbacks)
        ca_file = self._read(self._ca_file, check_ca_file)
        if name is None or host is None or port is None or user is None or bypass is None:
            self._lead_to_mistake()
            return None
        if fallbacks is None or ca_file is None:
            self._lead_to_mistake()
            return None
        draft = self.draft()
        upstream = Upstream(host, port, draft.scheme)
        if not self._goes_together((upstream, *fallbacks)):
            self._lead_to_mistake()
            return None
        return Profile(
            self._id or make_id(name, (profile.id for profile in self._taken)),
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

    def _goes_together(self, upstreams: Iterable[Upstream]) -> bool:
        """Return whether one can sign in there as chosen; say it below if not."""
        label, way = self._errors[self._method], self._ways[self._sign_in()]
        try:
            check_sign_in(self._sign_in(), Method(self._method.currentData()), upstreams)
        except ProfileError as error:
            label.setText(breakable(str(error)))
            way.setAccessibleDescription(str(error))
            label.show()
            return False
        self._forget_the_way()
        return True

    def _forget_the_way(self) -> None:
        self._errors[self._method].hide()
        for way in self._ways.values():
            way.setAccessibleDescription("")

    def _lead_to_mistake(self) -> None:
        """Lead to the first field that is wrong."""
        wrong = self._first_wrong()
        if wrong in (self._fallbacks, self._ca_file):
            self._advanced.setChecked(True)
        if wrong is self._method:
            wrong = self._ways[self._sign_in()]
        wrong.setFocus(Qt.FocusReason.OtherFocusReason)

    def show_keyring(self, keyring: KeyringStatus, *, has_password: bool | None = None) -> None:
        """Say where the password is kept.

        Args:
            keyring: The password store.
            has_password: Whether it holds one of this profile; None: not known.
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
            self._fallbacks: (self._fallbacks, self._check_fallbacks),
            self._ca_file: (self._ca_file, check_ca_file),
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

    def _check_fallbacks(self, text: str) -> tuple[Upstream, ...]:
        upstreams = parse_upstreams(text)
        draft = self.draft()
        try:
            first = Upstream(check_host(draft.host), check_port(draft.port), draft.scheme)
        except ProfileError:
            return upstreams  # That is said under another field.
        if len({first, *upstreams}) <= len(upstreams):
            raise ProfileError(translate("Profiles", "The same proxy stands here twice."))
        return upstreams

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

    def _fill(self, draft: ProfileDraft) -> None:
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
        self._ways[draft.sign_in].setChecked(True)
        self._enable_login()

    @Slot()
    def _enable_login(self) -> None:
        with_password = self._sign_in() is SignIn.PASSWORD
        by_socks = self._scheme.currentData() == ProxyScheme.SOCKS5
        self._user.setEnabled(with_password)
        self._kept.setEnabled(with_password)
        self._forget.setEnabled(with_password and self._may_forget)
        # SOCKS5 has one way with a password and none of these (RFC 1929).
        self._method.setEnabled(self._sign_in() is not SignIn.NONE and not by_socks)
        self._encoding.setEnabled(with_password and not by_socks)

    @Slot()
    def _on_sign_in(self) -> None:
        self._forget_the_way()
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
        self._build_advanced(form)

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
        self._scheme = named(QComboBox(), "scheme")
        self._scheme.setAccessibleName(translate("Profiles", "Kind of proxy"))
        for scheme in ProxyScheme:
            self._scheme.addItem(f"{scheme}://", scheme)
        self._scheme.activated.connect(self._on_sign_in)
        parts.addWidget(self._scheme)
        parts.addWidget(self._host, 1)
        parts.addWidget(QLabel(":"))
        parts.addWidget(self._port)
        label = QLabel(translate("Profiles", "&Address:"))
        label.setBuddy(self._host)
        form.addRow(label, row)
        form.addRow("", self._error(self._host))
        form.addRow("", self._error(self._port))

    def _build_sign_in(self, form: QFormLayout) -> None:
        self._ways = {
            SignIn.PASSWORD: named(
                QRadioButton(translate("Profiles", "User name and &password")), "with_password"
            ),
            SignIn.SSO: named(QRadioButton(texts.own_sign_in()), "with_own_sign_in"),
            SignIn.NONE: named(QRadioButton(translate("Profiles", "N&one")), "without_sign_in"),
        }
        choice = QVBoxLayout()
        group = QButtonGroup(self)
        for button in self._ways.values():
            group.addButton(button)
            choice.addWidget(button)
            button.clicked.connect(self._on_sign_in)
        self._ways[SignIn.PASSWORD].setChecked(True)
        self._build_method()
        self._user = self._line("profile_user")
        self._user.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._kept = plain_label("password_kept")
        self._forget = named(
            QPushButton(translate("Profiles", "&Forget password")), "forget_password"
        )
        self._forget.clicked.connect(self.forget_wanted)
        form.addRow(translate("Profiles", "Sign-in:"), choice)
        form.addRow(translate("Profiles", "&Method:"), self._method)
        form.addRow("", self._error(self._method))
        form.addRow(translate("Profiles", "&User name:"), self._user)
        form.addRow("", self._error(self._user))
        form.addRow(translate("Profiles", "Password:"), self._kept)
        forget = QHBoxLayout()
        forget.addWidget(self._forget)
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
        self._method.activated.connect(self._on_sign_in)

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
        self._fallbacks = self._line("fallbacks")
        self._fallbacks.setPlaceholderText("proxy2.corp.example:8080")
        self._fallbacks.setToolTip(
            translate("Profiles", "Used while the proxy above cannot be reached, in this order")
        )
        self._ca_file = self._line("ca_file")
        self._ca_file.setPlaceholderText(translate("Profiles", "The system's authorities"))
        for field in (self._fallbacks, self._ca_file):
            field.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._build_encoding()
        choose = named(QPushButton(translate("Profiles", "&Choose…")), "choose_ca_file")
        choose.clicked.connect(self._on_choose)
        file = QWidget()
        parts = QHBoxLayout(file)
        parts.setContentsMargins(0, 0, 0, 0)
        parts.addWidget(self._ca_file, 1)
        parts.addWidget(choose)
        label = QLabel(translate("Profiles", "Cert&ificate:"))
        label.setBuddy(self._ca_file)
        form.addRow("", self._advanced)
        self._hidden_rows = QWidget()
        rows = QFormLayout(self._hidden_rows)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        rows.addRow(translate("Profiles", "Othe&rwise use:"), self._fallbacks)
        rows.addRow("", self._error(self._fallbacks))
        rows.addRow(label, file)
        rows.addRow("", self._error(self._ca_file))
        rows.addRow(translate("Profiles", "Te&xt encoding:"), self._encoding)
        self._hidden_rows.hide()
        _align_labels(form, rows)
        form.addRow(self._hidden_rows)

    @Slot(bool)
    def _on_advanced(self, is_open: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self._advanced.setArrowType(arrow)
        self._hidden_rows.setVisible(is_open)

    @Slot()
    def _on_choose(self) -> None:
        dialog = named(QFileDialog(self), "ca_file_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters(
            [
                translate("Profiles", "Certificates (*.pem *.crt *.cer *.der)"),
                translate("Profiles", "All files (*)"),
            ]
        )
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self._on_chosen)
        dialog.open()

    @Slot(str)
    def _on_chosen(self, path: str) -> None:
        self._ca_file.setText(QDir.toNativeSeparators(path))
        self._read(self._ca_file, check_ca_file)
        self.edited.emit()

    def _line(self, name: str) -> QLineEdit:
        line = named(QLineEdit(), name)
        line.textEdited.connect(self.edited)
        line.installEventFilter(self)
        return line

    def _error(self, field: QWidget) -> QLabel:
        label = plain_label(f"{field.objectName()}_error")
        font = label.font()
        font.setItalic(True)
        label.setFont(font)
        label.hide()
        self._errors[field] = label
        return label
