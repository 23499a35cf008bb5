"""Amounts as people read them: `10.00 EUR`, `5 GB`, `2h`; and points in time as they write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import click

from charging.amounts import format_amount as amount_text
from charging.amounts import parse_octets, parse_seconds
from charging.plan import Instant

__all__ = ["OCTETS", "TIME", "Moment", "amount_text"]


class Moment(click.ParamType):  # type: ignore[type-arg]  # only newer ones of click have an argument
    """`2026-03-01`, or `2026-03-01 12:00`, UTC; with `ends` a day means its end."""

    name = "day"

    def __init__(self, *, ends: bool = False) -> None:
        self._ends = ends

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> Instant:
        """The instant."""
        try:
            if len(value) == len("2026-03-01"):
                moment = datetime.combine(date.fromisoformat(value), datetime.min.time(), UTC)
                moment += timedelta(days=1 if self._ends else 0)
            else:
                moment = datetime.fromisoformat(value)
                moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        except ValueError:
            self.fail(f"{value!r} is not a day; write for example 2026-03-01 or '2026-03-01 12:00' (UTC)", param, ctx)
        return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


class _Amount(click.ParamType):  # type: ignore[type-arg]  # only newer ones of click have an argument
    """Octets or time as people write them."""

    def __init__(self, name: str, parse: Callable[[str], int]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The number of octets or seconds."""
        if isinstance(value, int):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


OCTETS = _Amount("octets", parse_octets)
TIME = _Amount("time", parse_seconds)
