"""Secrets that come in without standing on a command line, where other users of the machine could read them."""

from __future__ import annotations

import sys

import click


def read_secret(what: str) -> str:
    """The first line of standard input, without its end; asked for unseen where that is a terminal.

    Octets that are not UTF-8 are kept as surrogate escapes.
    """
    if sys.stdin.isatty():
        typed: str = click.prompt(what, hide_input=True, err=True)
        return typed
    return sys.stdin.buffer.readline().rstrip(b"\r\n").decode("utf-8", "surrogateescape")
