"""Orders on real databases: through the inbox and `settle`, the ledger checked after each."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import Engine, insert, update

from charging import foreign, inbox, order_inbox, tables, voucher_batch
from charging.audit import check
from charging.auto_top_up import AGAIN_AFTER_MS
from charging.database import reading
from charging.order import Order
from charging.payment import TopUp
from charging.plan import Duration, Rate, Tier
from charging.settle import settle
from charging.terms import Terms
from charging.voucher import FAILURES_FORGOTTEN_MS, MOST_FAILURES, check_character, in_groups, read_code
from charging.voucher_batch import NewBatch
from tests.store.shop import Shop, euros, plan_by_volume

DAY_MS = 86_400_000


@dataclass
class Counter(Shop):
    """A shop that takes orders, and whose books are looked over when the day is done."""

    version: int = 0

    def order(self, kind: str, account: str, **columns: Any) -> int:
        """A row of the orders' inbox; its id."""
        ref = columns.pop("ref", None) or f"o{next(self.numbers)}"
        with self.engine.begin() as connection:
            return order_inbox.put(
                connection, source="shop", external_ref=ref, kind=kind, account=account, **columns  # type: ignore[arg-type]
            )  # fmt: skip

    def turn(self) -> None:
        """What a running server does with both inboxes."""
        with self.engine.begin() as connection:
            top_ups = inbox.pending(connection, 100)
            foreign.answer(connection, inbox.INBOX, top_ups.answers)
            orders = order_inbox.pending(connection, 100)
            foreign.answer(connection, order_inbox.INBOX, orders.answers)
        items: list[TopUp | Order] = [*top_ups.top_ups, *orders.orders]
        with self.engine.begin() as connection:
            outcomes = settle(connection, items, self.now, self.plans, self.chance).outcomes
        with self.engine.begin() as connection:
            for item, outcome in zip(items, outcomes, strict=True):
                reason = getattr(outcome, "reason", None)
                if reason is None:
                    continue
                if isinstance(item, Order):
                    foreign.answer(connection, order_inbox.INBOX, [foreign.refusal(item.order_id, reason)])
                else:
                    foreign.answer(connection, inbox.INBOX, [foreign.refusal(item.top_up_id, reason)])

    def ordered(self, kind: str, account: str, **columns: Any) -> str | None:
        """Order it and take a turn: the row's error, None where it was carried out."""
        order_id = self.order(kind, account, **columns)
        self.turn()
        return self.answer_of(order_id)[1]

    def answer_of(self, order_id: int) -> tuple[str, str | None]:
        with self.engine.connect() as connection:
            return tuple(foreign.status_of(connection, order_inbox.INBOX, order_id))  # type: ignore[return-value]

    def batch(self, name: str = "spring", count: int = 3, **columns: Any) -> list[str]:
        """Codes of a new batch of vouchers worth 10 EUR each."""
        values: dict[str, Any] = {
            "unit": "money", "amount": euros(10), "currency": "EUR", "validity": None, "expires_at": None,
            "comment": None,
        } | columns  # fmt: skip
        with self.engine.begin() as connection:
            new = NewBatch(name, count, **values)
            return [p.code for p in voucher_batch.generate(connection, new, self.chance.choice, self.now, "test")]

    def ledger(self, account_id: int) -> list[tuple[str, str, int, str]]:
        rows = self.rows(tables.transfer, tables.transfer.c.account_id == account_id)
        return [(row.debit, row.credit, row.amount, row.kind) for row in sorted(rows, key=lambda row: row.seq)]

    def used_session(self, account_id: int, *, down: int = 10_000_000, seconds: int = 60, stop: bool = True) -> int:
        """A session of the account's subscriber that used so much at 0.02 EUR per MB."""
        session_id = self.login(account_id, 1, "anna", self.version, device=f"d{next(self.numbers)}")
        self.report(account_id, session_id, "start")
        self.now += seconds * 1_000
        self.report(account_id, session_id, "stop" if stop else "interim", down=down, seconds=seconds)
        return session_id


@pytest.fixture
def shop(engine: Engine) -> Iterator[Counter]:
    shop = Counter(engine)
    shop.nas()
    shop.version = shop.plan(plan_by_volume())
    yield shop
    with reading(engine) as connection:
        assert check(connection, shop.now).found == []


# --- top-ups that last for a time ------------------------------------------------------------------------------------


def test_what_is_paid_in_for_a_time_has_a_bucket_of_its_own_that_ends(shop: Counter) -> None:
    account_id = shop.account()
    shop.put("anna", "5.00", validity="30 days")
    shop.put("anna", "5.00", validity="30 days")
    shop.put("anna", "1GB", unit="octets", validity="1 month")
    shop.put("anna", "1.00")
    shop.turn()
    buckets = {(b.unit, b.expires_at): b.balance for b in shop.rows(tables.bucket)}
    assert buckets == {
        ("money", None): euros(1),
        ("money", shop.now + 30 * DAY_MS): euros(10),
        ("octets", shop.now + 31 * DAY_MS): 10**9,
    }
    # The one that ends is drawn first, and what it lacks comes from the purse.
    shop.subscriber(account_id, "anna")
    paid_at = shop.now
    shop.used_session(account_id, down=10**9 + 520_000_000, seconds=3_600)
    left = {(b.unit, b.expires_at): b.balance for b in shop.rows(tables.bucket)}
    assert left[("money", paid_at + 30 * DAY_MS)] == 0
    assert left[("money", None)] == euros(1) - 400_000


@pytest.mark.parametrize(
    ("validity", "error"),
    [
        ("soon", "validity: 'soon': not a time span; write for example 90s, 30m, 1h30m, 30 days or 1 month"),
        ("0s", "validity: '0s' is no time at all; write for example 30 days or 1 month"),
    ],
)
def test_a_validity_that_is_none_is_told(shop: Counter, validity: str, error: str) -> None:
    shop.account()
    top_up_id = shop.put("anna", "5.00", validity=validity)
    shop.turn()
    with shop.engine.connect() as connection:
        assert foreign.status_of(connection, inbox.INBOX, top_up_id) == ("error", error)


def test_the_same_reference_with_another_validity_is_an_error(shop: Counter) -> None:
    shop.account()
    shop.put("anna", "5.00", ref="1")
    shop.turn()
    again = shop.put("anna", "5.00", ref="1", validity="30 days")
    shop.turn()
    with shop.engine.connect() as connection:
        assert foreign.status_of(connection, inbox.INBOX, again).status == "error"


def test_a_payment_extends_the_service_as_the_plan_says(shop: Counter) -> None:
    account_id = shop.account()
    shop.plan(plan_by_volume(name="lasting", top_up_extends=Duration(seconds=30 * 86_400)))
    shop.plan(plan_by_volume(name="plain"))
    ends = {"soon": shop.now + DAY_MS, "past": shop.now - DAY_MS, "late": shop.now + 90 * DAY_MS, "never": None}
    for name, expires_at in ends.items():
        subscriber_id = shop.subscriber(account_id, name, "lasting")
        with shop.engine.begin() as connection:
            which = tables.subscriber.c.subscriber_id == subscriber_id
            connection.execute(update(tables.subscriber).where(which).values(expires_at=expires_at))
    plain = shop.subscriber(account_id, "plain", "plain")
    with shop.engine.begin() as connection:
        which = tables.subscriber.c.subscriber_id == plain
        connection.execute(update(tables.subscriber).where(which).values(expires_at=shop.now + DAY_MS))

    def expiries() -> dict[str, int | None]:
        return {row.username: row.expires_at for row in shop.rows(tables.subscriber)}

    shop.put("anna", "5.00")
    shop.turn()
    extended = shop.now + 30 * DAY_MS
    assert expiries() == {
        "soon": extended, "past": extended, "late": ends["late"], "never": None, "plain": shop.now + DAY_MS,
    }  # fmt: skip
    shop.now += DAY_MS
    (code,) = shop.batch(count=1)
    assert shop.ordered("redeem", "anna", code=code) is None
    assert expiries()["soon"] == extended + DAY_MS
    assert shop.ordered("redeem", "anna", code=code) is not None
    shop.now += DAY_MS
    shop.put("anna", "nothing")
    shop.turn()
    assert expiries()["soon"] == extended + DAY_MS, "only what is paid in counts"


# --- vouchers --------------------------------------------------------------------------------------------------------


def test_a_voucher_is_redeemed_once_and_its_code_is_kept_nowhere(shop: Counter) -> None:
    account_id, other = shop.account(), shop.account("bob")
    code, *_ = shop.batch()
    order_id = shop.order("redeem", "anna", code=code.lower().replace("-", " "), ref="v1")
    shop.turn()
    assert shop.answer_of(order_id) == ("applied", None)
    assert shop.balance(account_id) == euros(10)
    assert shop.ledger(account_id) == [("voucher", "bucket:1", euros(10), "voucher")]
    for account in ("anna", "bob"):
        assert shop.ordered("redeem", account, code=code) == "code: this voucher was redeemed before"
    assert (shop.balance(account_id), shop.balance(other)) == (euros(10), 0)
    row, *rest = sorted(shop.rows(tables.voucher), key=lambda row: row.serial)
    assert (row.state, row.account_id, row.reference, row.actor) == ("redeemed", account_id, "shop:v1", "billing:shop")
    assert {each.state for each in rest} == {"ready"}
    everything = repr([shop.rows(table) for table in tables.metadata.sorted_tables])
    assert code not in everything
    assert read_code(code) not in everything
    assert [(n.kind, n.detail) for n in shop.rows(tables.notice)] == [("voucher-used", "spring/1")]


def test_the_same_order_again_is_a_duplicate(shop: Counter) -> None:
    account_id = shop.account()
    first, second, _ = shop.batch()
    assert shop.ordered("redeem", "anna", code=first, ref="v1") is None
    again = shop.order("redeem", "anna", code=first, ref="v1")
    shop.turn()
    assert shop.answer_of(again) == ("duplicate", None)
    assert shop.ordered("redeem", "anna", code=second, ref="v1") == (
        "external_ref: 'v1' of 'shop' was already used on 2026-03-01 12:00 UTC to redeem with account 'anna'; "
        "a new order needs a reference of its own"
    )
    assert shop.balance(account_id) == euros(10)


def test_two_orders_for_one_voucher_in_one_batch(shop: Counter) -> None:
    account_id, other = shop.account(), shop.account("bob")
    code, *_ = shop.batch()
    orders = [shop.order("redeem", account, code=code) for account in ("anna", "bob")]
    shop.turn()
    assert [shop.answer_of(i)[0] for i in orders] == ["applied", "error"]
    assert (shop.balance(account_id), shop.balance(other)) == (euros(10), 0)


def test_vouchers_end_are_void_or_in_another_currency(shop: Counter) -> None:
    shop.account()
    late, *_ = shop.batch("late", expires_at=shop.now + 1)
    dollars, *_ = shop.batch("dollars", currency="USD")
    voided, kept, _ = shop.batch("void")
    with shop.engine.begin() as connection:
        assert voucher_batch.void(connection, "void", 1, shop.now, "test") == 1
    shop.now += 1
    assert shop.ordered("redeem", "anna", code=late) == "code: this voucher has expired"
    assert shop.ordered("redeem", "anna", code=dollars) == "code: this voucher is in USD, the account in EUR"
    assert shop.ordered("redeem", "anna", code=voided) == "code: this voucher is void"
    assert shop.ordered("redeem", "anna", code=kept) is None
    with shop.engine.begin() as connection:
        assert voucher_batch.void(connection, "void", None, shop.now, "test") == 1, "not the one that was redeemed"
        states = [line.state for line in voucher_batch.vouchers(connection, "void", shop.now, limit=9)]
    assert states == ["void", "redeemed", "void"]


def test_what_a_voucher_pays_in_may_last_for_a_time(shop: Counter) -> None:
    account_id = shop.account()
    code, *_ = shop.batch(unit="octets", amount=10**9, currency=None, validity=Duration(seconds=86_400))
    assert shop.ordered("redeem", "anna", code=code) is None
    (bucket,) = shop.rows(tables.bucket, tables.bucket.c.account_id == account_id, tables.bucket.c.unit == "octets")
    assert (bucket.balance, bucket.expires_at, bucket.source) == (10**9, shop.now + DAY_MS, "top-up")


def guess(number: int) -> str:
    """A code with a right check character that nobody printed."""
    characters = ("ABCDEFGH" * 2)[:14] + "23456789ABCDEF"[number]
    return in_groups(characters + check_character(characters))


def test_guessing_ends_after_some_wrong_codes_for_an_hour(shop: Counter) -> None:
    account_id = shop.account()
    shop.account("bob")
    code, other, _ = shop.batch()
    for number in range(MOST_FAILURES):
        mistyped = code[:-1] + ("2" if code[-1] != "2" else "3")
        assert str(shop.ordered("redeem", "anna", code=mistyped)).startswith("code: this voucher code is mistyped")
        assert shop.ordered("redeem", "anna", code=guess(number)) == "code: there is no such voucher"
    locked = "code: too many wrong voucher codes; try again in an hour"
    assert shop.ordered("redeem", "anna", code=code) == locked
    assert shop.ordered("redeem", "bob", code=other) is None, "nobody else is locked out"
    shop.now += FAILURES_FORGOTTEN_MS - 1
    assert shop.ordered("redeem", "anna", code=code) == locked
    shop.now += 1
    assert shop.ordered("redeem", "anna", code=code) is None
    assert shop.balance(account_id) == euros(10)
    assert shop.ordered("redeem", "anna", code=guess(9)) == "code: there is no such voucher"


# --- transfers between accounts --------------------------------------------------------------------------------------


def test_a_transfer_has_a_half_in_each_ledger(shop: Counter) -> None:
    anna, bob = shop.account(), shop.account("bob")
    shop.pay("anna", "10.00")
    assert shop.ordered("transfer", "anna", to_account="bob", amount="4.00", ref="t1") is None
    assert (shop.balance(anna), shop.balance(bob)) == (euros(6), euros(4))
    assert shop.ledger(anna)[1:] == [("bucket:1", f"account:{bob}", euros(4), "transfer")]
    assert shop.ledger(bob) == [(f"account:{anna}", "bucket:1", euros(4), "transfer")]
    assert (
        shop.ordered("transfer", "anna", to_account="bob", amount="6.01")
        == "amount: there are 6000000 micros to transfer"
    )
    again = shop.order("transfer", "anna", to_account="bob", amount="4", ref="t1")
    shop.turn()
    assert shop.answer_of(again) == ("duplicate", None)
    assert shop.balance(bob) == euros(4)


def test_a_transfer_keeps_when_a_thing_ends_and_takes_no_allowance(shop: Counter) -> None:
    shop.account()
    bob = shop.account("bob")
    shop.put("anna", "1GB", unit="octets", validity="10 days")
    shop.put("anna", "1GB", unit="octets")
    shop.turn()
    ends_at = shop.now + 10 * DAY_MS
    with shop.engine.begin() as connection:
        connection.execute(
            update(tables.bucket).where(tables.bucket.c.expires_at.is_(None), tables.bucket.c.unit == "octets")
            .values(priority=-1)
        )  # fmt: skip
    assert shop.ordered("transfer", "anna", to_account="bob", unit="octets", amount="1.5GB") is None
    theirs = {b.expires_at: b.balance for b in shop.rows(tables.bucket) if b.account_id == bob and b.unit == "octets"}
    assert theirs == {None: 10**9, ends_at: 5 * 10**8}


def test_what_live_sessions_hold_is_not_transferred_or_refunded(shop: Counter) -> None:
    anna = shop.account()
    shop.account("bob")
    shop.subscriber(anna, "anna")
    shop.pay("anna", "1.00")
    shop.used_session(anna, down=1_000_000, stop=False)
    held = shop.rows(tables.bucket, tables.bucket.c.account_id == anna)[0].held
    assert held
    free = euros(1) - 20_000 - held
    for kind, columns in (("transfer", {"to_account": "bob"}), ("refund", {})):
        assert shop.ordered(kind, "anna", amount="0.98", **columns) == (
            f"amount: there are {free} micros to {kind}; live sessions hold {held} more"
        )


def test_two_accounts_pay_each_other_in_one_batch(shop: Counter) -> None:
    anna, bob = shop.account(), shop.account("bob")
    shop.pay("anna", "10.00")
    shop.pay("bob", "10.00")
    shop.order("transfer", "anna", to_account="bob", amount="3.00")
    shop.order("transfer", "bob", to_account="anna", amount="5.00")
    shop.turn()
    assert (shop.balance(anna), shop.balance(bob)) == (euros(12), euros(8))


def test_a_transfer_restores_the_other_account_s_session(shop: Counter) -> None:
    anna = shop.account()
    shop.account("bob")
    shop.subscriber(anna, "anna")
    shop.pay("anna", "0.02")
    shop.pay("bob", "5.00")
    shop.used_session(anna, down=2_000_000, stop=False)
    assert [row.wanted for row in shop.rows(tables.session)] == ["exhausted"]
    assert shop.ordered("transfer", "bob", to_account="anna", amount="5.00") is None
    assert [row.wanted for row in shop.rows(tables.session)] == ["full"]


# --- refunds, adjustments --------------------------------------------------------------------------------------------


def test_a_refund_is_paid_out_of_what_is_there_and_not_of_credit(shop: Counter) -> None:
    account_id = shop.account(credit_limit_micros=euros(50))
    shop.pay("anna", "10.00")
    assert shop.ordered("refund", "anna", amount="10.01") == "amount: there are 10000000 micros to refund"
    assert shop.ordered("refund", "anna", amount="4.00", reason="moved away") is None
    assert shop.balance(account_id) == euros(6)
    assert shop.ledger(account_id)[1:] == [("bucket:1", "cash", euros(4), "refund")]


def test_an_adjustment_goes_up_or_down_to_the_credit_limit(shop: Counter) -> None:
    account_id = shop.account(credit_limit_micros=euros(5))
    assert shop.ordered("adjust", "anna", amount="2.50", reason="goodwill") is None
    assert shop.ordered("adjust", "anna", amount="-7.00", reason="mistake") is None
    assert shop.balance(account_id) == -euros(9) // 2
    assert shop.ordered("adjust", "anna", amount="-0.51", reason="x") == "amount: there are 500000 micros to take"
    assert shop.ordered("adjust", "anna", unit="octets", amount="-1", reason="x") == (
        "amount: there are 0 octets to take"
    )
    assert shop.ordered("adjust", "anna", unit="octets", amount="1GB", reason="outage") is None
    assert shop.balance(account_id, "octets") == 10**9
    (octets,) = shop.rows(tables.bucket, tables.bucket.c.unit == "octets")
    assert shop.ordered("adjust", "anna", unit="octets", amount="-1GB", bucket_id=octets.bucket_id, reason="x") is None
    assert shop.balance(account_id, "octets") == 0
    assert str(shop.ordered("adjust", "anna", amount="1.00", bucket_id=octets.bucket_id, reason="x")).startswith(
        f"bucket_id: the account has no bucket {octets.bucket_id} of money"
    )


# --- reversals -------------------------------------------------------------------------------------------------------


def test_a_session_s_charges_go_back_to_exactly_the_buckets_that_were_drawn(shop: Counter) -> None:
    account_id = shop.account()
    shop.subscriber(account_id, "anna")
    shop.put("anna", "4MB", unit="octets", validity="1 day")
    shop.put("anna", "1MB", unit="octets")
    shop.put("anna", "0.50", validity="2 days")
    shop.put("anna", "10.00")
    shop.turn()
    before = {b.bucket_id: b.balance for b in shop.rows(tables.bucket)}
    session_id = shop.used_session(account_id, down=40_000_000)
    assert sorted(b.balance for b in shop.rows(tables.bucket)) != sorted(before.values())
    shop.now += 3 * DAY_MS  # two of them have ended meanwhile
    assert shop.ordered("reverse", "anna", session_id=session_id, reason="line was down", ref="r1") is None
    assert {b.bucket_id: b.balance for b in shop.rows(tables.bucket)} == before
    assert len(shop.rows(tables.reversal)) == 4
    assert shop.ordered("reverse", "anna", session_id=session_id, reason="again") == (
        "session_id: all that it was charged was reversed before"
    )


def test_only_what_has_ended_and_what_this_account_paid_is_reversed(shop: Counter) -> None:
    account_id = shop.account()
    shop.subscriber(account_id, "anna")
    shop.account("bob")
    shop.pay("anna", "10.00")
    live = shop.used_session(account_id, stop=False)
    nothing = "session_id: nothing was charged to this account for a session"
    assert str(shop.ordered("reverse", "bob", session_id=live, reason="x")).startswith(nothing)
    shop.now += 3_600_000
    shop.report(account_id, live, "interim", down=11_000_000, seconds=3660)
    assert shop.ordered("reverse", "anna", session_id=live, reason="x") == (
        "session_id: it is still live; disconnect it first"
    )


def test_one_transfer_is_reversed_once(shop: Counter) -> None:
    account_id = shop.account()
    shop.account("bob")
    shop.pay("anna", "10.00")
    shop.ordered("transfer", "anna", to_account="bob", amount="1.00")
    assert (
        shop.ordered("reverse", "anna", transfer_seq=1, reason="x") == "amount: there are 9000000 micros to take back"
    )
    shop.pay("anna", "5.00")
    assert shop.ordered("reverse", "anna", transfer_seq=1, reason="charged back") is None
    assert shop.balance(account_id) == euros(4)
    assert shop.ledger(account_id)[-1] == ("bucket:1", "cash", euros(10), "reversal")
    for seq, problem in (
        (1, "it was reversed by transfer 4"),
        (2, "the other account has its half; transfer it back instead"),
        (4, "it is a reversal itself; adjust the account instead"),
        (9, "there is no such transfer"),
    ):
        assert shop.ordered("reverse", "anna", transfer_seq=seq, reason="x") == f"transfer_seq: {problem}"


def test_a_shortfall_is_reversed_without_any_bucket(shop: Counter) -> None:
    account_id = shop.account()
    shop.subscriber(account_id, "anna")
    shop.pay("anna", "0.02")
    session_id = shop.used_session(account_id, down=5_000_000)
    assert shop.ordered("reverse", "anna", session_id=session_id, reason="x") is None
    assert shop.balance(account_id) == 20_000
    back = {(debit, credit) for debit, credit, _, kind in shop.ledger(account_id) if kind == "reversal"}
    assert back == {("revenue:volume", "bucket:1"), ("revenue:volume", "shortfall:nas-1")}


# --- automatic top-up ------------------------------------------------------------------------------------------------


def requests(shop: Counter) -> list[Any]:
    return sorted(shop.rows(tables.top_up_request), key=lambda row: row.created_at)


def low(shop: Counter) -> tuple[int, int]:
    """An account with 5 EUR that asks for 20 EUR below 3, and a session; their ids."""
    account_id = shop.account()
    shop.subscriber(account_id, "anna")
    shop.pay("anna", "5.00")
    shop.settle(Terms(account_id, auto_below_micros=euros(3), auto_amount_micros=euros(20)))
    session_id = shop.login(account_id, 1, "anna", shop.version)
    shop.report(account_id, session_id, "start")
    return account_id, session_id


def test_below_the_threshold_one_request_is_made_until_it_is_answered(shop: Counter) -> None:
    account_id, session_id = low(shop)
    for minute, megabytes in enumerate((50, 100, 101, 120, 150), start=1):
        shop.now += 60_000
        shop.report(account_id, session_id, "interim", down=megabytes * 10**6, seconds=60 * minute)
    (request,) = requests(shop)
    assert (request.status, request.amount, request.amount_micros, request.balance_micros) == (
        "open", "20.00", euros(20), euros(5) - 101 * 20_000,
    )  # fmt: skip
    wrong = shop.put("anna", "20.00", request_id=request.request_id + 1)
    shop.put("anna", "20.00", request_id=request.request_id, ref="card-1")
    shop.turn()
    with shop.engine.connect() as connection:
        assert foreign.status_of(connection, inbox.INBOX, wrong).error == (
            f"request_id: the account has no open top-up request {request.request_id + 1}"
        )
    (request,) = requests(shop)
    assert (request.status, request.answer, request.answered_at) == ("paid", "bank:card-1", shop.now)
    assert shop.balance(account_id) == euros(22)
    twice = shop.put("anna", "20.00", request_id=request.request_id, ref="card-2")
    shop.turn()
    with shop.engine.connect() as connection:
        assert foreign.status_of(connection, inbox.INBOX, twice).status == "error"
    shop.now += 3_600_000
    shop.report(account_id, session_id, "interim", down=1_110_000_000, seconds=3_900)
    assert [each.status for each in requests(shop)] == ["paid", "open"]


def test_a_declined_request_is_not_repeated_for_a_day(shop: Counter) -> None:
    account_id, session_id = low(shop)
    shop.now += 600_000
    shop.report(account_id, session_id, "interim", down=120_000_000, seconds=600)
    (request,) = requests(shop)
    assert shop.ordered("decline", "anna", request_id=request.request_id, reason="card refused") is None
    assert [(r.status, r.answer) for r in requests(shop)] == [("declined", "card refused")]
    shop.now += AGAIN_AFTER_MS - 1
    shop.report(account_id, session_id, "interim", down=121_000_000, seconds=86_999)
    assert len(requests(shop)) == 1
    shop.now += 1
    shop.report(account_id, session_id, "interim", down=122_000_000, seconds=87_000)
    assert [r.status for r in requests(shop)] == ["declined", "open"]
    shop.settle(Terms(account_id, auto_amount_micros=0))
    assert [r.status for r in requests(shop)] == ["declined", "cancelled"]
    assert str(shop.ordered("decline", "anna", request_id=request.request_id)).startswith(
        "request_id: the account has no"
    )


def test_terms_that_come_too_late_ask_at_once(shop: Counter) -> None:
    account_id = shop.account()
    shop.settle(Terms(account_id, auto_below_micros=1, auto_amount_micros=euros(20)))
    assert [r.status for r in requests(shop)] == ["open"]


# --- credit ----------------------------------------------------------------------------------------------------------


def test_a_higher_credit_limit_restores_and_a_lower_one_ends_what_it_no_longer_covers(shop: Counter) -> None:
    account_id = shop.account()
    shop.subscriber(account_id, "anna")
    shop.pay("anna", "0.02")
    session_id = shop.used_session(account_id, down=1_000_000, stop=False)

    def wanted() -> str:
        return str(shop.rows(tables.session)[0].wanted)

    assert wanted() == "exhausted"
    shop.settle(Terms(account_id, kind="postpaid", credit_limit_micros=euros(30)))
    assert wanted() == "full"
    shop.now += 60_000
    shop.report(account_id, session_id, "interim", down=51_000_000, seconds=120)
    assert shop.balance(account_id) == -euros(1)
    shop.settle(Terms(account_id, credit_limit_micros=euros(1)))
    assert wanted() == "exhausted"
    row = shop.rows(tables.account)[0]
    assert (row.kind, row.credit_limit_micros) == ("postpaid", euros(1))
    shop.pay("anna", "2.00")
    assert wanted() == "full"


# --- rows that are wrong ---------------------------------------------------------------------------------------------


BAD_ORDERS: list[tuple[str, dict[str, Any], str]] = [
    ("steal", {}, "kind: 'steal' is unknown; write redeem, transfer, refund, reverse, adjust, decline, renew"),
    ("redeem", {}, "code: is empty"),
    ("redeem", {"code": "ABCD"}, "code: a voucher code has 16 characters, this one has 4"),
    ("redeem", {"code": "ABCD-EFGH-IJKL-MNOP"}, "code: 'I' is in no voucher code; there is no 0, 1, I, L or O in it"),
    ("redeem", {"code": "x", "amount": "5"}, "amount: does not belong to kind redeem; leave it out"),
    ("transfer", {"amount": "1.00"}, "to_account: is empty"),
    ("transfer", {"amount": "1.00", "to_account": "nobody"}, "to_account: there is no account 'nobody'"),
    ("transfer", {"amount": "1.00", "to_account": "anna"}, "to_account: is the account itself"),
    ("transfer", {"amount": "1.00", "to_account": "usa"}, "to_account: it is kept in USD, this one in EUR"),
    ("transfer", {"amount": "-1.00", "to_account": "bob"},
     "amount: '-1.00' is not an amount of money; write an amount that is not negative"),
    ("refund", {"amount": "1GB", "unit": "octets"}, "unit: 'octets' is not paid out; only money is"),
    ("refund", {}, "amount: is empty"),
    ("refund", {"amount": "1.00", "currency": "USD"}, "currency: USD is not the account's; it is kept in EUR"),
    ("adjust", {"amount": "1.00"}, "reason: is empty"),
    ("adjust", {"amount": "--1.00", "reason": "x"},
     "amount: '-1.00' is not an amount of money; write an amount that is not negative"),
    ("reverse", {"reason": "x"}, "transfer_seq: give this or session_id, one of the two"),
    ("reverse", {"reason": "x", "transfer_seq": 1, "session_id": 1},
     "transfer_seq: give this or session_id, one of the two"),
    ("reverse", {"transfer_seq": 1}, "reason: is empty"),
    ("decline", {}, "request_id: is empty; it is the one of billing_top_up_request"),
    ("refund", {"amount": "1.00", "ref": "a\nb"}, "external_ref: 'a\\nb' holds a control character"),
]  # fmt: skip


def test_an_order_that_is_none_is_told_what_would_be_right(shop: Counter) -> None:
    shop.account()
    shop.account("bob")
    shop.account("usa", currency="USD")
    orders = [shop.order(kind, "anna", **columns) for kind, columns, _ in BAD_ORDERS]
    shop.turn()
    assert [shop.answer_of(i) for i in orders] == [("error", error) for _, _, error in BAD_ORDERS]


def test_numbers_that_are_none_hold_up_nobody(sqlite_url: str) -> None:
    """SQLite keeps whatever it is given."""
    from charging.database import open_engine

    shop = Counter(open_engine(sqlite_url))
    shop.account()
    shop.pay("anna", "1.00")
    bad = []
    for value in ("x", -1, 10**18 * 9, "1.5"):
        row = {"source": "s", "external_ref": str(value), "kind": "reverse", "account": "anna", "reason": "x"}
        with shop.engine.begin() as connection:
            from sqlalchemy import text

            key = connection.execute(insert(tables.billing_order).values(row)).inserted_primary_key
            assert key is not None
            connection.execute(text(f"UPDATE billing_order SET transfer_seq = '{value}' WHERE order_id = {key[0]}"))
            bad.append(key[0])
    good = shop.order("refund", "anna", amount="1.00")
    shop.turn()
    assert [shop.answer_of(i)[0] for i in bad] == ["error"] * 4
    assert shop.answer_of(good) == ("applied", None)
    shop.engine.dispose()


def test_an_order_is_carried_out_once_whatever_the_server_believes(shop: Counter) -> None:
    account_id = shop.account()
    shop.pay("anna", "10.00")
    shop.order("refund", "anna", amount="1.00", ref="1")
    with shop.engine.begin() as connection:
        (item,) = order_inbox.pending(connection, 9).orders
    for _ in range(2):
        with shop.engine.begin() as connection:
            settle(connection, [item, item], shop.now, shop.plans, random.Random(5))
    assert shop.balance(account_id) == euros(9)


def test_what_a_volume_tier_gave_back_is_taken_back_with_the_rest(shop: Counter) -> None:
    """0.02 per MB up to 10 MB, 0.01 for all beyond: at 11 MB the session is cheaper than it was at 10."""
    tiers = (Tier(10_000_000, 20_000, 1_000_000), Tier(None, 10_000, 1_000_000))
    rate = Rate("octets", "total", 20_000, 1_000_000, 1, tiers=tiers, mode="volume")
    account_id = shop.account()
    shop.version = shop.plan(plan_by_volume(name="tiered", rates=(rate,)))
    shop.subscriber(account_id, "anna")
    shop.pay("anna", "50.00")
    session_id = shop.used_session(account_id, down=10_000_000, stop=False)
    shop.now += 3_600_000
    shop.report(account_id, session_id, "interim", down=10_000_000, seconds=3_660)
    shop.now += 60_000
    shop.report(account_id, session_id, "stop", down=11_000_000, seconds=3_720)
    assert shop.balance(account_id) == euros(50) - 110_000
    kinds = [kind for *_, kind in shop.ledger(account_id)]
    assert kinds == ["top-up", "usage", "credit"]
    assert shop.ordered("reverse", "anna", session_id=session_id, reason="x") is None
    assert shop.balance(account_id) == euros(50)
    assert len(shop.rows(tables.reversal)) == 2
