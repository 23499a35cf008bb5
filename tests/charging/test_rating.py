"""Prices and draws against tables that were worked out by hand, and the properties that hold for all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from charging import planfile, quote, usage
from charging.amounts import parse_octets, parse_seconds
from charging.book import Account, Book
from charging.bound import Line, bound
from charging.buckets import SHORTFALL, Bucket, Rated, Usage, charged_part, cover, paid_in_full
from charging.money import MAX_AMOUNT, Rounding, parse_money, parse_price
from charging.payment import money_bucket
from charging.plan import Allowance, Plan, Profile, Rate, Tier, from_json, to_json
from charging.quote import Use
from charging.scope import scope_of
from charging.session import Session
from charging.slices import slice_of
from charging.tariff import UNLIMITED, Position, cost, in_steps, price, quota, reach
from charging.window import Window
from charging.zone import Place, Zone

CASES = Path(__file__).parent / "cases" / "rating"
BERLIN = ZoneInfo("Europe/Berlin")
HEAD = 'currency = "EUR"\ntime_zone = "Europe/Berlin"\n[profile.line]\n'


def instant(text: str) -> int:
    """A local time in Berlin."""
    return int(datetime.fromisoformat(text).replace(tzinfo=BERLIN).timestamp()) * 1000


BEGIN = instant("2026-05-04T12:00")


# --- prices --------------------------------------------------------------------------------------------------------


class Question(NamedTuple):
    """One line of prices.txt."""

    where: str
    plan: Plan
    options: dict[str, str]
    answer: str

    def __str__(self) -> str:
        return self.where


def questions() -> Iterator[Question]:
    """All of prices.txt."""
    lines = (CASES / "prices.txt").read_text().splitlines()
    header: list[str] = []
    body: list[str] = []
    asked: list[tuple[int, str]] = []

    def of_one_plan() -> Iterator[Question]:
        text = "\n".join([HEAD, "[plan.p]", 'profile = "line"', *header, *body])
        (plan,) = planfile.load(
            re.sub(r"\[\[(rate|allowance)\]\]", r"[[plan.p.\1]]", text).replace("[[tier]]", "[[plan.p.rate.tier]]")
        )
        for number, question in asked:
            options, _, answer = question.partition("->")
            pairs = [option.split("=", 1) for option in options.split()]
            yield Question(f"prices.txt:{number}", plan, dict(pairs), answer.strip())

    for number, raw in enumerate(lines, 1):
        line = raw.split("#")[0].strip()
        if line.startswith("plan "):
            if asked:
                yield from of_one_plan()
            header, body, asked = [], [], []
        elif line.startswith("?"):
            asked.append((number, line[1:]))
        elif line.startswith(("decimals", "rounding")):
            header.append(line)
        elif line:
            body.append(line)
    yield from of_one_plan()


QUESTIONS = list(questions())


def use_of(question: Question) -> Use:
    options = question.options
    counted = [each.split("=") for key, each in options.items() if key == "counted"]
    units = {rate.name: rate.unit for rate in question.plan.rates}
    parse: dict[str, Callable[[str], int]] = {"octets": parse_octets, "seconds": parse_seconds, "session": int}
    return Use(
        begin=instant(options["at"]) if "at" in options else BEGIN,
        up=parse_octets(options.get("up", "0")),
        down=parse_octets(options.get("down", "0")) + parse_octets(options.get("octets", "0")),
        seconds=parse_seconds(options.get("seconds", "0")),
        place=Place(
            options.get("group", ""), options.get("called", ""), options.get("realm", ""), options.get("class", "")
        ),
        counted={name: parse[units[name]](amount) for name, amount in counted},
    )


def signed(text: str) -> int:
    return -parse_price(text[1:], "EUR") if text.startswith("-") else parse_price(text, "EUR")


@pytest.mark.parametrize("question", [q for q in QUESTIONS if "money" not in q.options], ids=str)
def test_what_a_use_costs(question: Question) -> None:
    found = quote.quote(question.plan, use_of(question))
    amount, _, short = question.answer.partition(" short ")
    assert found.micros == signed(amount)
    unpaid = sum(item.amount for item in found.items if item.kind == "unpaid")
    assert unpaid == (parse_octets(short) if short else 0)
    assert sum(item.micros for item in found.items) == found.micros


@pytest.mark.parametrize("question", [q for q in QUESTIONS if "money" in q.options], ids=str)
def test_how_far_money_goes(question: Question) -> None:
    try:
        micros = parse_money(question.options["money"], "EUR")
    except ValueError:
        assert question.answer == "error"
        return
    found = quote.reach(question.plan, use_of(question), micros)
    if question.plan.charges("octets"):
        assert found.octets == (None if question.answer == "no limit" else parse_octets(question.answer))
    else:
        assert found.seconds == (None if question.answer == "no limit" else parse_seconds(question.answer))


@pytest.mark.parametrize("question", [q for q in QUESTIONS if not {"money", "at"} & q.options.keys()], ids=str)
def test_any_number_of_reports_costs_what_one_would(question: Question) -> None:
    use = use_of(question)
    assert charged(question.plan, use, [use_part(use, n, 7) for n in range(7)]) == signed(
        question.answer.partition(" short ")[0]
    )


def use_part(use: Use, number: int, parts: int) -> Usage:
    """The part of a use that one of so many reports adds."""
    return Usage(
        *(amount * (number + 1) // parts - amount * number // parts for amount in (use.up, use.down, use.seconds))
    )


def charged(plan: Plan, use: Use, reports: list[Usage]) -> int:
    """What sessions of the server are charged for these reports."""
    book, session = quote._imagined(plan, use, 10**15, allowances=True)
    at, micros = use.begin, 0
    for used in reports:
        at += used.seconds * 1000
        session.last_event_at = at
        micros += usage._charge(book, session, plan, used, at, use.begin)[0]
    return micros


@pytest.mark.parametrize("plan", {id(q.plan): q.plan for q in QUESTIONS}.values(), ids=lambda plan: plan.rates[0].mode)
def test_no_slice_costs_more_than_the_bound_says(plan: Plan) -> None:
    plan = replace(plan, profile=Profile("line", 8_000_000, 800_000))
    (term,) = bound([Line("alice", plan, 300, 1)]).terms
    used = charged_part(plan, slice_of(plan, 300))
    assert term.micros is not None
    for at in ("2026-05-04T12:00", "2026-05-04T23:30", "2026-05-09T12:00", "2026-12-25T12:00"):
        for called in ("", "x:cafe", "wap"):
            use = Use(instant(at), used.up, used.down, used.seconds, Place(called_station=called))
            assert quote.quote(plan, use, allowances=False).micros <= term.micros


# --- buckets -------------------------------------------------------------------------------------------------------

NIGHT = Window("night", hours=((22 * 60, 6 * 60),))
WEEKEND = Window("weekend", days=(5, 6))
CAFE = Zone("cafe", called_stations=("cafe",))
SUBSCRIBERS = {"alice": 1, "bob": 2}


class Case(NamedTuple):
    """One case of buckets.txt."""

    name: str
    lines: list[tuple[str, str]]

    def __str__(self) -> str:
        return self.name


def bucket_cases() -> list[Case]:
    cases: list[Case] = []
    for number, raw in enumerate((CASES / "buckets.txt").read_text().splitlines(), 1):
        line = raw.split("#")[0].strip()
        if line.startswith("case "):
            cases.append(Case(line.removeprefix("case "), []))
        elif line:
            cases[-1].lines.append((f"buckets.txt:{number}", line))
    return cases


def a_bucket(number: int, words: list[str]) -> Bucket:
    name, amount, *options = words
    allowance = Allowance(name, "octets", "total", 1)
    found = Bucket(1, number, name, "octets", "total", 0, 0, 0, "", 0, 0, False, "allowance:p", BEGIN, None, BEGIN)
    only: int | None = None
    while options:
        match options.pop(0):
            case "seconds" | "money" as unit:
                found.unit = unit
            case "down" | "up" as direction:
                found.direction = direction
            case "priority":
                found.priority = int(options.pop(0))
            case "expires":
                found.expires_at = BEGIN + int(options.pop(0)) * 1000
            case "from":
                found.valid_from = BEGIN + int(options.pop(0)) * 1000
            case "created":
                found.created_at = BEGIN + int(options.pop(0)) * 1000
            case "blocker":
                found.blocker = True
            case "night" | "weekend" as window:
                allowance = replace(allowance, windows=(*allowance.windows, window))
            case "cafe":
                allowance = replace(allowance, zones=("cafe",))
            case "for":
                only, allowance = SUBSCRIBERS[options.pop(0)], replace(allowance, shared=False)
            case "cap":
                cap = options.pop(0)
                allowance = replace(allowance, member_cap=parse_price(cap, "EUR") if "." in cap else int(cap))
            case "day" | "month" as period:
                allowance = replace(allowance, member_cap_per=period)
            case word:
                raise ValueError(word)
    found.balance = parse_price(amount, "EUR") if found.unit == "money" else int(amount)
    sale = Plan("p", "EUR", "Europe/Berlin", Profile("line"), windows=(NIGHT, WEEKEND), zones=(CAFE,))
    found.scope = scope_of(sale, allowance, only)
    return found


@pytest.mark.parametrize("case", bucket_cases(), ids=str)
def test_which_buckets_pay(case: Case) -> None:
    ids = iter(range(1_000, 2_000))
    plan = Plan(
        "p", "EUR", "Europe/Berlin", Profile("line"),
        allowances=(Allowance("o", "octets", "total", 1), Allowance("s", "seconds", "total", 1)),
    )  # fmt: skip
    book = Book(Account(1, "EUR", "prepaid", 0, "active", 0, 0, ""), lambda: next(ids), lambda _: plan)
    sessions: dict[tuple[str, bool], Session] = {}
    for where, line in case.lines:
        word, *words = line.split()
        if word == "bucket":
            book.add_bucket(a_bucket(len(book.buckets) + 1, words))
        elif word == "money":
            book.add_bucket(replace(money_bucket(1, 500, BEGIN), balance=parse_price(words[0], "EUR")))
        elif word == "rate":
            micros = int(words[0])
            plan = replace(
                plan,
                rates=(Rate("octets", "total", micros, 1, 1), Rate("seconds", "total", micros * 1000, 1, 1)),
            )
        else:
            assert word == "use", where
            said, _, expected = line.removeprefix("use ").partition("->")
            who, down, *more = said.split()
            options = dict(each.split("=") for each in more if "=" in each)
            key = who, "cafe" in more
            if key not in sessions:
                _, session = quote._imagined(
                    plan, Use(BEGIN, place=Place("", "cafe" if key[1] else "")), 0, allowances=False
                )
                sessions[key] = replace(session, session_id=len(sessions) + 1, subscriber_id=SUBSCRIBERS[who])
            session = sessions[key]
            used = Usage(int(options.get("up", 0)), int(down), int(options.get("seconds", 0)))
            at = instant(options["at"]) if "at" in options else BEGIN
            session.last_event_at, end = at, at + max(used.seconds, int(options.get("span", 0))) * 1000
            draws = usage._charge(book, session, plan, used, end, max(BEGIN, at) if "at" not in options else BEGIN)[1]
            assert drawn(book, draws) == sorted(expected.strip().split(", ")), where
            assert all(each.balance >= 0 for each in book.buckets.values())


def drawn(book: Book, draws: str) -> list[str]:
    """`[[1,"octets",5]]` as `a 5`."""
    found: list[str] = []
    for number, unit, amount in re.findall(r'\[(\d+),"(\w+)",(\d+)\]', draws):
        if int(number) == SHORTFALL:
            found.append(f"short {amount} {unit}")
        else:
            whole = f"{int(amount) // 10**6}.{int(amount) % 10**6:06d}".rstrip("0")
            found.append(f"{book.buckets[int(number)].name} {whole if unit == 'money' else amount}")
    return sorted(found)


def test_there_are_enough_cases() -> None:
    assert len(QUESTIONS) + len(bucket_cases()) >= 120


# --- properties ----------------------------------------------------------------------------------------------------

amounts = st.one_of(st.integers(1, 40), st.integers(1, 10**7))
micros_ = st.one_of(st.integers(0, 40), st.integers(0, 10**6))


@st.composite
def rates(draw: st.DrawFn, modes: tuple[str, ...] = ("graduated", "package", "volume", "flat")) -> Rate:
    """Any price line that counts over a session."""
    mode = draw(st.sampled_from(modes))
    ends = sorted(set(draw(st.lists(amounts, max_size=4))))
    tiers = tuple(Tier(end, draw(micros_), draw(amounts)) for end in [*ends, None]) if ends else ()
    minimum = draw(st.sampled_from([0, 0, 7, 1_000]))
    maximum = draw(st.none() | st.integers(minimum, 10**8))
    return Rate(
        "octets", "total", draw(micros_), draw(amounts), draw(amounts), draw(micros_), "x", draw(st.just(0) | amounts),
        tiers, mode, "session", draw(st.just(0) | amounts), minimum, maximum,  # type: ignore[arg-type]
        draw(st.sampled_from(["free", "disconnect"])), draw(st.sampled_from([0, 0, 10, 33, 100])),
    )  # fmt: skip


roundings = st.builds(Rounding, st.sampled_from(["up", "down", "half-even"]), st.integers(0, 6))
monotone = rates(modes=("graduated", "package"))


@given(monotone, st.integers(0, 10**9), st.integers(0, 10**9), roundings)
def test_the_price_never_falls_where_the_plan_does_not(rate: Rate, units: int, more: int, rounding: Rounding) -> None:
    assert price(rate, units, rounding) <= price(rate, units + more, rounding)


@given(rates(), st.integers(1, 10**8), roundings)
def test_the_price_is_the_definition(rate: Rate, units: int, rounding: Rounding) -> None:
    """Independently, in fractions and step by step."""
    first = rate.first_step or rate.step
    counted = first
    while counted < units and (units - counted) // rate.step < 1_000:
        counted += rate.step
    assume(counted >= units)
    beyond = max(0, counted - rate.free)
    exact = Fraction(rate.fee_micros)
    tiers = rate.tiers or (Tier(None, rate.price_micros, rate.per),)
    below = 0
    for tier in tiers if beyond else ():
        end = beyond if tier.upto is None else min(beyond, tier.upto)
        reached = tier.upto is None or beyond <= tier.upto
        match rate.mode:
            case "graduated":
                exact += Fraction((end - below) * tier.price_micros, tier.per)
            case "package":
                exact += -((below - end) // tier.per) * tier.price_micros
            case "volume" if reached:
                exact += Fraction(beyond * tier.price_micros, tier.per)
            case "flat" if reached:
                exact += tier.price_micros
        below = end
        if reached:
            break
    exact *= Fraction(100 - rate.discount_percent, 100)
    unit = 10 ** (6 - rounding.decimals)
    whole, half = exact // unit, exact / unit - exact // unit
    up = {
        "up": half > 0,
        "down": False,
        "half-even": half > Fraction(1, 2) or (half == Fraction(1, 2) and whole % 2 == 1),
    }
    micros = (int(whole) + up[rounding.mode]) * unit
    micros = max(micros, rate.minimum_micros) if beyond else micros
    assert price(rate, units, rounding) == (micros if rate.maximum_micros is None else min(micros, rate.maximum_micros))


@given(rates(), st.one_of(st.integers(0, 1_000), st.integers(0, 10**9)), roundings)
def test_quota_is_the_inverse_of_price(rate: Rate, micros: int, rounding: Rounding) -> None:
    units = quota(rate, micros, rounding)
    assert 0 <= units <= UNLIMITED
    assert price(rate, min(units, 10**18), rounding) <= micros
    if units < UNLIMITED:
        ended = rate.beyond == "disconnect" and rate.maximum_micros is not None
        uncapped = replace(rate, maximum_micros=None) if ended else rate
        assert price(uncapped, units + 1, rounding) > (min(micros, rate.maximum_micros or 0) if ended else micros)


@given(rates(), st.integers(0, 10**6), st.integers(0, 10**7), roundings, st.sampled_from(["session", "day"]))
def test_reach_is_the_inverse_of_cost_from_anywhere(
    rate: Rate, units: int, micros: int, rounding: Rounding, accumulate: Any
) -> None:
    rate = replace(rate, accumulate=accumulate, maximum_micros=None)
    before = in_steps(rate, units)
    at = (
        Position(units, before, price(rate, units, rounding))
        if accumulate == "session"
        else Position(units, before + 12_345, 0)
    )
    more = reach(rate, at, micros, rounding)
    assert more >= 0
    if 0 < more < 10**18:
        assert cost(rate, at, more, rounding) <= micros
    if more < 10**18:
        assert cost(rate, at, more + 1, rounding) > micros


@given(rates(), st.lists(st.integers(0, 10**6), min_size=1, max_size=12), roundings, st.booleans())
def test_reports_add_up(rate: Rate, deltas: list[int], rounding: Rounding, over_a_day: bool) -> None:
    rate = replace(rate, accumulate="day" if over_a_day else "session", beyond="free")
    units = micros = 0
    start = 777 if over_a_day else 0
    for delta in deltas:
        micros += cost(rate, Position(units, start + in_steps(rate, units), micros), delta, rounding) if delta else 0
        units += delta
    if units:
        assert micros == cost(rate, Position(0, start, 0), units, rounding)
    else:
        assert micros == 0


@given(rates(), st.integers(0, 10**8), st.integers(0, 10**8), st.integers(0, 10**10), roundings)
def test_one_purse_pays_what_the_whole_reckoning_says(
    rate: Rate, used: int, more: int, purse: int, rounding: Rounding
) -> None:
    rate = replace(rate, maximum_micros=None)
    plan = Plan("p", "EUR", "UTC", Profile("line"), rounding=rounding, rates=(rate,))
    before = Rated(used, price(rate, used, rounding))
    bucket = money_bucket(1, 1, BEGIN)
    found = cover(plan, Usage(0, more, 0), [bucket], lambda _: purse, {0: before}, 0)
    whole = not found.uncovered.down and not found.credit
    assert paid_in_full(rate, rounding, before, more, purse) == (found.money if whole else None)


def test_nothing_overflows_silently() -> None:
    dear = Rate("octets", "total", 10**15, 1, 1, tiers=(Tier(5, 10**15), Tier(None, 10**15)))
    with pytest.raises(OverflowError, match="beyond 2\\^63"):
        price(dear, 10_000, Rounding())
    assert quota(dear, MAX_AMOUNT, Rounding()) == 9_223  # 9.223 · 10^18 micros
    plan = Plan("p", "EUR", "UTC", Profile("line"), rates=(replace(dear, tiers=()),))
    for sold in (plan, replace(plan, rates=(dear,))):
        found = quote.quote(sold, Use(BEGIN, down=2**62))
        assert found.micros == 9_223 * 10**15
        assert [item.amount for item in found.items if item.kind == "unpaid"] == [2**62 - 9_223]


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 20_000), min_size=1, max_size=8),
    st.integers(instant("2026-03-28T20:00") // 1000, instant("2026-03-29T08:00") // 1000),
)
def test_time_over_windows_costs_the_same_in_any_number_of_reports(seconds: list[int], begin: int) -> None:
    """Seconds are split exactly, also in the night in which one hour is not there."""
    plan = next(q.plan for q in QUESTIONS if q.plan.windows[:1] and q.plan.windows[0].name == "night")
    use = Use(begin * 1000)
    assert charged(plan, use, [Usage(0, 0, each) for each in seconds]) == charged(
        plan, use, [Usage(0, 0, sum(seconds))]
    )
    at_once = quote.quote(plan, replace(use, seconds=sum(seconds))).micros
    found = quote.reach(plan, use, at_once)
    assert found.seconds is None or found.seconds >= sum(seconds)


@given(rates(), st.booleans())
def test_json_keeps_a_price_line(rate: Rate, conditional: bool) -> None:
    if conditional:
        rate = replace(
            rate, windows=("night",), zones=("cafe",), service_classes=("framed",), valid_from=1, valid_until=2
        )
    plan = Plan("p", "EUR", "Europe/Berlin", Profile("line"), rates=(rate,), windows=(NIGHT,), zones=(CAFE,))
    assert from_json(to_json(plan)) == plan
