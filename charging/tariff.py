"""What usage costs, and how much usage a balance pays for: exact inverses, in integers.

Prices are cumulative: a report's charge is the price of all usage so far minus the price of what was there before, so
any number of reports costs what one would. One line's price is worked out in this order:

    units of the session → whole steps (the first one may have its own size) → counted over the session or the period
    → less the free units → tiers → plus the fee → less the discount → rounded, once → not below the minimum, where
    something beyond the free units was used → not above the maximum
"""

from bisect import bisect_left
from typing import Final, NamedTuple

from charging.money import MAX_AMOUNT, Rounding, divide
from charging.plan import Rate

UNLIMITED: Final = MAX_AMOUNT
"""`quota` of a rate that costs nothing, and its largest answer: 2^63 - 1 units."""


class Position(NamedTuple):
    """Where one price line stands in one session."""

    units: int
    """Of this session, as they were used."""
    counted: int
    """Of all that the line counts over, in whole steps: the session's own, or its subscriber's in this period."""
    micros: int
    """Booked for this session."""


def price(rate: Rate, units: int, rounding: Rounding) -> int:
    """Micros for the first `units` (octets, seconds or sessions) that a line counts, rounded once.

    No usage costs nothing, not even the fee. ValueError for negative usage; OverflowError when the price does not fit
    64 bits.
    """
    if units <= 0:
        if units == 0:
            return 0
        raise ValueError(f"{units} {rate.unit}: usage is not negative")
    if rate.plain:
        per = rate.per
        step = rate.step
        unit_micros = rounding.unit_micros
        # (fee + whole steps · price / per) as one fraction over `per`: the one division below is the one rounding.
        numerator = rate.fee_micros * per + -(-units // step) * step * rate.price_micros
        micros = divide(numerator, per * unit_micros, rounding.mode) * unit_micros
    else:
        micros = _micros(rate, in_steps(rate, units), rounding, rate.fee_micros)
    if micros > MAX_AMOUNT:
        raise OverflowError(f"the price of {units} {rate.unit} is beyond 2^63 - 1 micros")
    return micros


def quota(rate: Rate, micros: int, rounding: Rounding) -> int:
    """The largest number of units, in whole steps, that costs at most `micros` all the way there: what a session may
    use for that money.

    0 when not even the fee and the first step fit. At most UNLIMITED, which is also the answer when steps cost nothing.
    Where rounding is `down` or `half-even`, a balance of 0 still pays for the steps that round to 0.
    """
    if micros < 0:
        return 0
    if not rate.plain:
        return reach(rate, Position(0, 0, 0), micros, rounding)
    unit_micros = rounding.unit_micros
    whole = micros // unit_micros
    # A fraction x of rounding units is affordable up to `whole` for `up`, below whole + 1 for `down`, and up to
    # whole + ½ for `half-even` (the half itself only when it goes down to an even `whole`). Counted in half units and
    # multiplied by `per`, that is a largest numerator in integers.
    if rounding.mode == "up":
        limit = 2 * whole * unit_micros * rate.per
    elif rounding.mode == "down":
        limit = 2 * (whole + 1) * unit_micros * rate.per - 1
    else:
        limit = (2 * whole + 1) * unit_micros * rate.per - (whole & 1)
    left = limit - 2 * rate.fee_micros * rate.per
    if left < 0:
        return 0
    step_cost = rate.step * rate.price_micros
    if step_cost == 0:
        return UNLIMITED
    return min(left // (2 * step_cost) * rate.step, UNLIMITED)


def in_steps(rate: Rate, units: int) -> int:
    """A session's units in whole steps: 61 s are 61 by 60/1 and 90 by 30/30."""
    first = rate.first_step or rate.step
    if units <= first:
        return first if units > 0 else 0
    return first + -(-(units - first) // rate.step) * rate.step


def cost(rate: Rate, at: Position, units: int, rounding: Rounding) -> int:
    """Micros for `units` more of a session that stands `at`; negative where a volume tier makes all of it cheaper."""
    counted = at.counted + in_steps(rate, at.units + units) - in_steps(rate, at.units)
    return _since(rate, at, counted, rounding)


def left_out(rate: Rate, counted: int, rounding: Rounding) -> int:
    """Micros that a line's count over a period was not charged because they were rounded away; 0 where it counts over the
    session, whose own charge says it."""
    if rate.accumulate == "session":
        return 0
    up = Rounding("up", rounding.decimals)
    return _micros(rate, counted, up, 0) - _micros(rate, counted, rounding, 0)


def reach(rate: Rate, at: Position, micros: int, rounding: Rounding) -> int:
    """How many more units a session that stands `at` may use for `micros`, in whole steps: the inverse of `cost`.

    Where volume tiers make a price fall, what lies behind units that are too dear is not reached. A line that
    disconnects at its maximum ends where the next unit would be beyond it.
    """
    if micros < 0:
        return 0
    cuts = rate.maximum_micros is not None and rate.beyond == "disconnect"
    shift = at.counted - in_steps(rate, at.units)

    def fits(units: int) -> bool:
        counted = shift + in_steps(rate, units)
        if cuts and _micros(rate, counted, rounding, _fee(rate), uncapped=True) > (rate.maximum_micros or 0):
            return False
        return _since(rate, at, counted, rounding) <= micros

    reached = at.units
    for end in (*_falls(rate, shift), UNLIMITED):
        if end <= reached:
            continue
        if not fits(reached + 1):
            break
        if fits(end):
            reached = end
            continue
        # Within a tier the price never falls.
        fitting, unfitting = reached + 1, end
        while unfitting - fitting > 1:
            middle = (fitting + unfitting) // 2
            fitting, unfitting = (middle, unfitting) if fits(middle) else (fitting, middle)
        reached = fitting
        break
    return reached - at.units


def _falls(rate: Rate, shift: int) -> list[int]:
    """The last unit of each tier behind which the price may fall, in units of the session."""
    if rate.mode in {"graduated", "package"}:
        return []
    return [_whole_steps(rate, end + rate.free - shift) for end in rate.curve.ends]


def _whole_steps(rate: Rate, counted: int) -> int:
    """The most units whose whole steps are at most `counted`."""
    first = rate.first_step or rate.step
    return 0 if counted < first else first + (counted - first) // rate.step * rate.step


def _fee(rate: Rate) -> int:
    """What belongs to the count itself: over a period the fee is each session's own."""
    return rate.fee_micros if rate.accumulate == "session" else 0


def _since(rate: Rate, at: Position, counted: int, rounding: Rounding) -> int:
    """Micros from a position to a count."""
    if rate.accumulate == "session":
        return _micros(rate, counted, rounding, rate.fee_micros) - at.micros
    micros = _micros(rate, counted, rounding, 0) - _micros(rate, at.counted, rounding, 0)
    if rate.fee_micros and not at.units and counted > at.counted:
        micros += _rounded(rate, rate.fee_micros, 1, rounding)
    return micros


def _micros(rate: Rate, counted: int, rounding: Rounding, fee_micros: int, *, uncapped: bool = False) -> int:
    """Micros of so many units in whole steps."""
    if counted <= 0:
        return 0
    beyond = counted - rate.free
    if beyond <= 0:
        micros = _rounded(rate, fee_micros, 1, rounding)
    else:
        curve = rate.curve
        base, start, block, slope = curve.steps[bisect_left(curve.ends, beyond)]
        numerator = base + -(-(beyond - start) // block) * slope + fee_micros * curve.denominator
        micros = max(_rounded(rate, numerator, curve.denominator, rounding), rate.minimum_micros)
    if rate.maximum_micros is not None and not uncapped:
        return min(micros, rate.maximum_micros)
    return micros


def _rounded(rate: Rate, numerator: int, denominator: int, rounding: Rounding) -> int:
    """A fraction of micros less the discount, by the rule of the plan."""
    unit_micros = rounding.unit_micros
    kept = 100 - rate.discount_percent
    return divide(numerator * kept, denominator * 100 * unit_micros, rounding.mode) * unit_micros
