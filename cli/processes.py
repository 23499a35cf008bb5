"""Several processes of one server: started together, ended together, and one that dies alone is started again."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from typing import Final, NoReturn

import click
import structlog

_WATCHED: Final = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGCHLD})
#: A process that dies sooner than this after its start would die again.
LEAST_LIFE_SECONDS: Final = 5.0


def run_together(count: int, run: Callable[[int], int]) -> int:
    """`run(1)` … `run(count)`, each in a process of its own that ends on SIGTERM; the exit code of the server.

    A process that a signal kills is started again, unless it has hardly lived. One that ends by itself ends all, and so
    does SIGTERM or SIGINT to this process; should this process die, its processes see that and stop. Call it before there are
    threads, a reactor or open connections: it forks.
    """
    log = structlog.get_logger("aaa.processes")
    signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
    lifeline, held = os.pipe()
    running: dict[int, tuple[int, float]] = {}
    exit_code: int | None = None

    def start(number: int) -> None:
        _flush()
        process = os.fork()
        if process == 0:
            os.close(held)
            _be(number, run, lifeline)
        running[process] = (number, time.monotonic())

    def stop_all() -> None:
        for process in running:
            os.kill(process, signal.SIGTERM)

    for number in range(1, count + 1):
        start(number)
    while running:
        if signal.sigwait(_WATCHED) != signal.SIGCHLD:
            exit_code = 0 if exit_code is None else exit_code
            stop_all()
            continue
        for process, status in _ended():
            number, since = running.pop(process)
            code = os.waitstatus_to_exitcode(status)
            if exit_code is not None:  # all are stopping
                # One that had hardly begun is ended by the signal itself, before it could do anything about it: as told.
                exit_code = exit_code or (0 if code == -signal.SIGTERM else abs(code))
            elif code < 0 and time.monotonic() - since >= LEAST_LIFE_SECONDS:
                log.critical("process-died", process=number, signal=-code, advice="it is started again")
                start(number)
            else:
                log.critical("process-ended", process=number, exit_code=code, advice="the others are stopped")
                exit_code = abs(code) or 1
                stop_all()
    return exit_code or 0


def _be(number: int, run: Callable[[int], int], lifeline: int) -> NoReturn:
    """What a new process does until its end."""
    code = 1
    try:
        # Ctrl-C goes to the whole group; the first process passes it on as SIGTERM, once.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _WATCHED)
        threading.Thread(target=_stop_when_alone, args=(lifeline,), daemon=True, name="lifeline").start()
        code = run(number)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BaseException:  # noqa: BLE001  nothing of the first process may run on here
        traceback.print_exc()
    finally:
        _flush()
        os._exit(code)


def _stop_when_alone(lifeline: int) -> None:
    """Nobody writes into the pipe: it ends when the first process does, however that was."""
    os.read(lifeline, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _ended() -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return found
        if process == 0:
            return found
        found.append((process, status))


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
