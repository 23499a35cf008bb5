"""Several processes of one server: each case is a small program, because it forks."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.outside import until

WITHIN_SECONDS = 20


@contextmanager
def program(text: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    whole = textwrap.dedent("""
        import os, signal, sys, time
        from pathlib import Path
        from cli import processes
        folder = Path(sys.argv[1])
        def say(number):
            (folder / f"{number}-{os.getpid()}.new").write_text("")
            (folder / f"{number}-{os.getpid()}.new").rename(folder / f"{number}-{os.getpid()}")
        def rest():
            while True:
                time.sleep(60)
        """) + textwrap.dedent(text)
    command = [sys.executable, "-c", whole, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def said(folder: Path) -> dict[int, int]:
    """Process by number."""
    return {int(number): int(pid) for number, _, pid in (path.name.partition("-") for path in folder.glob("*-*[0-9]"))}


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


RESTING = """
    def run(number):
        say(number)
        rest()
    sys.exit(processes.run_together(3, run))
"""


def test_one_that_ends_by_itself_ends_all_with_its_code(tmp_path: Path) -> None:
    text = """
        def run(number):
            say(number)
            if number == 2:
                return 3
            rest()
        sys.exit(processes.run_together(3, run))
    """
    with program(text, tmp_path) as process:
        assert process.wait(WITHIN_SECONDS) == 3
        assert not any(lives(pid) for pid in said(tmp_path).values())


def test_one_that_should_not_end_is_a_failure(tmp_path: Path) -> None:
    with program("sys.exit(processes.run_together(2, lambda number: 0))", tmp_path) as process:
        assert process.wait(WITHIN_SECONDS) == 1


def test_one_that_sigterm_ends_before_it_could_listen_to_it_has_ended_as_told(tmp_path: Path) -> None:
    with program(RESTING, tmp_path) as process:
        until(lambda: len(said(tmp_path)) == 3, within=WITHIN_SECONDS, what="not all began")
        process.terminate()
        assert process.wait(WITHIN_SECONDS) == 0


def test_sigterm_ends_all(tmp_path: Path) -> None:
    text = """
        def run(number):
            signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
            say(number)
            rest()
        sys.exit(processes.run_together(3, run))
    """
    with program(text, tmp_path) as process:
        until(lambda: len(said(tmp_path)) == 3, within=WITHIN_SECONDS, what="not all began")
        process.send_signal(signal.SIGTERM)
        assert process.wait(WITHIN_SECONDS) == 0
        assert not any(lives(pid) for pid in said(tmp_path).values())


def test_one_that_is_killed_is_started_again_alone(tmp_path: Path) -> None:
    with program("processes.LEAST_LIFE_SECONDS = 0.0\n" + textwrap.dedent(RESTING), tmp_path) as process:
        until(lambda: len(said(tmp_path)) == 3, within=WITHIN_SECONDS, what="not all began")
        before = said(tmp_path)
        (tmp_path / f"2-{before[2]}").unlink()
        os.kill(before[2], signal.SIGKILL)
        until(lambda: 2 in said(tmp_path), within=WITHIN_SECONDS, what="it was not started again")
        after = said(tmp_path)
        assert after[2] != before[2]
        assert (after[1], after[3]) == (before[1], before[3])
        assert process.poll() is None


def test_one_that_dies_at_once_is_not_started_for_ever(tmp_path: Path) -> None:
    text = """
        def run(number):
            say(number)
            os.kill(os.getpid(), signal.SIGKILL)
        sys.exit(processes.run_together(1, run))
    """
    with program(text, tmp_path) as process:
        assert process.wait(WITHIN_SECONDS) == signal.SIGKILL
        assert len(said(tmp_path)) == 1


def test_they_end_when_the_first_process_is_killed(tmp_path: Path) -> None:
    with program(RESTING, tmp_path) as process:
        until(lambda: len(said(tmp_path)) == 3, within=WITHIN_SECONDS, what="not all began")
        process.kill()
        until(
            lambda: not any(lives(pid) for pid in said(tmp_path).values()), within=WITHIN_SECONDS, what="they live on"
        )


def test_a_mistake_of_the_operator_is_one_line(tmp_path: Path) -> None:
    text = """
        import click
        def run(number):
            raise click.ClickException("the disk is made of cheese")
        sys.exit(processes.run_together(1, run))
    """
    with program(text, tmp_path) as process:
        out, _ = process.communicate(timeout=WITHIN_SECONDS)
        assert process.returncode == 1
        assert "Error: the disk is made of cheese\n" in out
        assert "Traceback" not in out
