"""Tests for trayproxy.ui.cycle_collector."""

import gc
import threading
import weakref

import pytest
from PySide6.QtCore import QCoreApplication, QObject, QTimer
from pytestqt.qtbot import QtBot

from trayproxy.ui.cycle_collector import CycleCollector, due_generation


@pytest.mark.parametrize(
    ("counts", "generation"),
    [
        pytest.param((700, 10, 10), None, id="none"),
        pytest.param((701, 10, 10), 0, id="youngest"),
        pytest.param((701, 11, 10), 1, id="middle"),
        pytest.param((701, 11, 11), 2, id="oldest"),
        pytest.param((701, 10, 11), 2, id="oldest-only"),
        pytest.param((700, 11, 11), None, id="few-allocations"),
    ],
)
def test_the_oldest_generation_above_its_threshold_is_due(
    counts: tuple[int, int, int], generation: int | None
) -> None:
    assert due_generation(counts, (700, 10, 10)) == generation


class CycleWithTimer(QObject):
    """A QObject with an active timer that only the garbage collector destroys."""

    def __init__(self) -> None:
        super().__init__()
        self.itself = self
        self.timer = QTimer(self, interval=60_000)
        self.timer.start()


def allocate_cycles() -> None:
    """Allocate far more objects than the threshold of the automatic collection."""
    for _ in range(10_000):
        cycle: list[object] = []
        cycle.append(cycle)


def test_a_cycle_with_a_timer_is_destroyed_in_the_gui_thread(
    qapp: QCoreApplication, qtbot: QtBot
) -> None:
    gc.enable()  # As in the tray's process; the fixtures of these tests have disabled it.
    collector = CycleCollector(qapp)
    destroyed_in: list[int] = []
    weakref.finalize(CycleWithTimer(), lambda: destroyed_in.append(threading.get_ident()))
    threads = [threading.Thread(target=allocate_cycles) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not destroyed_in
    qtbot.waitUntil(lambda: bool(destroyed_in))
    assert destroyed_in == [threading.get_ident()]
    collector.deleteLater()
