"""Which descriptors are ready, as `epoll` and as the loop tell it."""

import asyncio
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.engine.running import NewLoop
from trayproxy.engine.net.fd_task import READ, WRITE
from trayproxy.engine.net.poller import LoopPoller, Poller, open_poller


class Scene:
    """Descriptors that are watched, and what was told of them."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, descriptors: Poller, stack: ExitStack
    ) -> None:
        self.loop = loop
        self.descriptors = descriptors
        self.told: list[tuple[int, int]] = []
        self._stack = stack

    def pair(self) -> tuple[socket.socket, socket.socket]:
        near, far = socket.socketpair()
        near.setblocking(False)
        return self._stack.enter_context(near), self._stack.enter_context(far)

    def tell(self, descriptor: int, mask: int) -> None:
        self.told.append((descriptor, mask))

    def turn(self) -> None:
        """Let the loop look at what is ready, and at what that makes ready, once each."""
        self.told.clear()
        for _ in range(3):
            self.loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture(params=[open_poller, LoopPoller], ids=["best", "loop"])
def scene(
    new_loop: NewLoop,
    request: pytest.FixtureRequest,
) -> Iterator[Scene]:
    loop = new_loop()
    make: Callable[[asyncio.AbstractEventLoop], Poller] = request.param
    descriptors = make(loop)
    with ExitStack() as stack:
        yield Scene(loop, descriptors, stack)
        descriptors.close()
    loop.close()


def test_what_can_be_read_is_told_until_it_was_read(scene: Scene) -> None:
    near, far = scene.pair()
    scene.descriptors.register(near.fileno(), READ, scene.tell)
    scene.turn()
    assert not scene.told
    far.send(b"x")
    scene.turn()
    assert set(scene.told) == {(near.fileno(), READ)}
    near.recv(10)
    scene.turn()
    assert not scene.told


def test_both_directions_may_be_watched_and_each_is_told(scene: Scene) -> None:
    near, far = scene.pair()
    scene.descriptors.register(near.fileno(), READ | WRITE, scene.tell)
    scene.turn()
    assert set(scene.told) == {(near.fileno(), WRITE)}
    far.send(b"x")
    scene.turn()
    masks = 0
    for _, mask in scene.told:
        masks |= mask
    assert masks == READ | WRITE


def test_other_wishes_replace_the_former(scene: Scene) -> None:
    near, far = scene.pair()
    far.send(b"x")
    scene.descriptors.register(near.fileno(), READ, scene.tell)
    scene.descriptors.register(near.fileno(), WRITE, scene.tell)
    scene.turn()
    assert set(scene.told) == {(near.fileno(), WRITE)}
    scene.descriptors.register(near.fileno(), READ, scene.tell)
    scene.turn()
    assert set(scene.told) == {(near.fileno(), READ)}


def test_another_handler_takes_over(scene: Scene) -> None:
    near, far = scene.pair()
    others: list[int] = []
    scene.descriptors.register(near.fileno(), READ, scene.tell)
    scene.descriptors.register(near.fileno(), READ, lambda descriptor, mask: others.append(mask))
    far.send(b"x")
    scene.turn()
    assert not scene.told
    assert set(others) == {READ}


def test_an_end_is_not_told_to_one_who_waits_for_nothing(scene: Scene) -> None:
    near, far = scene.pair()
    scene.descriptors.register(near.fileno(), READ, scene.tell)
    scene.descriptors.register(near.fileno(), 0, scene.tell)
    far.close()
    scene.turn()
    assert not scene.told
    scene.descriptors.register(near.fileno(), READ, scene.tell)
    scene.turn()
    assert scene.told


@pytest.mark.parametrize("how", ["unregister", "discard"])
def test_what_is_forgotten_is_not_told(scene: Scene, how: str) -> None:
    near, far = scene.pair()
    far.send(b"x")
    scene.descriptors.register(near.fileno(), READ, scene.tell)
    getattr(scene.descriptors, how)(near.fileno())
    if how == "discard":
        near.close()
    scene.turn()
    assert not scene.told
    getattr(scene.descriptors, how)(4711)


def test_nothing_is_told_of_a_number_that_came_back_in_the_same_turn(scene: Scene) -> None:
    """Two are ready at once; the handler of the first closes the second, whose number is given to a
    new socket, of which nothing is known yet."""
    pairs = [scene.pair(), scene.pair()]
    new: list[socket.socket] = []

    def close_the_other(descriptor: int, mask: int) -> None:
        scene.tell(descriptor, mask)
        if new:
            return
        other = next(near for near, _ in pairs if near.fileno() not in (descriptor, -1))
        number = other.fileno()
        scene.descriptors.discard(number)
        other.close()
        new.extend(scene.pair())
        scene.descriptors.register(new[0].fileno(), READ, scene.tell)
        numbers.append((number, new[0].fileno()))

    numbers: list[tuple[int, int]] = []
    for near, far in pairs:
        far.send(b"x")
        scene.descriptors.register(near.fileno(), READ, close_the_other)
    scene.turn()
    assert numbers[0][0] == numbers[0][1]
    assert numbers[0][1] not in [descriptor for descriptor, _ in scene.told]


def test_what_cannot_be_watched_is_not_taken_for_watched(scene: Scene, tmp_path: Path) -> None:
    """The system may be out of what it takes; nobody may then wait for what is never told, nor
    take back what was never given. Here it does not watch files (epoll_ctl(2))."""
    with (tmp_path / "file").open("wb") as file:
        for _ in range(2):
            with pytest.raises(OSError, match="not permitted"):
                scene.descriptors.register(file.fileno(), READ, scene.tell)
        scene.descriptors.unregister(file.fileno())
        scene.descriptors.register(file.fileno(), 0, scene.tell)


def test_a_handler_that_fails_costs_nobody_else_his_turn(
    new_loop: NewLoop, stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    """Otherwise it would fail in every turn, before all that are behind it."""
    loop = new_loop()
    stack.callback(loop.close)
    descriptors = open_poller(loop)
    stack.callback(descriptors.close)
    scene = Scene(loop, descriptors, stack)

    def fail(descriptor: int, mask: int) -> None:
        scene.tell(descriptor, mask)
        raise RuntimeError("a mistake of ours")

    pairs = [scene.pair() for _ in range(3)]
    for (near, far), handler in zip(pairs, (scene.tell, fail, scene.tell), strict=True):
        scene.descriptors.register(near.fileno(), READ, handler)
        far.send(b"x")
    scene.turn()
    told = [descriptor for descriptor, _ in scene.told]
    assert set(told) == {near.fileno() for near, _ in pairs}
    assert told.count(pairs[1][0].fileno()) == 1
    assert caplog.messages == ["the handler of a ready descriptor failed"]


def test_news_that_nobody_was_told_yet_can_be_asked_for(scene: Scene) -> None:
    """While the handlers of a turn run, those who come later can be asked for."""
    pairs = [scene.pair(), scene.pair()]
    seen: list[tuple[bool, bool]] = []

    def look(descriptor: int, mask: int) -> None:
        other = next(near for near, _ in pairs if near.fileno() != descriptor)
        may_have_news = scene.descriptors.may_be_ready
        seen.append((may_have_news(descriptor), may_have_news(other.fileno())))
        near = next(near for near, _ in pairs if near.fileno() == descriptor)
        near.recv(10)

    for near, far in pairs:
        far.send(b"x")
        scene.descriptors.register(near.fileno(), READ, look)
    scene.turn()
    assert seen[0][1]
    # The loop cannot tell, and so says that one has to look.
    is_blind = isinstance(scene.descriptors, LoopPoller)
    assert scene.descriptors.may_be_ready(pairs[0][0].fileno()) is is_blind
