"""The list of profiles, in the left half of the window."""

from PySide6.QtCore import QCoreApplication, QEvent, Qt, Signal
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QToolButton, QWidget

from trayproxy.profiles.profile import DIRECT_ID
from trayproxy.ui.icons import action_icon
from trayproxy.ui.profile_edits import NEW_PROFILE, ProfileEdits
from trayproxy.ui.text_sanitizer import NAME_WIDTH, clean, elide, isolate
from trayproxy.ui.widgets import column, named, plain_tooltip, row

translate = QCoreApplication.translate

_KEY_ROLE = Qt.ItemDataRole.UserRole


class ProfileListPane(QWidget):
    """The list of profiles, with buttons to add and delete a profile.

    Signals:
        selection_changed: The user has selected another entry.
        activated: The user has activated the selected entry.
    """

    selection_changed = Signal()
    activated = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._list = named(QListWidget(), "profile_list")
        self._list.setAccessibleName(translate("Profiles", "Profiles"))
        self._list.currentItemChanged.connect(self.selection_changed)
        self._list.activated.connect(self.activated)
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self._list.setFixedWidth(self.fontMetrics().averageCharWidth() * 30)
        self.add = _tool_button("add_profile", translate("Profiles", "Add a profile"))
        self.delete = _tool_button("delete_profile", translate("Profiles", "Delete this profile"))
        buttons = row(None, self.add, self.delete, None)
        column(self, self._list, buttons, grows=self._list)
        self._paint_icons()

    @property
    def selected(self) -> str:
        """The key of the selected entry; `NEW_PROFILE` if the list is empty."""
        item = self._list.currentItem()
        return str(item.data(_KEY_ROLE)) if item is not None else NEW_PROFILE

    def fill(self, edits: ProfileEdits, select: str) -> None:
        """Show the entries, and select one of them or else the active entry, without a signal."""
        entries = edits.entries
        self._list.blockSignals(True)
        self._list.clear()
        for key in entries:
            self._list.addItem(_item(edits, key))
        selected = select if select in entries else edits.active
        self._list.setCurrentRow(entries.index(selected) if selected in entries else 0)
        self._list.blockSignals(False)

    def changeEvent(self, event: QEvent) -> None:
        """Repaint the icons when the palette changes."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.PaletteChange:
            self._paint_icons()

    def _paint_icons(self) -> None:
        self.add.setIcon(action_icon("add", self.palette()))
        self.delete.setIcon(action_icon("remove", self.palette()))


def _tool_button(name: str, text: str) -> QToolButton:
    button = named(QToolButton(), name)
    button.setAccessibleName(text)
    button.setToolTip(text)
    button.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
    button.setMinimumSize(28, 28)
    return button


def _item(edits: ProfileEdits, key: str) -> QListWidgetItem:
    profile = edits.profiles.get(key)
    name = clean(profile.name) if profile else _special_name(key)
    item = QListWidgetItem(isolate(elide(name, NAME_WIDTH)))
    item.setData(_KEY_ROLE, key)
    item.setToolTip(plain_tooltip(name))
    if key and key == edits.active:
        font = item.font()
        font.setBold(True)
        item.setFont(font)
        item.setText(translate("Profiles", "{name} (active)").format(name=item.text()))
    return item


def _special_name(key: str) -> str:
    if key == DIRECT_ID:
        return translate("Tray", "Connect directly")
    return translate("Profiles", "New profile")
