"""Collects reference cycles in the GUI thread only.

Windows and their slots form reference cycles. Python collects cycles in whichever thread allocates
an object, and the tray has other threads, such as the thread that connects to the service. A
`QObject` with a timer must not be destroyed outside its own thread: Qt warns or crashes (ux §9,
47).
"""

import gc

from PySide6.QtCore import QAbstractEventDispatcher, QObject, Slot


class CycleCollector(QObject):
    """Switches Python's automatic collection off until the process ends, and replaces it.

    A collection runs after Qt has handled events, before Qt waits for further events. So an idle
    tray has no wake-up for collections. Cycles that another thread leaves are collected after the
    next event.
    """

    def __init__(self, parent: QObject) -> None:
        """Take over the collection; the current thread is the GUI thread and has an application."""
        super().__init__(parent)
        gc.disable()
        QAbstractEventDispatcher.instance().aboutToBlock.connect(self._collect)

    @Slot()
    def _collect(self) -> None:
        generation = due_generation(gc.get_count(), gc.get_threshold())
        if generation is not None:
            gc.collect(generation)


def due_generation(counts: tuple[int, int, int], thresholds: tuple[int, int, int]) -> int | None:
    """Return the generation that the automatic collection would collect, None if none is due.

    The arguments are values of `gc.get_count` and `gc.get_threshold`.
    """
    due = [generation for generation in range(3) if counts[generation] > thresholds[generation]]
    return due[-1] if 0 in due else None
