"""Tests for trayproxy.ui.sign_in_dialog and trayproxy.ui.password_field."""

import pytest
from msgspec.structs import replace
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QAccessible, QFocusEvent
from PySide6.QtWidgets import QCheckBox, QLabel, QLineEdit, QMenu, QPushButton
from pytestqt.qtbot import QtBot

from tests.ui.fake_service import PROMPT
from tests.ui.named_widgets import child
from trayproxy.auth.login import Login
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import (
    KeyringState,
    KeyringStatus,
    Prompt,
    PromptReason,
    Snooze,
    Transport,
)
from trayproxy.ui.password_field import PasswordField, infer_caps_lock
from trayproxy.ui.sign_in_dialog import SignInDialog

CHECKING = replace(PROMPT, checking=True)
REJECTED = replace(PROMPT, reason=PromptReason.TYPED_REJECTED, rejections=1)


@pytest.fixture
def dialog(qtbot: QtBot) -> SignInDialog:
    return shown(qtbot, PROMPT)


def shown(qtbot: QtBot, prompt: Prompt = PROMPT) -> SignInDialog:
    dialog = SignInDialog(prompt)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def texts(dialog: SignInDialog) -> list[str]:
    labels = [label for label in dialog.findChildren(QLabel) if label.isVisibleTo(dialog)]
    return [label.text().replace("\u200b", "") for label in labels if label.text()]


def shows(dialog: SignInDialog, part: str) -> bool:
    """Return whether a text of the dialog contains this part."""
    return any(part in text for text in texts(dialog))


def password(dialog: SignInDialog) -> PasswordField:
    return child(dialog, PasswordField, "password")


def accept(dialog: SignInDialog) -> QPushButton:
    return child(dialog, QPushButton, "accept")


# --- Displayed texts -----------------------------------------------------------------------------


def test_the_dialog_shows_the_profile_the_proxy_and_the_program(dialog: SignInDialog) -> None:
    assert "Proxy “Office” wants you to sign in" in texts(dialog)
    assert "http://proxy.corp.example:8080" in texts(dialog)
    assert "“Corporate Internet Access”" in texts(dialog)
    assert "Basic" in texts(dialog)
    assert "git (4312) → github.com:443, and 3 more" in texts(dialog)
    assert "The password travels unencrypted to this proxy." in texts(dialog)


def test_rows_without_content_are_hidden(qtbot: QtBot) -> None:
    dialog = shown(
        qtbot, replace(PROMPT, realm="", programs=(), waiting=0, reason=PromptReason.ASKED_FOR)
    )
    assert "It says:" not in texts(dialog)
    assert "Needed by:" not in texts(dialog)
    assert not [text for text in texts(dialog) if "accept" in text or "lock" in text]


@pytest.mark.parametrize(
    ("transport", "method", "line"),
    [
        (Transport.READABLE, "Basic", "travels unencrypted"),
        (Transport.SCRAMBLED, "Digest", "itself is not sent"),
        (Transport.SCRAMBLED, "NTLM", "not sent in readable form"),
        (Transport.ENCRYPTED, "Basic", "is encrypted"),
    ],
)
def test_the_transport_line(transport: Transport, method: str, line: str, qtbot: QtBot) -> None:
    assert shows(shown(qtbot, replace(PROMPT, transport=transport, method=method)), line)


def test_why_shows_an_explanation(dialog: SignInDialog) -> None:
    before = dialog.height()
    child(dialog, QPushButton, "why").click()
    assert shows(dialog, "Your company chose this method")
    assert dialog.height() > before


@pytest.mark.parametrize(
    ("reason", "before", "line"),
    [
        (PromptReason.SAVED_REJECTED, "", "the saved password. Did you"),
        (PromptReason.TYPED_REJECTED, "", "did not accept this password"),
        (PromptReason.UNCHECKED, "", "could not be checked"),
        (PromptReason.UNRECORDED, "", "was not sent: the folder"),
        (PromptReason.KEYRING_LOCKED, "", "GNOME Keyring is locked"),
        (PromptReason.KEYRING_SILENT, "", "GNOME Keyring does not answer"),
        (PromptReason.EXPIRED, "", "expired or must be changed"),
        (PromptReason.LOCKED, "", "Your account is locked."),
        (PromptReason.FALLBACK, "NTLM", "NTLM could not be used here"),
        (PromptReason.DOWNGRADE, "NTLM", "accept NTLM and now wants Basic"),
        (PromptReason.REALM_CHANGED, "Corp", "itself “Corp” before"),
        (PromptReason.REALM_CHANGED, "", "did not give itself this name before"),
    ],
)
def test_the_dialog_shows_the_reason_of_the_prompt(
    reason: PromptReason, before: str, line: str, qtbot: QtBot
) -> None:
    assert shows(shown(qtbot, replace(PROMPT, reason=reason, before=before, rejections=1)), line)


def test_the_lock_out_line_is_shown_after_the_second_rejection(qtbot: QtBot) -> None:
    line = "Many companies lock accounts after 3–5 wrong tries."
    assert line not in texts(shown(qtbot, REJECTED))
    assert line in texts(shown(qtbot, replace(REJECTED, rejections=2)))


def test_a_locked_account_is_mentioned_once(qtbot: QtBot) -> None:
    locked = replace(REJECTED, reason=PromptReason.LOCKED, rejections=1, confirm_retry=True)
    dialog = shown(qtbot, locked)
    assert accept(dialog).text() == "Try anyway"
    assert len([text for text in texts(dialog) if "locked" in text]) == 1


def test_a_repeated_password_is_explained_and_not_counted_as_rejection(qtbot: QtBot) -> None:
    dialog = shown(
        qtbot, replace(REJECTED, reason=PromptReason.REPEATED, rejections=1, confirm_retry=True)
    )
    assert [text for text in texts(dialog) if "same password" in text and "not sent again" in text]
    assert not shows(dialog, "account may be locked")
    assert accept(dialog).text() == "Try anyway"


def test_rejections_in_quick_succession_ask_the_user_to_wait(qtbot: QtBot) -> None:
    dialog = shown(qtbot, replace(REJECTED, rejections=3, confirm_retry=True))
    assert accept(dialog).text() == "Try anyway"
    assert shows(dialog, "rejected 3 passwords in a row")


@pytest.mark.parametrize(
    ("keyring", "text", "reason"),
    [
        (KeyringStatus(KeyringState.OK, "KWallet"), "Remember in KWallet", ""),
        (KeyringStatus(KeyringState.UNKNOWN), "Remember the password", ""),
        (
            KeyringStatus(KeyringState.UNSAFE, "PlaintextKeyring"),
            "Remember the password",
            "unprotected",
        ),
        (KeyringStatus(KeyringState.MISSING), "Remember the password", "no keyring"),
        (KeyringStatus(KeyringState.OFF), "Remember the password", "started to keep no passwords"),
    ],
)
def test_the_remember_box_names_the_store_or_the_reason(
    keyring: KeyringStatus, text: str, reason: str, qtbot: QtBot
) -> None:
    dialog = shown(qtbot, replace(PROMPT, keyring=keyring))
    box = child(dialog, QCheckBox, "remember")
    assert box.text() == text
    assert box.isEnabled() == box.isChecked() == (not reason)
    assert not reason or [line for line in texts(dialog) if reason in line]


# --- Input ---------------------------------------------------------------------------------------


def test_the_first_empty_field_has_the_focus(qtbot: QtBot) -> None:
    for user, field in (("", "user"), ("alice", "password")):
        dialog = shown(qtbot, replace(PROMPT, user=user))
        assert dialog.focusWidget() is child(dialog, QLineEdit, field)


def test_sign_in_needs_a_user_name_and_no_password(qtbot: QtBot) -> None:
    dialog = shown(qtbot, replace(PROMPT, user=""))
    assert not accept(dialog).isEnabled()
    qtbot.keyClicks(child(dialog, QLineEdit, "user"), "alice")
    assert accept(dialog).isEnabled()


def test_enter_signs_in(dialog: SignInDialog, qtbot: QtBot) -> None:
    qtbot.keyClicks(password(dialog), "secret")
    with qtbot.waitSignal(dialog.answered) as answered:
        qtbot.keyClick(password(dialog), Qt.Key.Key_Return)
    assert answered.args == [Login("CORP\\jdoe", "secret"), True]


def test_the_remember_box_is_part_of_the_answer(dialog: SignInDialog, qtbot: QtBot) -> None:
    child(dialog, QCheckBox, "remember").setChecked(False)
    with qtbot.waitSignal(dialog.answered) as answered:
        accept(dialog).click()
    assert answered.args == [Login("CORP\\jdoe", ""), False]


def test_typed_is_emitted_once(dialog: SignInDialog, qtbot: QtBot) -> None:
    typed: list[None] = []
    dialog.typed.connect(lambda: typed.append(None))
    qtbot.keyClicks(password(dialog), "secret")
    assert len(typed) == 1


def test_escape_declines_for_a_minute(dialog: SignInDialog, qtbot: QtBot) -> None:
    with qtbot.waitSignals([dialog.declined, dialog.closed]):
        qtbot.keyClick(password(dialog), Qt.Key.Key_Escape)
    assert not dialog.isVisible()


def test_closing_declines_for_a_minute(dialog: SignInDialog, qtbot: QtBot) -> None:
    with qtbot.waitSignal(dialog.declined) as declined:
        dialog.close()
    assert declined.args == [Snooze.A_MINUTE]


@pytest.mark.parametrize(("row", "snooze"), [(0, Snooze.A_WHILE), (1, Snooze.UNTIL_CHOSEN)])
def test_not_now_offers_two_times(
    row: int, snooze: Snooze, dialog: SignInDialog, qtbot: QtBot
) -> None:
    menu: QMenu = child(dialog, QPushButton, "not_now").menu()
    with qtbot.waitSignal(dialog.declined) as declined:
        menu.actions()[row].trigger()
    assert declined.args == [snooze]


# --- Checking ------------------------------------------------------------------------------------


def test_fields_are_disabled_while_checking(dialog: SignInDialog) -> None:
    accept(dialog).click()
    assert accept(dialog).text() == "Signing in…"
    assert not accept(dialog).isEnabled()
    assert not password(dialog).isEnabled()
    assert dialog.isVisible()


def test_a_prompt_change_without_a_verdict_does_not_end_the_check(dialog: SignInDialog) -> None:
    accept(dialog).click()
    dialog.show_prompt(replace(PROMPT, waiting=9))
    assert not password(dialog).isEnabled()


def test_a_rejection_enables_the_fields_and_selects_the_password(
    dialog: SignInDialog, qtbot: QtBot
) -> None:
    qtbot.keyClicks(password(dialog), "wrong")
    accept(dialog).click()
    dialog.show_prompt(CHECKING)
    dialog.show_prompt(REJECTED)
    assert password(dialog).isEnabled()
    assert password(dialog).hasSelectedText()
    assert dialog.focusWidget() is password(dialog)
    assert "The proxy did not accept this password." in texts(dialog)
    assert accept(dialog).text() == "Sign in"


@pytest.mark.parametrize(
    ("method", "typed", "is_told"),
    [("Basic", "pässword", True), ("Basic", "password", False), ("NTLM", "pässword", False)],
)
def test_a_rejected_non_ascii_password_shows_the_encoding_hint_r_092(
    qtbot: QtBot, method: str, typed: str, is_told: bool
) -> None:
    dialog = shown(qtbot, replace(PROMPT, method=method))
    password(dialog).setText(typed)
    assert "text encoding" not in " ".join(texts(dialog))
    dialog.show_prompt(replace(REJECTED, method=method))
    assert ("another text encoding in the profile" in " ".join(texts(dialog))) is is_told


def test_an_accepted_login_shows_signed_in_and_closes(dialog: SignInDialog, qtbot: QtBot) -> None:
    qtbot.keyClicks(password(dialog), "secret")
    accept(dialog).click()
    with qtbot.assertNotEmitted(dialog.declined), qtbot.waitSignal(dialog.closed):
        dialog.show_accepted()
        assert dialog.isVisible()
        assert accept(dialog).text() == "Signed in"
    assert password(dialog).text() == ""


def test_an_answer_that_cannot_be_sent_shows_its_problem(dialog: SignInDialog) -> None:
    accept(dialog).click()
    dialog.show_problem(Problem("TP-302", "This user name cannot be sent", "It has a colon."))
    assert "This user name cannot be sent. It has a colon. (TP-302)" in texts(dialog)
    assert password(dialog).isEnabled()


def test_a_new_dialog_shows_a_check_in_progress(qtbot: QtBot) -> None:
    dialog = shown(qtbot, CHECKING)
    assert accept(dialog).text() == "Signing in…"
    assert not password(dialog).isEnabled()


def test_a_dialog_in_the_background_emits_not_activated(qtbot: QtBot) -> None:
    dialog = SignInDialog(PROMPT)
    qtbot.addWidget(dialog)
    other = SignInDialog(PROMPT)
    qtbot.addWidget(other)
    with qtbot.waitSignal(dialog.not_activated):
        dialog.present()
        other.show()
        other.activateWindow()


# --- Password field ------------------------------------------------------------------------------


def test_the_password_is_masked_and_wiped(dialog: SignInDialog, qtbot: QtBot) -> None:
    field = password(dialog)
    qtbot.keyClicks(field, "secret")
    assert field.displayText() != "secret"
    dialog.close()
    assert field.text() == ""
    field.undo()
    assert field.text() == ""


def test_the_password_field_has_the_input_method_hints_for_passwords(dialog: SignInDialog) -> None:
    hints = password(dialog).inputMethodHints()
    assert hints & Qt.InputMethodHint.ImhSensitiveData
    assert hints & Qt.InputMethodHint.ImhHiddenText
    assert not password(dialog).dragEnabled()


def test_ctrl_h_shows_the_password_until_the_focus_leaves(
    dialog: SignInDialog, qtbot: QtBot
) -> None:
    field = password(dialog)
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    qtbot.keyClicks(field, "secret")
    qtbot.keyClick(field, Qt.Key.Key_H, Qt.KeyboardModifier.ControlModifier)
    assert field.displayText() == "secret"
    field.focusOutEvent(QFocusEvent(QEvent.Type.FocusOut, Qt.FocusReason.TabFocusReason))
    assert field.displayText() != "secret"


@pytest.mark.parametrize(
    ("before", "text", "shift", "after"),
    [
        (None, "a", False, False),
        (None, "A", False, True),
        (None, "a", True, True),
        (True, "A", True, True),
        (None, "1", False, None),
        (True, "", False, True),
        (None, "ß", False, False),
        (None, "ع", False, None),
    ],
)
def test_caps_lock_is_inferred(
    before: bool | None, text: str, shift: bool, after: bool | None
) -> None:
    assert infer_caps_lock(before, text, shift=shift) is after


def test_the_caps_lock_row_follows_caps_lock(dialog: SignInDialog, qtbot: QtBot) -> None:
    qtbot.keyClick(password(dialog), "A")
    assert "Caps Lock is on" in texts(dialog)
    qtbot.keyClick(password(dialog), Qt.Key.Key_CapsLock)
    assert "Caps Lock is on" not in texts(dialog)


def test_no_repr_contains_the_password(dialog: SignInDialog, qtbot: QtBot) -> None:
    qtbot.keyClicks(password(dialog), "canary77")
    assert "canary77" not in repr(dialog) + repr(vars(dialog))


# --- Hostile text --------------------------------------------------------------------------------

RENAMED = replace(
    PROMPT, reason=PromptReason.REALM_CHANGED, before="<b>Corp</b>\u202e " + "W" * 300
)
HOSTILE = replace(
    PROMPT,
    profile="<b>R&D_\u202eelif</b> " + "W" * 100,
    realm="<img src=x onerror=1>\u202e\x00 & _x_ 👩‍💻 " + "W" * 10_000,
    method="<i>Basic",
    programs=(replace(PROMPT.programs[0], name="<script>\u202e", target="\u0430" * 300 + ".com"),),
    upstream="http://" + ".".join(["x" * 60] * 4) + ":8080",
)


def test_hostile_text_is_plain_and_truncated(qtbot: QtBot) -> None:
    dialog = shown(qtbot, HOSTILE)
    assert all(label.textFormat() is not Qt.TextFormat.RichText for label in labels(dialog))
    shown_texts = " ".join(texts(dialog))
    assert "<img src=x onerror=1>" in shown_texts
    assert "\u202e" not in shown_texts
    assert "\x00" not in shown_texts
    realm = child(dialog, QLabel, "realm")
    assert len(realm.text().replace("\u200b", "")) <= 82
    assert len(realm.toolTip()) < 200 + len("&lt;&gt;") * 4
    assert dialog.width() < 700
    assert dialog.height() < 800


def labels(dialog: SignInDialog) -> list[QLabel]:
    return dialog.findChildren(QLabel)


@pytest.mark.parametrize("prompt", [PROMPT, HOSTILE, RENAMED, replace(REJECTED, rejections=2)])
@pytest.mark.parametrize("points", [8, 14, 22])
def test_no_label_is_clipped_at_any_text_size(prompt: Prompt, points: int, qtbot: QtBot) -> None:
    dialog = SignInDialog(prompt)
    qtbot.addWidget(dialog)
    font = dialog.font()
    font.setPointSize(points)
    dialog.setFont(font)
    dialog.show()
    dialog.show_prompt(dialog.prompt)
    for label in labels(dialog):
        if label.isVisible() and label.text():
            needed = label.heightForWidth(label.width()) if label.wordWrap() else -1
            assert label.height() >= needed, label.objectName()
            assert label.width() >= label.minimumSizeHint().width(), label.objectName()


# --- Accessibility -------------------------------------------------------------------------------


def test_the_password_field_is_a_password_edit_for_assistive_technology(
    dialog: SignInDialog,
) -> None:
    interface = QAccessible.queryAccessibleInterface(password(dialog))
    assert interface.text(QAccessible.Text.Name) == "Password:"
    assert interface.state().passwordEdit


def test_the_accessible_description_contains_the_facts_of_the_prompt(qtbot: QtBot) -> None:
    description = shown(qtbot, REJECTED).accessibleDescription()
    for part in (
        "http://proxy.corp.example:8080",
        "Corporate Internet Access",
        "travels unencrypted",
        "did not accept this password",
    ):
        assert part in description


def test_the_tab_order_is_the_reading_order(dialog: SignInDialog, qtbot: QtBot) -> None:
    dialog.activateWindow()
    qtbot.waitUntil(dialog.isActiveWindow)
    child(dialog, QPushButton, "why").setFocus()
    order = []
    for _ in range(7):
        focused = dialog.focusWidget()
        order.append(focused.objectName())
        qtbot.keyClick(focused, Qt.Key.Key_Tab)
    assert order[:5] == ["why", "user", "password", "remember", "not_now"]
    assert set(order[5:]) == {"accept", "cancel"}
