"""The groups of fields of the profile form. A group shows its part of a `ProfileDraft`."""

from PySide6.QtCore import QCoreApplication, QDir, QObject, Qt, Signal, SignalInstance, Slot
from PySide6.QtGui import QFocusEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QFormLayout,
    QLabel,
    QLineEdit,
    QRadioButton,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from trayproxy.desktop.kerberos import logon_brings_ticket
from trayproxy.domain.signin import KeyringStatus
from trayproxy.profiles.profile import Encoding, Method, ProxyScheme, SignIn
from trayproxy.ui import texts
from trayproxy.ui.profile_draft import ProfileDraft
from trayproxy.ui.text_sanitizer import breakable
from trayproxy.ui.widgets import (
    column,
    named,
    plain_label,
    push_button,
    row,
    show_or_hide,
    without_margins,
)

translate = QCoreApplication.translate


class CheckedLine(QLineEdit):
    """Line edit with a label for its error.

    Attributes:
        error: The label, which is in no layout yet, hidden while the input has no error.

    Signals:
        input_ended(CheckedLine): The focus has left this line edit, or its text was chosen.
    """

    input_ended = Signal(object)

    def __init__(self, name: str, placeholder: str = "") -> None:
        super().__init__()
        self.setObjectName(name)
        self.setPlaceholderText(placeholder)
        self.error = error_label(name)

    def focusOutEvent(self, event: QFocusEvent) -> None:
        """Emit `input_ended`."""
        self.input_ended.emit(self)
        super().focusOutEvent(event)

    def show_text(self, text: str) -> None:
        """Show a text; an equal text keeps the cursor and the undo history."""
        if self.text() != text:
            self.setText(text)

    def show_error(self, text: str) -> None:
        """Show an error; an empty text hides the label."""
        show_or_hide(self.error, text)
        self.setAccessibleDescription(text)


def error_label(field: str) -> QLabel:
    """Return a hidden label for the error of a field."""
    label = plain_label(f"{field}_error")
    font = label.font()
    font.setItalic(True)
    label.setFont(font)
    label.hide()
    return label


class AddressRow(QWidget):
    """The row with the scheme, the host and the port of the upstream, or with a PAC address.

    Signals:
        scheme_chosen: The user has chosen a scheme.
    """

    scheme_chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.host = CheckedLine(
            "host", translate("Profiles", "proxy.corp.example, or a PAC address")
        )
        self.host.setAccessibleName(translate("Profiles", "Address of the proxy"))
        self.host.setToolTip(
            translate(
                "Profiles",
                "The proxy, or a PAC script: its address or file, “system” for the settings of the "
                "desktop, or “wpad” to find it in the network",
            )
        )
        self.port = CheckedLine("port", "8080")
        self.port.setAccessibleName(translate("Profiles", "Port of the proxy"))
        self.port.setMaxLength(5)
        self.port.setFixedWidth(self.fontMetrics().averageCharWidth() * 12)
        # An address is written from left to right in every language.
        for widget in (self, self.host, self.port):
            widget.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._scheme = named(QComboBox(), "scheme")
        self._scheme.setAccessibleName(translate("Profiles", "Kind of proxy"))
        for scheme in ProxyScheme:
            self._scheme.addItem(f"{scheme}://", scheme)
        self._scheme.activated.connect(self.scheme_chosen)
        self._colon = QLabel(":")
        row(self, self._scheme, self.host, self._colon, self.port, grows=self.host)
        self.host.textChanged.connect(self._show_parts)

    @Slot(str)
    def _show_parts(self, address: str) -> None:
        """Show the scheme and the port, unless the address is a PAC address."""
        is_automatic = ProfileDraft(host=address, port=self.port.text()).is_automatic
        for part in (self._scheme, self._colon, self.port):
            part.setVisible(not is_automatic)

    @property
    def scheme(self) -> ProxyScheme:
        """The scheme that the user has chosen for the upstream."""
        return ProxyScheme(self._scheme.currentData())

    def show_draft(self, draft: ProfileDraft) -> None:
        """Show the address of a draft."""
        self.port.show_text(draft.port)  # First: `_show_parts` reads it.
        self.host.show_text(draft.host)
        self._scheme.setCurrentIndex(self._scheme.findData(draft.scheme))


class SignInRows(QObject):
    """The rows with the sign-in, the method, the user name and the password.

    Signals:
        chosen: The user has chosen a sign-in or a method.
        forget_requested: Remove the saved password.
    """

    chosen = Signal()
    forget_requested = Signal()

    def __init__(self, form: QFormLayout, parent: QWidget) -> None:
        super().__init__(parent)
        self._may_forget = False
        self._buttons = {
            SignIn.PASSWORD: named(
                QRadioButton(translate("Profiles", "User name and &password")), "with_password"
            ),
            SignIn.SSO: named(
                # A Kerberos ticket or the log-on to Windows.
                QRadioButton(translate("Profiles", "My Windows/&Kerberos sign-in (no password)")),
                "with_own_sign_in",
            ),
            SignIn.NONE: named(QRadioButton(translate("Profiles", "N&one")), "without_sign_in"),
        }
        group = QButtonGroup(self)
        for button in self._buttons.values():
            group.addButton(button)
            button.clicked.connect(self.chosen)
        self._get_ticket = named(
            QCheckBox(translate("Profiles", "Get a Kerberos &ticket with a saved password")),
            "get_ticket",
        )
        self._get_ticket.setToolTip(
            translate("Profiles", "Only while you have no ticket. No other program can use it.")
        )
        self._get_ticket.clicked.connect(self.chosen)
        self._buttons[SignIn.PASSWORD].setChecked(True)
        self._method = named(QComboBox(), "method")
        self._method.setToolTip(
            translate("Profiles", "Automatic uses the strongest method that the proxy offers")
        )
        for method in Method:
            self._method.addItem(texts.method_name(method), method)
        self._method.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        self._method.activated.connect(self.chosen)
        self.method_error = error_label("method")
        self.user = CheckedLine("profile_user")
        self.user.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._password_status = plain_label("password_kept")
        self._forget_button = push_button(
            "forget_password", translate("Profiles", "&Forget password"), self.forget_requested
        )
        form.addRow(translate("Profiles", "Sign-in:"), column(None, *self._buttons.values()))
        self._form = form
        form.addRow("", self._get_ticket)
        form.addRow(translate("Profiles", "&Method:"), self._method)
        form.addRow("", self.method_error)
        form.addRow(translate("Profiles", "&User name:"), self.user)
        form.addRow("", self.user.error)
        form.addRow(translate("Profiles", "Password:"), self._password_status)
        form.addRow("", row(None, self._forget_button, None))

    @property
    def sign_in(self) -> SignIn:
        """The kind of sign-in that the user has chosen."""
        return next(sign_in for sign_in, button in self._buttons.items() if button.isChecked())

    @property
    def gets_ticket(self) -> bool:
        """True to request a Kerberos ticket with a saved password."""
        return self.sign_in is SignIn.SSO and self._get_ticket.isChecked()

    @property
    def button(self) -> QRadioButton:
        """The button of the sign-in."""
        return self._buttons[self.sign_in]

    @property
    def method(self) -> Method:
        """The authentication method that the user has chosen."""
        return Method(self._method.currentData())

    def show_draft(self, draft: ProfileDraft) -> None:
        """Show the sign-in of a draft."""
        self.user.show_text(draft.user)
        self._method.setCurrentIndex(self._method.findData(draft.method))
        self._buttons[draft.sign_in].setChecked(True)
        self._get_ticket.setChecked(draft.get_ticket)

    def show_method_error(self, text: str) -> None:
        """Show why the sign-in and the method cannot be combined; an empty text hides the label."""
        show_or_hide(self.method_error, text)
        for button in (self.button,) if text else self._buttons.values():
            button.setAccessibleDescription(text)

    def show_password(
        self, keyring: KeyringStatus, *, has_password: bool | None, may_forget: bool
    ) -> None:
        """Show where the password of the profile is stored; see `update_enabled`.

        Args:
            keyring: The state of the password store.
            has_password: True if the store has a password for this profile; None if unknown.
            may_forget: True to offer *Forget password*.
        """
        self._may_forget = may_forget
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

    def update_enabled(self, scheme: ProxyScheme) -> None:
        """Enable the fields that apply to the sign-in and to the scheme of the upstream."""
        is_own = self.sign_in is SignIn.SSO
        is_useful = self.gets_ticket or not logon_brings_ticket()
        self._form.setRowVisible(self._get_ticket, is_own and is_useful)
        with_password = self.sign_in is SignIn.PASSWORD or self.gets_ticket
        self.user.setEnabled(with_password)
        self._password_status.setEnabled(with_password)
        self._forget_button.setEnabled(with_password and self._may_forget)
        # SOCKS5 has one method with a password, and no choice of encoding (RFC 1929).
        is_socks = scheme is ProxyScheme.SOCKS5
        self._method.setEnabled(self.sign_in is not SignIn.NONE and not is_socks)


class FileRow(QWidget):
    """A line edit for the path of a file, with a button to choose the file.

    Signals:
        chosen: The user has chosen a file.

    Attributes:
        line: The line edit.
    """

    chosen = Signal()

    def __init__(self, name: str, placeholder: str, button: str, kinds: str) -> None:
        """Create the row. `kinds` are the usual files, such as ``Keys (*.pem *.key)``."""
        super().__init__()
        self._kinds = kinds
        self.line = CheckedLine(name, placeholder)
        self.line.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        choose_button = push_button(f"choose_{name}", button, self._on_choose)
        row(self, self.line, choose_button, grows=self.line)

    @Slot()
    def _on_choose(self) -> None:
        dialog = named(QFileDialog(self), f"{self.line.objectName()}_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
        dialog.setNameFilters([self._kinds, translate("Profiles", "All files (*)")])
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.fileSelected.connect(self._on_chosen)
        dialog.open()

    @Slot(str)
    def _on_chosen(self, path: str) -> None:
        self.line.setText(QDir.toNativeSeparators(path))
        self.line.input_ended.emit(self.line)
        self.chosen.emit()


class KerberosRows:
    """The rows about the name of the proxy for Kerberos, hidden if Kerberos cannot be used.

    Attributes:
        spn: The service principal name.
    """

    def __init__(self, form: QFormLayout, chosen: SignalInstance) -> None:
        """Add the rows to a form; `chosen` is emitted when a box was clicked."""
        self._form = form
        self.spn = CheckedLine("spn", "HTTP/proxy.corp.example")
        self.spn.setToolTip(
            translate("Profiles", "If Kerberos knows the proxy by another name than its address")
        )
        self.spn.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._canonical_name = named(
            QCheckBox(translate("Profiles", "Use the canonica&l name from the DNS")),
            "canonical_name",
        )
        self._canonical_name.clicked.connect(chosen)
        form.addRow(translate("Profiles", "Ser&vice name:"), self.spn)
        form.addRow("", self.spn.error)
        form.addRow("", self._canonical_name)

    @property
    def uses_canonical_name(self) -> bool:
        """True to use the canonical name of the host."""
        return self._canonical_name.isChecked()

    def show_draft(self, draft: ProfileDraft) -> None:
        """Show the fields of a draft."""
        self.spn.show_text(draft.spn)
        self._canonical_name.setChecked(draft.canonical_name)

    def update_visible(self, draft: ProfileDraft) -> None:
        """Show the rows if Kerberos may be used."""
        for field in (self.spn, self._canonical_name):
            self._form.setRowVisible(field, draft.may_use_kerberos)
        if not draft.may_use_kerberos:
            self.spn.show_error("")


class NetworkRows:
    """The rows with the networks on which the profile is used by itself.

    Attributes:
        use_on: The conditions.
    """

    def __init__(self, form: QFormLayout, chosen: SignalInstance) -> None:
        """Add the rows to a form; `chosen` is emitted when a box was clicked."""
        self.use_on = CheckedLine("use_on", "dns:corp.example, wifi:Branch-*, answers")
        self.use_on.setToolTip(
            translate(
                "Profiles",
                "The profile is used by itself on a network with this Wi-Fi name (wifi:), gateway: "
                "address, DNS suffix (dns:) or vpn: name, or where the proxy answers",
            )
        )
        self.use_on.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._else_direct = named(
            QCheckBox(translate("Profiles", "Connect directly els&ewhere")), "else_direct"
        )
        self._else_direct.clicked.connect(chosen)
        form.addRow(translate("Profiles", "Use on net&works:"), self.use_on)
        form.addRow("", self.use_on.error)
        form.addRow("", self._else_direct)

    @property
    def else_direct(self) -> bool:
        """True to connect directly on other networks."""
        return self._else_direct.isChecked()

    def show_draft(self, draft: ProfileDraft) -> None:
        """Show the fields of a draft."""
        self.use_on.show_text(draft.use_on)
        self._else_direct.setChecked(draft.else_direct)


class AdvancedRows(QWidget):
    """The rows that few profiles need, shown by `button`, which is not in a layout yet.

    Signals:
        chosen: The user has chosen a value that is not typed.

    Attributes:
        lines: The line edits.
    """

    chosen = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.button = _advanced_button()
        self.button.toggled.connect(self._on_toggled)
        self.fallbacks = CheckedLine("fallbacks", "proxy2.corp.example:8080")
        self.fallbacks.setToolTip(
            translate("Profiles", "Used while the proxy above cannot be reached, in this order")
        )
        self.fallbacks.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._encoding = _encoding_box()
        self._encoding.activated.connect(self.chosen)
        self._files = (
            FileRow(
                "ca_file",
                translate("Profiles", "The system's authorities"),
                translate("Profiles", "&Choose…"),
                translate("Profiles", "Certificates (*.pem *.crt *.cer *.der)"),
            ),
            FileRow(
                "client_certificate",
                translate("Profiles", "Only if the proxy demands one"),
                translate("Profiles", "Choose…"),
                translate("Profiles", "Certificates (*.p12 *.pfx *.pem *.crt *.cer)"),
            ),
            FileRow(
                "client_key",
                translate("Profiles", "In the same file"),
                translate("Profiles", "Choose…"),
                translate("Profiles", "Keys (*.pem *.key)"),
            ),
        )
        self.ca_file, self.client_certificate, self.client_key = (file.line for file in self._files)
        self.rows = without_margins(QFormLayout(self))
        self.rows.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self.rows.addRow(translate("Profiles", "Othe&rwise use:"), self.fallbacks)
        self.rows.addRow("", self.fallbacks.error)
        labels = (
            translate("Profiles", "Cert&ificate:"),
            translate("Profiles", "&Your certificate:"),
            translate("Profiles", "Its key:"),
        )
        for text, file in zip(labels, self._files, strict=True):
            file.chosen.connect(self.chosen)
            label = QLabel(text)
            label.setBuddy(file.line)
            self.rows.addRow(label, file)
            self.rows.addRow("", file.line.error)
        self.rows.addRow(translate("Profiles", "Te&xt encoding:"), self._encoding)
        self.kerberos = KerberosRows(self.rows, self.chosen)
        self.networks = NetworkRows(self.rows, self.chosen)
        files = (self.ca_file, self.client_certificate, self.client_key)
        self.lines = (self.fallbacks, *files, self.kerberos.spn, self.networks.use_on)
        self.hide()

    @property
    def encoding(self) -> Encoding:
        """The encoding of logins that the user has chosen."""
        return Encoding(self._encoding.currentData())

    def show_draft(self, draft: ProfileDraft) -> None:
        """Show the fields of a draft."""
        self.fallbacks.show_text(draft.fallbacks)
        self.ca_file.show_text(draft.ca_file)
        self.client_certificate.show_text(draft.client_certificate)
        self.client_key.show_text(draft.client_key)
        self._encoding.setCurrentIndex(self._encoding.findData(draft.encoding))
        self.kerberos.show_draft(draft)
        self.networks.show_draft(draft)

    def update_enabled(self, draft: ProfileDraft) -> None:
        """Enable or show the fields that apply to the sign-in and to the scheme of the upstream."""
        is_socks = draft.scheme is ProxyScheme.SOCKS5
        self._encoding.setEnabled(draft.sign_in is SignIn.PASSWORD and not is_socks)
        self.kerberos.update_visible(draft)
        for file in self._files[1:]:
            self.rows.setRowVisible(file, draft.scheme is ProxyScheme.HTTPS)

    @Slot(bool)
    def _on_toggled(self, is_open: bool) -> None:
        arrow = Qt.ArrowType.DownArrow if is_open else Qt.ArrowType.RightArrow
        self.button.setArrowType(arrow)
        self.setVisible(is_open)


def _advanced_button() -> QToolButton:
    button = named(QToolButton(), "advanced")
    button.setText(translate("Profiles", "Advanced"))
    button.setCheckable(True)
    button.setAutoRaise(True)
    button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
    button.setArrowType(Qt.ArrowType.RightArrow)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    return button


def _encoding_box() -> QComboBox:
    box = named(QComboBox(), "encoding")
    box.setToolTip(
        translate(
            "Profiles",
            "Of user name and password, for a proxy that names no encoding. Choose Latin-1 "
            "if a right password with letters such as ä or é is not accepted.",
        )
    )
    for name, encoding in (("UTF-8", Encoding.UTF_8), ("Latin-1", Encoding.LATIN_1)):
        box.addItem(name, encoding)
    box.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
    return box
