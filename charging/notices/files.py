"""What the operator keeps in files: passwords, signing secrets, templates of his own."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from charging.notices import wording
from charging.notices.contact import language_fault
from charging.notices.kinds import KINDS
from charging.notices.letter import secret_of
from charging.notices.settings import Settings
from charging.notices.texts import Texts

MOST_LANGUAGES: Final = 100
MOST_SECRET_FILE_OCTETS: Final = 4096


class NoticeFileError(Exception):
    """A file that can not be used; the text says which, and what would be right."""


def password(path: Path) -> bytes:
    """A password, alone in its file; NoticeFileError otherwise."""
    found = _content(path).strip("\r\n")
    if not found or "\n" in found or not found.isprintable():
        raise NoticeFileError(f"{path}: is not one line with a password")
    return found.encode()


def signing_secret(path: Path) -> bytes:
    """A webhook's secret, alone in its file; NoticeFileError otherwise."""
    try:
        return secret_of(_content(path).strip())
    except ValueError as error:
        raise NoticeFileError(f"{path}: {error}") from None


def templates(folder: Path) -> Texts:
    """The operator's own texts, `<language>/<kind>.txt`, each tried with an example; NoticeFileError names every fault."""
    faults: list[str] = []
    found: dict[str, dict[str, str]] = {}
    try:
        languages = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError as error:
        raise NoticeFileError(f"{folder}: {error.strerror or error}") from None
    for path in languages[:MOST_LANGUAGES]:
        fault = language_fault(path.name)
        if fault is not None or not path.is_dir():
            faults.append(f"{path}: {fault or 'is not a folder'}; here are folders of languages: en, de, es")
            continue
        for file in sorted(path.iterdir()):
            if file.name.startswith("."):
                continue
            if file.suffix != ".txt" or file.stem not in KINDS:
                faults.append(f"{file}: is no kind of notice; write one of {', '.join(f'{k}.txt' for k in KINDS)}")
                continue
            try:
                source = _content(file, wording.MOST_TEMPLATE_CHARACTERS * 4)
                wording.check(file.stem, source)
                found.setdefault(path.name, {})[file.stem] = source
            except wording.Wrong as error:
                faults.append(f"{file}:{error.line}: {error}")
            except NoticeFileError as error:
                faults.append(str(error))
    if faults:
        raise NoticeFileError("\n".join(faults))
    return found


def wording_of(settings: Settings | None) -> wording.Wording:
    """The texts that the settings lead to; without settings the shipped ones. NoticeFileError."""
    if settings is None:
        return wording.Wording()
    own = None if settings.templates is None else templates(settings.templates)
    return wording.Wording(own, language=settings.language)


def _content(path: Path, most_octets: int = MOST_SECRET_FILE_OCTETS) -> str:
    try:
        with path.open("rb") as file:
            octets = file.read(most_octets + 1)
        if len(octets) > most_octets:
            raise NoticeFileError(f"{path}: is longer than {most_octets} octets")
        return octets.decode()
    except OSError as error:
        raise NoticeFileError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise NoticeFileError(f"{path}: is not UTF-8 text") from None
