"""What usage costs, and how much usage a balance pays for: exact inverses, in integers.

Prices are cumulative per session: a report's charge is the price of all usage so far minus what is booked, so any
number of reports costs what one would.
"""

from typing import Final

from charging.money import MAX_AMOUNT, Rounding, divide
from charging.plan import Rate

UNLIMITED: Final = MAX_AMOUNT
"""`quota` of a rate that costs nothing, and its largest answer: 2^63 - 1 units."""


def price(rate: Rate, units: int, rounding: Rounding) -> int:
    """Micros for the first `units` (octets or seconds) of one session: the fee and every step begun, rounded once.

    No usage costs nothing, not even the fee. ValueError for negative usage; OverflowError when the price does not fit
    64 bits.
    """
    if units <= 0:
        if units == 0:
            return 0
        raise ValueError(f"{units} {rate.unit}: usage is not negative")
    per = rate.per
    step = rate.step
    unit_micros = rounding.unit_micros
    # (fee + whole steps · price / per) as one fraction over `per`, so that the one division below is the one rounding.
    numerator = rate.fee_micros * per + -(-units // step) * step * rate.price_micros
    micros = divide(numerator, per * unit_micros, rounding.mode) * unit_micros
    if micros > MAX_AMOUNT:
        raise OverflowError(f"the price of {units} {rate.unit} is beyond 2^63 - 1 micros")
    return micros


def quota(rate: Rate, micros: int, rounding: Rounding) -> int:
    """The largest number of units, in whole steps, with `price` ≤ `micros`: what a session may use for that money.

    0 when not even the fee and the first step fit. At most UNLIMITED, which is also the answer when steps cost nothing.
    Where rounding is `down` or `half-even`, a balance of 0 still pays for the steps that round to 0.
    """
    if micros < 0:
        return 0
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
