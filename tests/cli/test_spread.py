"""The processes of a server, each with its part of the spreading: here in one process, and the sockets are real."""

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from structlog.testing import capture_logs

from aaa.sockets import open_socket
from aaa.spreading import LARGE_BATCH_ITEMS, QUIET_NS, SILENT_NS, Load
from cli import spread
from cli.spread import Board, Spread

PROCESSES = 3
SOURCES = 64
LOOK_NS = 5 * 10**8


class Stage:
    def __init__(self, stack: ExitStack) -> None:
        self.now_ns = 10**12
        self.work = [(0, 0)] * PROCESSES
        self.board = Board(PROCESSES)
        first = stack.enter_context(open_socket(socket.SOCK_DGRAM, "127.0.0.1", 0, shared=True))
        self.address = first.getsockname()
        others = [open_socket(socket.SOCK_DGRAM, *self.address, shared=True) for _ in range(PROCESSES - 1)]
        self.sockets = [first, *(stack.enter_context(one) for one in others)]
        self.sources = [stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(SOURCES)]
        self.parts = [self.part(place) for place in range(PROCESSES)]

    def part(self, place: int) -> Spread:
        return Spread(
            self.board, place, [self.sockets[place]], lambda: self.work[place], clock_ns=lambda: self.now_ns,
            busy_ns=lambda: 0,
        )  # fmt: skip

    def look(self, *without: int) -> None:
        self.now_ns += LOOK_NS
        for place, part in enumerate(self.parts):
            if place not in without:
                part.look()

    def reached(self) -> set[int]:
        """The sockets that something comes to when all sources send."""
        for source in self.sources:
            source.sendto(b"x", self.address)
        found = set()
        for at, one in enumerate(self.sockets):
            try:
                while one.recv(1):
                    found.add(at)
            except BlockingIOError:
                continue
        return found


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack)


def test_work_for_one_goes_to_one_and_work_for_two_to_two(stage: Stage) -> None:
    assert stage.reached() == {0, 1, 2}  # nobody has said anything yet
    stage.look()
    assert stage.reached() == {0}
    stage.work[0] = (10, 20 * LARGE_BATCH_ITEMS)
    with capture_logs() as logs:
        stage.look()
    assert stage.reached() == {0, 1}
    assert [(log["event"], log["over"], log["processes"]) for log in logs] == [("nases-spread", 2, 3)]
    with capture_logs() as logs:
        for _ in range(QUIET_NS // LOOK_NS + 1):
            stage.look()
    assert stage.reached() == {0}
    assert [log["over"] for log in logs] == [1]


def test_when_the_first_stands_still_another_decides(stage: Stage) -> None:
    stage.look()
    for _ in range(SILENT_NS // LOOK_NS):
        stage.look(0)
    assert stage.reached() == {0, 1, 2}
    stage.look()
    for _ in range(QUIET_NS // LOOK_NS):
        stage.look()
    assert stage.reached() == {0}


def test_it_may_stand_still_again(stage: Stage) -> None:
    """Who decides meanwhile has said the same before, but it is not what the kernel heard last."""
    for _ in range(2):
        for _ in range(QUIET_NS // LOOK_NS + 2):
            stage.look()
        assert stage.reached() == {0}
        for _ in range(SILENT_NS // LOOK_NS):
            stage.look(0)
        assert stage.reached() == {0, 1, 2}


def test_one_that_is_started_again_goes_on_with_what_was_decided(stage: Stage) -> None:
    stage.look()
    stage.work[0] = (10, 20 * LARGE_BATCH_ITEMS)
    stage.look()
    stage.parts[0], stage.work[0] = stage.part(0), (0, 0)
    stage.look()
    assert stage.reached() == {0, 1}


def test_the_last_that_is_there_is_on_duty(stage: Stage) -> None:
    def on_duty() -> list[bool]:
        return [part.on_duty for part in stage.parts]

    assert on_duty() == [False, False, False]  # nobody has said anything yet
    stage.look()
    stage.look()
    assert on_duty() == [False, False, True]
    for _ in range(SILENT_NS // LOOK_NS):
        stage.look(2)
    assert on_duty()[:2] == [False, True]
    stage.look()
    stage.look()
    assert on_duty() == [False, False, True]


def test_a_system_that_knows_no_steering_spreads_them_itself(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_shared: socket.socket, _over: int) -> None:
        raise OSError(92, "Protocol not available")

    monkeypatch.setattr(spread, "steer", refuse)
    with capture_logs() as logs:
        for _ in range(5):
            stage.look()
    assert stage.reached() == {0, 1, 2}
    assert [(log["event"], log["log_level"]) for log in logs] == [("nases-not-steered", "warning")]


def test_what_another_process_says_is_seen() -> None:
    board = Board(2)
    child = os.fork()
    if child == 0:
        board.tell(1, Load(1, 2, 3, 2**62))
        board.over = 2
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert board.loads() == [Load(0, 0, 0, 0), Load(1, 2, 3, 2**62)]
    assert board.over == 2
