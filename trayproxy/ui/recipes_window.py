"""The window of the recipes, which make single programs use TrayProxy (ux §3.9)."""

from PySide6.QtCore import QCoreApplication, Qt, Slot
from PySide6.QtGui import QFontDatabase, QGuiApplication, QKeySequence, QShortcut
from PySide6.QtWidgets import QListWidget, QListWidgetItem, QPlainTextEdit, QVBoxLayout, QWidget

from trayproxy.ui.recipe_commands import OnReply, RecipeCommands, RecipeReply, RecipeView
from trayproxy.ui.text_sanitizer import breakable, clean
from trayproxy.ui.widgets import (
    add_parts,
    announce,
    bring_to_front,
    column,
    named,
    plain_label,
    push_button,
    row,
    show_or_hide,
)

translate = QCoreApplication.translate

_TOOL_ROLE = Qt.ItemDataRole.UserRole
_UNDOABLE = ("applied", "outdated", "changed")


class RecipesWindow(QWidget):
    """A list of programs, and the settings for the selected program."""

    def __init__(self, commands: RecipeCommands) -> None:
        """Build the window, hidden and empty.

        Args:
            commands: Runs ``trayproxy recipe``.
        """
        super().__init__()
        self._commands = commands
        self._recipes: dict[str, RecipeView] = {}
        self._is_busy = False
        self._wanted = ""
        self.setObjectName("recipes_window")
        self.setWindowTitle(translate("Recipes", "Settings for programs"))
        self._list = named(QListWidget(), "recipe_list")
        self._list.setAccessibleName(translate("Recipes", "Programs"))
        self._list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._list.setFixedWidth(self.fontMetrics().averageCharWidth() * 34)
        self._text = named(QPlainTextEdit(), "recipe_text")
        self._text.setAccessibleName(translate("Recipes", "Settings"))
        self._text.setReadOnly(True)
        self._text.setTabChangesFocus(True)
        self._text.setFont(QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont))
        self._text.setTabStopDistance(4.0 * self._text.fontMetrics().averageCharWidth())
        self._notes = plain_label("recipe_notes")
        self._message = plain_label("recipe_message")
        self._copy = push_button("copy_recipe", translate("Recipes", "Copy"), self._on_copy)
        self._apply = push_button("apply_recipe", "", self._on_apply)
        self._undo = push_button("undo_recipe", translate("Recipes", "Undo"), self._on_undo)
        self._copy.setAccessibleDescription(translate("Recipes", "Copies the settings"))
        self._apply.setAccessibleDescription(
            translate("Recipes", "Changes the file of the program")
        )
        self._undo.setAccessibleDescription(
            translate("Recipes", "Puts the file of the program back as it was")
        )
        self._lay_out()
        self._list.currentItemChanged.connect(self._on_selected)
        QShortcut(QKeySequence(Qt.Key.Key_Escape), self).activated.connect(self.close)

    def present(self, tool: str = "") -> None:
        """Show the window, read the recipes, and select a program if its name is given."""
        self._wanted = tool or self._selected
        bring_to_front(self)
        self._run((), self._on_list)

    def show_message(self, text: str) -> None:
        """Show a text until it is replaced; an empty text hides it."""
        show_or_hide(self._message, text)
        if text:
            announce(self, text)

    def _lay_out(self) -> None:
        buttons = row(None, self._copy, self._apply, self._undo, None)
        right = column(None, self._text, self._notes, self._message, buttons, grows=self._text)
        columns = row(None, self._list, right, grows=right)
        add_parts(QVBoxLayout(self), columns, grows=columns)
        for label in (self._notes, self._message):
            label.hide()
        metrics = self.fontMetrics()
        self.resize(metrics.averageCharWidth() * 120, metrics.height() * 26)
        self._update_buttons()

    # --- Commands --------------------------------------------------------------------------------

    def _run(self, arguments: tuple[str, ...], on_reply: OnReply) -> None:
        self._is_busy = True
        self._update_buttons()
        self._commands.run(arguments, on_reply)

    def _on_list(self, reply: RecipeReply) -> None:
        self._is_busy = False
        if reply.is_done:
            self._recipes = {recipe.tool: recipe for recipe in reply.recipes}
            self._fill()
        else:
            self.show_message(_message(reply))
        self._update_buttons()

    def _on_changed(self, reply: RecipeReply) -> None:
        """Show the result of a change, and read the recipes again."""
        done = translate("Recipes", "Done. Start the program again if it is running.")
        self.show_message(done if reply.is_done and not reply.message else _message(reply))
        self._wanted = self._selected
        self._run((), self._on_list)

    # --- Display ---------------------------------------------------------------------------------

    @property
    def _selected(self) -> str:
        item = self._list.currentItem()
        return str(item.data(_TOOL_ROLE)) if item is not None else ""

    def _fill(self) -> None:
        self._list.blockSignals(True)
        self._list.clear()
        for recipe in self._recipes.values():
            item = QListWidgetItem(_list_text(recipe))
            item.setData(_TOOL_ROLE, recipe.tool)
            self._list.addItem(item)
        names = list(self._recipes)
        outdated = (recipe.tool for recipe in self._recipes.values() if recipe.state == "outdated")
        wanted = self._wanted or next(outdated, "")
        self._list.setCurrentRow(names.index(wanted) if wanted in names else 0)
        self._list.blockSignals(False)
        self._show_selected()

    @Slot()
    def _on_selected(self) -> None:
        self.show_message("")
        self._show_selected()
        self._update_buttons()

    def _show_selected(self) -> None:
        recipe = self._recipes.get(self._selected)
        self._text.setPlainText(_text(recipe) if recipe is not None else "")
        notes = (_state_note(recipe), *recipe.notes) if recipe is not None else ()
        show_or_hide(self._notes, "\n".join(clean(note) for note in notes if note))

    def _update_buttons(self) -> None:
        recipe = self._recipes.get(self._selected)
        is_usable = recipe is not None and not self._is_busy
        self._copy.setEnabled(recipe is not None and bool(recipe.copyable))
        self._apply.setEnabled(
            is_usable and recipe is not None and bool(recipe.paths) and recipe.state != "applied"
        )
        self._undo.setEnabled(is_usable and recipe is not None and recipe.state in _UNDOABLE)
        is_outdated = recipe is not None and recipe.state == "outdated"
        apply, again = translate("Recipes", "Apply"), translate("Recipes", "Apply again")
        self._apply.setText(again if is_outdated else apply)

    # --- Buttons ---------------------------------------------------------------------------------

    @Slot()
    def _on_copy(self) -> None:
        recipe = self._recipes.get(self._selected)
        if recipe is not None:
            QGuiApplication.clipboard().setText(recipe.copyable)
            self.show_message(translate("Recipes", "Copied."))

    @Slot()
    def _on_apply(self) -> None:
        self._run((self._selected, "--apply"), self._on_changed)

    @Slot()
    def _on_undo(self) -> None:
        self._run((self._selected, "--undo"), self._on_changed)


def _list_text(recipe: RecipeView) -> str:
    state = {
        "applied": translate("Recipes", "on"),
        "outdated": translate("Recipes", "on, with old values"),
        "changed": translate("Recipes", "changed since"),
        "by-user": translate("Recipes", "on, not by TrayProxy"),
        "unknown": translate("Recipes", "unknown"),
    }.get(recipe.state, "")
    return f"{clean(recipe.title)} — {state}" if state else clean(recipe.title)


def _state_note(recipe: RecipeView) -> str:
    if recipe.state == "outdated":
        return translate(
            "Recipes",
            "The program uses old values, such as an earlier port. “Apply again” changes them to "
            "the present ones.",
        )
    return recipe.reason


def _text(recipe: RecipeView) -> str:
    parts = []
    if recipe.set:
        parts.append((translate("Recipes", "Lines to copy:"), recipe.set))
    if recipe.undo:
        parts.append((translate("Recipes", "Lines that undo them:"), recipe.undo))
    parts += [
        (translate("Recipes", "In the file {path}:").format(path=clean(file.path)), (file.text,))
        for file in recipe.files
    ]
    return "\n\n".join("\n".join((title, *lines)).rstrip("\n") for title, lines in parts)


def _message(reply: RecipeReply) -> str:
    return breakable("\n".join(map(clean, reply.message.splitlines())))
