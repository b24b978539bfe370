"""The upper part of the sign-in dialog: the facts of the prompt, the transport and the errors."""

from PySide6.QtCore import QCoreApplication, Qt, Signal, Slot
from PySide6.QtGui import QPixmap
from PySide6.QtWidgets import QFormLayout, QLabel, QPushButton, QStyle, QWidget

from trayproxy.domain.signin import Prompt, Transport
from trayproxy.ui import texts
from trayproxy.ui.text_sanitizer import breakable, clean, shorten
from trayproxy.ui.widgets import (
    column,
    hide_if_empty,
    named,
    picture_label,
    plain_label,
    plain_tooltip,
    row,
    show_or_hide,
    standard_pixmap,
)

translate = QCoreApplication.translate

_SELECTABLE_LENGTH = 60
_METHOD_LENGTH = 40


class FactRows(QWidget):
    """The rows that name the proxy, its realm, the method and the waiting program."""

    def __init__(self) -> None:
        super().__init__()
        self._form = QFormLayout(self)
        self._form.setContentsMargins(_indent(self), 0, 0, 0)
        self._form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        self._proxy = plain_label("proxy")
        self._proxy.setLayoutDirection(Qt.LayoutDirection.LeftToRight)
        self._realm = plain_label("realm")
        self._method = plain_label("method")
        self._needed_by = plain_label("needed_by")
        self._form.addRow(translate("SignIn", "Proxy:"), self._proxy)
        self._form.addRow(translate("SignIn", "It says:"), self._realm)
        self._form.addRow(translate("SignIn", "Method:"), self._method)
        self._form.addRow(translate("SignIn", "Needed by:"), self._needed_by)

    @property
    def summary(self) -> list[str]:
        """The texts for the accessible description of the dialog."""
        return [self._proxy.text(), self._realm.text()]

    def show_prompt(self, prompt: Prompt) -> None:
        """Show the facts of a prompt."""
        upstream = texts.upstream_text(prompt.upstream)
        is_short = len(upstream) <= _SELECTABLE_LENGTH
        self._proxy.setText(upstream if is_short else breakable(upstream))
        flag = Qt.TextInteractionFlag
        self._proxy.setTextInteractionFlags(
            # A long name contains zero-width spaces, which would be copied as well.
            flag.TextSelectableByMouse if is_short else flag.NoTextInteraction
        )
        self._method.setText(breakable(shorten(clean(prompt.method), _METHOD_LENGTH)))
        self._show_row(self._realm, texts.realm_text(prompt))
        self._realm.setToolTip(plain_tooltip(texts.realm_tooltip(prompt)))
        self._show_row(self._needed_by, texts.needed_by_text(prompt))

    def _show_row(self, label: QLabel, text: str) -> None:
        label.setText(breakable(text))
        self._form.setRowVisible(label, bool(text))


class TransportRows(QWidget):
    """The rows that say how the password travels, with an explanation on demand.

    Signals:
        resized: The explanation was shown or hidden.
    """

    resized = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._icon = picture_label("transport_icon", QPixmap())
        self._text = plain_label("transport")
        why_button = named(QPushButton(translate("SignIn", "Why?")), "why")
        why_button.setCheckable(True)
        why_button.setAutoDefault(False)
        why_button.setAccessibleDescription(
            translate("SignIn", "Explains how the password travels to the proxy")
        )
        why_button.toggled.connect(self._on_why_toggled)
        self._details = plain_label("transport_why")
        self._details.setContentsMargins(_indent(self), 0, 0, 0)
        self._details.setVisible(False)
        line = row(None, self._icon, self._text, why_button, grows=self._text)
        line.setAlignment(self._icon, Qt.AlignmentFlag.AlignVCenter)
        column(self, line, self._details)

    @property
    def summary(self) -> list[str]:
        """The text for the accessible description of the dialog."""
        return [self._text.text()]

    def show_prompt(self, prompt: Prompt) -> None:
        """Show the transport of a prompt."""
        self._text.setText(texts.transport_line(prompt))
        self._icon.setPixmap(standard_pixmap(self, _transport_icon(prompt.transport)))
        self._details.setText(breakable(texts.transport_explanation(prompt)))

    @Slot(bool)
    def _on_why_toggled(self, shown: bool) -> None:
        self._details.setVisible(shown)
        self.resized.emit()


class ErrorRows(QWidget):
    """The rows with the error and the warning about locked accounts; hidden without a text."""

    def __init__(self) -> None:
        super().__init__()
        self._error = named(QWidget(), "error")
        critical = standard_pixmap(self, QStyle.StandardPixmap.SP_MessageBoxCritical)
        self._text = plain_label("error_text")
        row(self._error, picture_label("error_icon", critical), self._text, grows=self._text)
        self._lock_out = plain_label("lock_out")
        self._lock_out.setContentsMargins(_indent(self), 0, 0, 0)
        column(self, self._error, self._lock_out)
        self._error.hide()
        self._lock_out.hide()
        hide_if_empty(self)

    @property
    def error(self) -> str:
        """The shown error, with zero-width spaces for line breaks."""
        return self._text.text()

    @property
    def summary(self) -> list[str]:
        """The texts for the accessible description of the dialog."""
        return [self._text.text(), self._lock_out.text()]

    def show_error(self, text: str) -> None:
        """Show an error; an empty text hides the row."""
        self._text.setText(breakable(text))
        self._error.setVisible(bool(text))
        hide_if_empty(self)

    def show_lock_out(self, text: str) -> None:
        """Show the warning about locked accounts; an empty text hides the row."""
        show_or_hide(self._lock_out, text)
        hide_if_empty(self)


def _transport_icon(transport: Transport) -> QStyle.StandardPixmap:
    if transport is Transport.READABLE:
        return QStyle.StandardPixmap.SP_MessageBoxWarning
    return QStyle.StandardPixmap.SP_MessageBoxInformation


def _indent(widget: QWidget) -> int:
    """Return the width of an icon and of the space beside it."""
    space = widget.style().pixelMetric(QStyle.PixelMetric.PM_LayoutHorizontalSpacing)
    return widget.fontMetrics().height() + space
