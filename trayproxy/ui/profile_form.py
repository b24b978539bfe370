"""The form of a profile, in the right half of the window.

The input is kept as text in a `ProfileDraft` until it is saved as a `Profile`. An invalid field
shows its error below the field when the focus leaves it (ux §3.3).
"""

from collections.abc import Callable, Iterable

from PySide6.QtCore import QCoreApplication, Qt, Signal, Slot
from PySide6.QtWidgets import QFormLayout, QLabel, QWidget

from trayproxy.domain.signin import KeyringStatus
from trayproxy.profiles.profile import Encoding, Profile, ProfileError
from trayproxy.profiles.validate import (
    check_ca_file,
    check_user,
    parse_rules,
    parse_use_on,
)
from trayproxy.ui.profile_draft import DraftReader, ProfileDraft, normalized
from trayproxy.ui.profile_fields import AddressRow, AdvancedRows, CheckedLine, SignInRows

translate = QCoreApplication.translate


class ProfileForm(QWidget):
    """Form for the fields of a profile.

    Signals:
        edited: The user has changed a field.
        forget_requested: Remove the saved password.
    """

    edited = Signal()
    forget_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("profile_form")
        self._profiles: tuple[Profile, ...] = ()
        self._profile_id = ""
        form = QFormLayout(self)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        self._name = CheckedLine("name")
        form.addRow(translate("Profiles", "&Name:"), self._name)
        form.addRow("", self._name.error)
        self._address = AddressRow()
        label = QLabel(translate("Profiles", "&Address:"))
        label.setBuddy(self._address.host)
        form.addRow(label, self._address)
        form.addRow("", self._address.host.error)
        form.addRow("", self._address.port.error)
        self._sign_in = SignInRows(form, self)
        self._bypass = CheckedLine("bypass", "localhost, *.corp.example")
        form.addRow(translate("Profiles", "&Do not use for:"), self._bypass)
        form.addRow("", self._bypass.error)
        self._advanced = AdvancedRows()
        form.addRow("", self._advanced.button)
        _align_labels(form, self._advanced.rows)
        form.addRow(self._advanced)
        self._connect()

    def _connect(self) -> None:
        for line in self._lines():
            line.textEdited.connect(self.edited)
            line.input_ended.connect(self._on_input_ended)
        self._address.scheme_chosen.connect(self._on_sign_in_changed)
        self._sign_in.chosen.connect(self._on_sign_in_changed)
        self._sign_in.forget_requested.connect(self.forget_requested)
        self._advanced.chosen.connect(self.edited)

    # --- Display ---------------------------------------------------------------------------------

    def show_draft(self, draft: ProfileDraft, profile_id: str, profiles: Iterable[Profile]) -> None:
        """Show a draft and hide all errors; see `DraftReader` for the arguments."""
        self._profiles, self._profile_id = tuple(profiles), profile_id
        self._set_fields(draft)
        for line in self._lines():
            line.show_error("")
        self._sign_in.show_method_error("")
        is_special = draft.encoding is not Encoding.UTF_8 or draft.canonical_name
        texts = (
            draft.fallbacks,
            draft.ca_file,
            draft.client_certificate,
            draft.spn,
            draft.use_on,
        )
        self._advanced.button.setChecked(any(texts) or is_special)

    def show_password(
        self, keyring: KeyringStatus, *, has_password: bool | None, may_forget: bool
    ) -> None:
        """Show where the password of the profile is stored; see `SignInRows.show_password`."""
        self._sign_in.show_password(keyring, has_password=has_password, may_forget=may_forget)
        self._update_enabled()

    def focus_first(self) -> None:
        """Move the focus to the first field to fill in."""
        field = self._address.host if not self._address.host.text() else self._name
        field.setFocus(Qt.FocusReason.OtherFocusReason)

    # --- Input -----------------------------------------------------------------------------------

    def draft(self) -> ProfileDraft:
        """Return the input of the form."""
        return ProfileDraft(
            self._name.text(),
            self._address.host.text(),
            self._address.port.text(),
            self._sign_in.sign_in,
            self._sign_in.user.text(),
            self._bypass.text(),
            self._address.scheme,
            self._advanced.fallbacks.text(),
            self._advanced.ca_file.text(),
            self._sign_in.method,
            self._advanced.encoding,
            self._advanced.kerberos.spn.text(),
            self._advanced.kerberos.uses_canonical_name,
            self._sign_in.gets_ticket,
            self._advanced.networks.use_on.text(),
            self._advanced.networks.else_direct,
            self._advanced.client_certificate.text(),
            self._advanced.client_key.text(),
        )

    def profile(self) -> Profile | None:
        """Return the edited profile; if the input is invalid, show the errors and return None."""
        self._normalize()
        reader = self._reader()
        errors = [self._check_line(line, check) for line, check in self._checks(reader)]
        if not any(errors):
            error = _error_of(lambda: reader.check_method(reader.fallbacks()))
            self._sign_in.show_method_error(error)
            if not error:
                return reader.profile()
        self._focus_first_error()
        return None

    def _reader(self) -> DraftReader:
        return DraftReader(self.draft(), self._profile_id, self._profiles)

    def _checks(self, reader: DraftReader) -> list[tuple[CheckedLine, Callable[[], object]]]:
        draft = reader.draft
        return [
            (self._name, reader.name),
            (self._address.host, reader.check_address),
            (self._address.port, reader.check_port),
            (self._sign_in.user, lambda: check_user(draft.user)),
            (self._bypass, lambda: parse_rules(draft.bypass)),
            (self._advanced.fallbacks, reader.fallbacks),
            (self._advanced.ca_file, lambda: check_ca_file(draft.ca_file)),
            (self._advanced.client_certificate, lambda: check_ca_file(draft.client_certificate)),
            (self._advanced.client_key, reader.client_key),
            (self._advanced.kerberos.spn, reader.spn),
            (self._advanced.networks.use_on, lambda: parse_use_on(draft.use_on)),
        ]

    def _lines(self) -> list[CheckedLine]:
        return [line for line, _ in self._checks(self._reader())]

    def _check_line(self, line: CheckedLine, check: Callable[[], object]) -> str:
        error = _error_of(check)
        line.show_error(error)
        return error

    @Slot(object)
    def _on_input_ended(self, ended: CheckedLine) -> None:
        if ended is self._address.host:
            self._normalize()
        for line, check in self._checks(self._reader()):
            # An empty field without an error is not checked: the user may fill it in later.
            if line is ended and (line.text() or not line.error.isHidden()):
                self._check_line(line, check)

    def _focus_first_error(self) -> None:
        """Move the focus to the first invalid field."""
        errors: list[tuple[QLabel, QWidget]] = [(line.error, line) for line in self._lines()]
        errors.insert(3, (self._sign_in.method_error, self._sign_in.button))
        field = next(field for label, field in errors if not label.isHidden())
        if field in self._advanced.lines:
            self._advanced.button.setChecked(True)
        field.setFocus(Qt.FocusReason.OtherFocusReason)

    def _normalize(self) -> None:
        self._set_fields(normalized(self.draft()))

    def _set_fields(self, draft: ProfileDraft) -> None:
        self._name.show_text(draft.name)
        self._bypass.show_text(draft.bypass)
        for group in (self._address, self._sign_in, self._advanced):
            group.show_draft(draft)
        self._update_enabled()

    @Slot()
    def _update_enabled(self) -> None:
        self._sign_in.update_enabled(self._address.scheme)
        self._advanced.update_enabled(self.draft())

    @Slot()
    def _on_sign_in_changed(self) -> None:
        self._sign_in.show_method_error("")
        self._update_enabled()
        self.edited.emit()


def _error_of(check: Callable[[], object]) -> str:
    """Return the error of a check, empty if there is none."""
    try:
        check()
    except ProfileError as error:
        return str(error)
    return ""


def _align_labels(*forms: QFormLayout) -> None:
    """Set the labels of several forms to the same width, to align the fields."""
    role = QFormLayout.ItemRole.LabelRole
    items = (form.itemAt(row, role) for form in forms for row in range(form.rowCount()))
    labels = [widget for item in items if item is not None and (widget := item.widget())]
    width = max(label.sizeHint().width() for label in labels)
    for label in labels:
        label.setMinimumWidth(width)
