"""The RADIUS dictionaries: data files in FreeRADIUS syntax, one per source, travelling with the package."""

from pathlib import Path


def path() -> Path:
    """The folder the dictionary files lie in."""
    return Path(__file__).resolve().parent


def files() -> list[Path]:
    """All dictionary files, in the order they are read."""
    return sorted(path().glob("dictionary.*"))
