"""What an operator installs: the wheel, from another folder, without the source tree."""

import os
import shutil
import site
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# What a build reads. A copy of it is built, so that no test leaves a build/ folder in the working tree.
SOURCES = (
    "aaa",
    "charging",
    "cli",
    "migrations",
    "dictionaries",
    "setup.cfg",
    "setup.py",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
VERSION = "0.1.0"


def run(*command: str | Path, cwd: Path) -> str:
    """The command's standard output; its whole output is in the failure when it fails."""
    # What is installed, and not what whoever runs the tests has on his path.
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        elif source.exists():
            shutil.copy(source, folder / name)
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, folder, cwd=out)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an empty environment into which only the wheel was installed.

    Its dependencies are read from the environment that runs the tests, through a .pth file that does not follow that
    environment's own .pth files: so the working tree, installed there as editable, is out of sight.
    """
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    packages = Path(sysconfig.get_path("purelib", "venv", vars={"base": str(folder)}))
    run(
        sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", folder / "bin" / "python",
        "install", "--quiet", "--no-deps", "--no-index", wheel, cwd=folder,
    )  # fmt: skip
    (packages / "dependencies.pth").write_text("\n".join(site.getsitepackages()) + "\n", encoding="utf-8")
    return folder / "bin"


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def tracked(package: str) -> set[str]:
    """The files of a package in the source tree, as names in a wheel."""
    files = (ROOT / package).rglob("*")
    return {str(path.relative_to(ROOT)) for path in files if path.is_file() and "__pycache__" not in path.parts}


@pytest.mark.parametrize("package", ["aaa", "charging", "cli", "migrations", "dictionaries"])
def test_the_wheel_has_every_file_of(package: str, wheel: Path) -> None:
    assert tracked(package) - names_in(wheel) == set()


def test_the_wheel_has_nothing_but_the_five_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in names_in(wheel)}
    assert {top for top in tops if not top.endswith(".dist-info")} == {
        "aaa",
        "charging",
        "cli",
        "migrations",
        "dictionaries",
    }


def test_the_installed_command_says_its_version(installed: Path, tmp_path: Path) -> None:
    assert VERSION in run(installed / "aaa", "--version", cwd=tmp_path)


def test_the_installed_command_finds_its_migrations(installed: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'aaa.db'}"
    run(installed / "aaa", "--database", url, "db", "upgrade", cwd=tmp_path)
    run(installed / "aaa", "--database", url, "db", "check", cwd=tmp_path)


def test_the_installed_wire_finds_its_dictionaries(installed: Path, tmp_path: Path) -> None:
    where = run(installed / "python", "-c", "import aaa.wire; print(aaa.wire.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(installed.parent)
