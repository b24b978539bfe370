"""Draws the text of a line edit in place of Qt."""

import unicodedata

from PySide6.QtCore import QPointF, QRect, Qt
from PySide6.QtGui import QPainter, QPalette, QTextCharFormat, QTextLayout, QTextOption
from PySide6.QtWidgets import QLineEdit, QStyle, QStyleOptionFrame, QToolButton

from trayproxy.domain.problem import utf16_units

_MARGIN = 2
"""Pixels of free space on both sides of the text of a `QLineEdit`."""


class TextLine:
    """Lays out a line of text, scrolls it to its cursor, and maps points to characters.

    Positions in the text are indexes of a Python string; Qt counts UTF-16 units.
    """

    def __init__(self) -> None:
        self._layout = QTextLayout()
        self._box = QRect()
        self._scroll = 0.0
        """How far the text is scrolled to the left, in pixels."""
        self._units = [0]
        """The position of each character in the layout, in UTF-16 units, and of the end."""
        self._cursor = 0

    def layout_text(self, field: QLineEdit, text: str, cursor: int, composed: str = "") -> None:
        """Lay out the text of a line edit; `index_at` and `paint` use this layout.

        Args:
            field: The line edit.
            text: The text. Invisible characters are drawn as U+FFFD.
            cursor: The index of the cursor in `text`.
            composed: The uncommitted text of an input method, shown at the cursor.
        """
        shown = replace_invisible(text)
        self._units = [0]
        for char in shown:
            self._units.append(self._units[-1] + utf16_units(char))
        self._cursor = self._units[cursor]
        self._box = _text_box(field)
        option = QTextOption()
        option.setTextDirection(field.layoutDirection())
        option.setWrapMode(QTextOption.WrapMode.NoWrap)
        self._layout = QTextLayout(shown, field.font())
        self._layout.setTextOption(option)
        self._layout.setPreeditArea(self._cursor, replace_invisible(composed))
        self._layout.beginLayout()
        line = self._layout.createLine()
        self._layout.endLayout()
        if line.isValid():
            # In the layout, the cursor is after the composed text.
            at = self._cursor_x(self._cursor + utf16_units(replace_invisible(composed)))
            room = self._box.width() - 1
            self._scroll = min(max(self._scroll, at - room), at)
            self._scroll = max(0.0, min(self._scroll, line.naturalTextWidth() - room))

    def index_at(self, x: float) -> int:
        """Return the cursor index nearest to a horizontal position in the line edit, in pixels."""
        line = self._layout.lineAt(0)
        unit = line.xToCursor(x - self._box.left() + self._scroll)
        return min(range(len(self._units)), key=lambda index: abs(self._units[index] - unit))

    def paint(self, field: QLineEdit, painter: QPainter, selected: tuple[int, int]) -> None:
        """Draw the frame and the text; `selected` has the start and the end of the selection."""
        frame = QStyleOptionFrame()
        field.initStyleOption(frame)
        field.style().drawPrimitive(QStyle.PrimitiveElement.PE_PanelLineEdit, frame, painter, field)
        painter.setClipRect(self._box)
        palette = field.palette()
        painter.setPen(palette.color(QPalette.ColorRole.Text))
        height = self._layout.boundingRect().height()
        top = self._box.top() + (self._box.height() - height) / 2
        at = QPointF(self._box.left() - self._scroll, top)
        self._layout.draw(painter, at, self._formats(palette, selected))
        if field.hasFocus():
            width = field.style().pixelMetric(QStyle.PixelMetric.PM_TextCursorWidth)
            cursor = self._cursor + utf16_units(self._layout.preeditAreaText())
            self._layout.drawCursor(painter, at, cursor, width)

    def _cursor_x(self, unit: int) -> float:
        # PySide6 also returns the in-out argument of the C++ function.
        position = self._layout.lineAt(0).cursorToX(unit)
        assert isinstance(position, tuple)
        return float(position[0])

    def _formats(
        self, palette: QPalette, selected: tuple[int, int]
    ) -> list[QTextLayout.FormatRange]:
        formats = []
        if composed := utf16_units(self._layout.preeditAreaText()):
            underlined = QTextCharFormat()
            underlined.setFontUnderline(True)
            formats.append(_format_range(self._cursor, composed, underlined))
        start, end = (self._units[index] for index in selected)
        if start < end:
            selection = QTextCharFormat()
            selection.setBackground(palette.brush(QPalette.ColorRole.Highlight))
            selection.setForeground(palette.brush(QPalette.ColorRole.HighlightedText))
            formats.append(_format_range(start, end - start, selection))
        return formats


def replace_invisible(text: str) -> str:
    """Return the text with U+FFFD in place of each invisible character."""
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_invisible(char) else char for char in text)


def _is_invisible(char: str) -> bool:
    category = unicodedata.category(char)
    return category in ("Zl", "Zp") or category.startswith("C")


def _format_range(start: int, length: int, style: QTextCharFormat) -> QTextLayout.FormatRange:
    result = QTextLayout.FormatRange()
    result.start, result.length, result.format = start, length, style
    return result


def _text_box(field: QLineEdit) -> QRect:
    """Return the rectangle in which a line edit draws its text, without its inner buttons."""
    frame = QStyleOptionFrame()
    field.initStyleOption(frame)
    element = QStyle.SubElement.SE_LineEditContents
    box = field.style().subElementRect(element, frame, field)
    box = box.marginsRemoved(field.textMargins())
    for button in field.findChildren(
        QToolButton, options=Qt.FindChildOption.FindDirectChildrenOnly
    ):
        if button.isVisible():
            place = button.geometry()
            if place.center().x() > field.width() / 2:
                box.setRight(min(box.right(), place.left() - 1))
            else:
                box.setLeft(max(box.left(), place.right() + 1))
    return box.adjusted(_MARGIN, 0, -_MARGIN, 0)
