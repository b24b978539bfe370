"""The dialog with the steps and the result of a connection test (ux §3.3)."""

from PySide6.QtCore import QCoreApplication, QLocale, Qt, Slot
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QDialog, QDialogButtonBox, QGridLayout, QLabel, QVBoxLayout, QWidget

from trayproxy.control.messages import CheckProfile, CheckResult, Failed, Reply, Step, StepState
from trayproxy.control.texts import STEP_MARKS, STEP_TEXTS
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.ui import texts
from trayproxy.ui.action_signals import ActionSignals
from trayproxy.ui.text_sanitizer import breakable, clean, elide, host_text, isolate, shorten
from trayproxy.ui.widgets import add_parts, announce, named, plain_label, push_button

translate = QCoreApplication.translate
translated = QCoreApplication.translate
"""Translates a text in a variable; see `trayproxy.ui.texts.translated`."""

_NAME_LENGTH = 40
_DETAIL_LENGTH = 60
_NAME, _DETAIL = 1, 2


class CheckPanel(QDialog):
    """Dialog with the steps and the result of a test of a profile.

    Attributes:
        request: The request of the last test.
    """

    def __init__(
        self, profile: Profile, actions: ActionSignals, parent: QWidget | None = None
    ) -> None:
        """Create the dialog; `start` starts the test."""
        super().__init__(parent)
        self.request = CheckProfile(profile)
        self._actions = actions
        self.setObjectName("check_panel")
        name = elide(clean(profile.name), _NAME_LENGTH)
        self.setWindowTitle(translate("Check", "Test “{profile}”").format(profile=isolate(name)))
        self._steps = QGridLayout()
        self._steps.setColumnStretch(_NAME, 3)
        self._steps.setColumnStretch(_DETAIL, 2)
        self._verdict_label = plain_label("verdict")
        self._report_text = ""
        box = named(QDialogButtonBox(), "check_buttons")
        role = QDialogButtonBox.ButtonRole
        self._copy_button = push_button(
            "copy_report", translate("Check", "Copy report"), self._on_copy
        )
        self._sign_in_button = push_button(
            "sign_in", translate("Check", "Sign in…"), self._on_sign_in
        )
        self._repeat_button = push_button(
            "test_again", translate("Check", "Test again"), self.start
        )
        for button in (self._copy_button, self._sign_in_button, self._repeat_button):
            box.addButton(button, role.ActionRole)
        close = named(box.addButton(translate("Check", "Close"), role.RejectRole), "close_check")
        box.rejected.connect(self.close)
        add_parts(QVBoxLayout(self), self._steps, self._verdict_label, None, box)
        close.setDefault(True)
        self.setMinimumWidth(self.fontMetrics().averageCharWidth() * 80)

    @Slot()
    def start(self) -> None:
        """Start the test, or repeat it."""
        # A new object: `show_reply` identifies the test by its request.
        self.request = CheckProfile(self.request.profile)
        while (item := self._steps.takeAt(0)) is not None:
            if (label := item.widget()) is not None:
                label.deleteLater()
        self._verdict_label.setText(translate("Check", "Testing…"))
        self._sign_in_button.setVisible(False)
        for button in (self._copy_button, self._repeat_button):
            button.setEnabled(False)
        self._actions.check_profile.emit(self.request)

    def show_reply(self, request: CheckProfile, reply: Reply) -> None:
        """Show the result of the test, or the problem if the test could not run.

        A reply to an earlier request is ignored.
        """
        if request is not self.request:
            return
        if isinstance(reply, CheckResult):
            upstream = (reply.profile or request.profile).upstream
            for row, step in enumerate(reply.steps):
                self._add_row(row, step, upstream)
            self._verdict_label.setText(breakable(verdict(reply)))
            self._report_text = report(reply.profile or request.profile, reply)
            self._copy_button.setEnabled(True)
            self._sign_in_button.setVisible(_needs_sign_in(reply))
        elif isinstance(reply, Failed):
            self._verdict_label.setText(breakable(texts.problem_text(reply.problem)))
        self._repeat_button.setEnabled(True)
        announce(self, self._verdict_label.text())
        self.adjustSize()

    def _add_row(self, row: int, step: Step, upstream: Upstream | None) -> None:
        symbol = QLabel(STEP_MARKS[step.state])
        symbol.setAlignment(Qt.AlignmentFlag.AlignTop)
        symbol.setAccessibleName(state_text(step.state))
        name = plain_label(f"step_{step.name}", step_text(step, upstream, self.request.url))
        detail = plain_label(f"detail_{step.name}", detail_text(step))
        for label in (name, detail):
            # The texts are short, and a grid layout gives word-wrapped labels too much height.
            label.setWordWrap(False)
        duration = QLabel(duration_text(step))
        duration.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignTop)
        for column, label in enumerate((symbol, name, detail, duration)):
            self._steps.addWidget(label, row, column)

    @Slot()
    def _on_copy(self) -> None:
        QGuiApplication.clipboard().setText(self._report_text)

    @Slot()
    def _on_sign_in(self) -> None:
        self._actions.sign_in_to_profile.emit(self.request.profile.id)


def step_text(step: Step, upstream: Upstream | None, url: str) -> str:
    """Return the description of a step of the test of an upstream, None if it is not known."""
    template = STEP_TEXTS.get(step.name)
    if template is None:
        return clean(step.name)
    host = elide(host_text(upstream.host), _NAME_LENGTH) if upstream is not None else ""
    port = upstream.port if upstream is not None else 0
    page = shorten(url, _NAME_LENGTH)
    return translated("Check", template).format(host=host, port=port, url=page)


def detail_text(step: Step) -> str:
    """Return the result of a test step."""
    if step.state is StepState.NOT_TRIED:
        return state_text(step.state)
    return shorten(clean(step.detail), _DETAIL_LENGTH)


def state_text(state: StepState) -> str:
    """Return the state of a test step in words."""
    match state:
        case StepState.OK:
            return translate("Check", "works")
        case StepState.FAILED:
            return translate("Check", "does not work")
        case StepState.NOT_NEEDED:
            return translate("Check", "not needed")
    return translate("Check", "not tried")


def duration_text(step: Step) -> str:
    """Return the duration of a test step, ``12 ms``; empty if it was not measured."""
    if step.took is None:
        return ""
    return translate("Check", "{number} ms").format(number=QLocale().toString(round(step.took)))


def verdict(result: CheckResult) -> str:
    """Return the text for the whole test: the problem of the first failed step, or *All good.*"""
    step = result.first_failed
    if step is None:
        return translate("Check", "All good.")
    if step.problem is not None:
        return texts.problem_text(step.problem)
    return translate("Check", "This step did not work: {detail}").format(detail=detail_text(step))


def _needs_sign_in(result: CheckResult) -> bool:
    """Return whether the first failed step failed because the user has not signed in (TP-301)."""
    step = result.first_failed
    return step is not None and step.problem is not None and step.problem.id == "TP-301"


def report(profile: Profile, result: CheckResult) -> str:
    """Return the test result as text for a help desk, in English and without secrets."""
    lines = [f"TrayProxy test of {profile.address}"]
    for step in result.steps:
        took = "" if step.took is None else f" ({step.took:.0f} ms)"
        problem = f" {step.problem.id}" if step.problem is not None else ""
        lines.append(f"{step.name}: {step.state}{problem} {clean(step.detail)}{took}".rstrip())
    return "\n".join(lines) + "\n"
