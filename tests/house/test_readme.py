"""The README's commands are run, in order, in one empty folder with one empty database.

A block of commands is fenced as ```console and its commands begin with `$ ` (`> ` continues one); other lines are output,
which is not compared. `<!-- not run: reason -->` above a block leaves it out. `<!-- file: plan.toml -->` above a block of
any language writes that block into the folder, as the reader would. What a block starts with `&` ends with that block.
"""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
BLOCK = re.compile(
    r"(?:^<!-- (?P<word>not run|file): (?P<value>[^\n]+?) -->\n\n?)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
LANGUAGES_OF_A_SHELL = {"console", "sh", "bash", "shell"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the line where it stands, its language, its text, and what the comment above it says."""

    line: int
    language: str
    text: str
    not_run: str | None
    file: str | None


def blocks(markdown: str) -> list[Block]:
    return [
        Block(
            line=markdown.count("\n", 0, found.start()) + 1,
            language=found["language"],
            text=found["text"],
            not_run=found["value"] if found["word"] == "not run" else None,
            file=found["value"] if found["word"] == "file" else None,
        )
        for found in BLOCK.finditer(markdown)
    ]


def commands(text: str) -> list[str]:
    """The commands of a console block, continued lines joined."""
    found: list[str] = []
    for line in text.splitlines():
        if line.startswith("$ "):
            found.append(line[2:])
        elif line.startswith("> ") and found:
            found[-1] += "\n" + line[2:]
    return found


def script(block: Block) -> str:
    """A bash script that stops at the first command that fails and takes what it started along when it ends."""
    stop = "trap 'jobs -p | xargs -r kill 2>/dev/null; wait' EXIT"
    return "\n".join(["set -euo pipefail", stop, *commands(block.text)]) + "\n"


def test_the_commands_of_the_readme_work(tmp_path: Path) -> None:
    found = blocks(README.read_text(encoding="utf-8"))
    bin_folder = Path(sys.executable).parent
    environment = {
        "PATH": f"{bin_folder}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "LANG": "C.UTF-8",
        "AAA_DATABASE": f"sqlite:///{tmp_path / 'aaa.db'}",
    }
    ran = 0
    for block in found:
        if block.file is not None:
            assert "/" not in block.file, f"README.md:{block.line}: {block.file} is not in the reader's own folder"
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        if block.language != "console" or block.not_run is not None:
            continue
        done = subprocess.run(
            ["bash", "-c", script(block)],
            cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (
            f"README.md:{block.line}: exit status {done.returncode}\n{block.text}\n{done.stdout}\n{done.stderr}"
        )
        ran += 1
    assert ran > 0, "README.md has no ```console block that is run"


def test_every_shell_block_of_the_readme_is_run_or_says_why_not() -> None:
    found = blocks(README.read_text(encoding="utf-8"))
    shells = [block for block in found if block.language in LANGUAGES_OF_A_SHELL]
    assert shells
    assert [block.line for block in shells if block.language != "console"] == []
    assert [block.line for block in shells if not commands(block.text)] == []


def test_the_reading_of_blocks() -> None:
    markdown = (
        "# Title\n\n```console\n$ echo one \\\n> two\none two\n$ true\n```\n\n"
        "<!-- not run: needs a router -->\n```console\n$ ssh router\n```\n\n"
        "<!-- file: plan.toml -->\n\n```toml\ncurrency = 'EUR'\n```\n"
    )
    first, second, third = blocks(markdown)
    assert (first.line, first.not_run, commands(first.text)) == (3, None, ["echo one \\\ntwo", "true"])
    assert (second.not_run, second.file) == ("needs a router", None)
    assert (third.file, third.text) == ("plan.toml", "currency = 'EUR'\n")


def test_a_block_takes_along_what_it_started(tmp_path: Path) -> None:
    block = Block(1, "console", "$ sleep 600 &\n$ echo $! > pid\n", None, None)
    subprocess.run(["bash", "-c", script(block)], cwd=tmp_path, timeout=10, check=False)
    assert not Path("/proc", (tmp_path / "pid").read_text().strip()).exists()
