import pytest
from sqlalchemy import Engine, text

from charging import foreign, inbox, tables
from charging.inbox import MOST_CHARACTERS, Pending
from charging.money import MAX_AMOUNT
from charging.payment import NotApplied, TopUp
from tests.store.shop import Shop, euros


@pytest.fixture
def shop(engine: Engine) -> Shop:
    return Shop(engine)


def read(shop: Shop, limit: int = 100) -> Pending:
    """One turn without `settle`: what is waiting, the answers written."""
    with shop.engine.begin() as connection:
        page = inbox.pending(connection, limit)
        foreign.answer(connection, inbox.INBOX, page.answers)
        return page


def turn(shop: Shop) -> None:
    """One whole turn."""
    shop.settle(*read(shop).top_ups)


def status(shop: Shop, top_up_id: int) -> tuple[str, str | None]:
    with shop.engine.connect() as connection:
        found = foreign.status_of(connection, inbox.INBOX, top_up_id)
        return found.status, found.error


@pytest.mark.parametrize(
    ("unit", "amount", "expected"),
    [
        ("money", "10.00", euros(10)),
        ("money", "10", euros(10)),
        ("money", "0.01", 10_000),
        ("octets", "5GB", 5_000_000_000),
        ("octets", "5000000", 5_000_000),
        ("octets", "1GiB", 2**30),
        ("seconds", "2h", 7_200),
        ("seconds", "90", 90),
    ],
)
def test_an_amount_is_read_in_the_unit_of_its_row(shop: Shop, unit: str, amount: str, expected: int) -> None:
    account_id = shop.account()
    top_up_id = shop.put("anna", amount, unit=unit, ref="77")
    assert read(shop).top_ups == [TopUp(account_id, top_up_id, unit, expected, "bank:77", "billing:bank")]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"account": "bob"}, "account: there is no account 'bob'"),
        ({"account": " "}, "account: is empty"),
        ({"unit": "bytes"}, "unit: 'bytes' is unknown; write money, octets or seconds"),
        ({"amount": "10,00"}, "amount: '10,00' is not an amount of money; write 10.00"),
        ({"amount": "1.234,50"}, "amount: '1.234,50' is not an amount of money; write 1234.50"),
        ({"amount": "10.001"}, "amount: '10.001' has too many decimals: EUR has 2; write for example 10.00"),
        ({"amount": "-5"}, "amount: '-5' is not an amount of money; write an amount that is not negative"),
        ({"amount": "0.00"}, "amount: '0.00' is nothing; write an amount above zero"),
        (
            {"amount": "5GB"},
            "amount: '5GB' is not an amount of money; write for example 10.00, or unit 'octets' where that is meant",
        ),
        ({"amount": "lots", "unit": "octets"}, "amount: 'lots': not an amount of octets; write for example 500MB, 5GB or 5GiB"),
        ({"amount": "-1", "unit": "seconds"}, "amount: '-1': not a time span; write for example 90s, 30m, 1h30m, 30 days or 1 month"),
        ({"currency": "USD"}, "currency: USD is not the account's; it is kept in EUR"),
        ({"currency": "eur"}, "currency: 'eur' is not a currency; write EUR"),
        ({"source": "a:b"}, "source: 'a:b' holds a colon; leave it out"),
        ({"external_ref": ""}, "external_ref: is empty"),
        ({"external_ref": "7\n8"}, "external_ref: '7\\n8' holds a control character"),
        ({"external_ref": "7" * 256}, "external_ref: is longer than 255 characters"),
        ({"comment": "x" * 1001}, "comment: is longer than 1000 characters"),
        ({"amount": "9" * 1_000_000}, "amount: is longer than 64 characters"),
    ],
)  # fmt: skip
def test_a_bad_row_is_told_what_would_be_right(shop: Shop, columns: dict[str, str], error: str) -> None:
    shop.account()
    row = {"account": "anna", "amount": "10.00", "source": "bank", "external_ref": "1"} | columns
    top_up_id = shop.put(**row)
    assert read(shop).top_ups == []
    assert status(shop, top_up_id) == ("error", error)
    assert read(shop).rows == 0, "an answered row is not looked at again"


@pytest.mark.parametrize("name", sorted(MOST_CHARACTERS))
def test_a_text_of_the_longest_length_is_not_too_long(shop: Shop, name: str) -> None:
    shop.account()
    row = {"account": "anna", "amount": "10.00", "source": "bank", "external_ref": "1"} | {
        name: "ü" * MOST_CHARACTERS[name]
    }
    top_up_id = shop.put(**row)
    read(shop)
    assert "longer" not in (status(shop, top_up_id)[1] or "")


@pytest.mark.parametrize("column", ["source", "external_ref", "account", "amount", "comment"])
@pytest.mark.parametrize("value", ["X'ff00fe'", "CAST(X'ff' AS TEXT)", "'7' || char(0)", "zeroblob(5000000)"])
def test_bytes_where_text_should_be_hold_up_nobody(sqlite_url: str, column: str, value: str) -> None:
    """SQLite keeps whatever it is given; PostgreSQL refuses these at the door."""
    from charging.database import open_engine

    shop = Shop(open_engine(sqlite_url))
    account_id = shop.account()
    bad = shop.put("anna", "10.00")
    with shop.engine.begin() as connection:
        connection.execute(text(f"UPDATE billing_top_up SET {column} = {value}"))
    good = shop.put("anna", "1.00")
    turn(shop)
    found, error = status(shop, bad)
    assert found == "error"
    assert error is not None
    assert error.startswith(f"{column}: ")
    assert status(shop, good) == ("applied", None)
    assert shop.balance(account_id) == euros(1)
    shop.engine.dispose()


def test_the_same_reference_with_the_same_content_is_the_same_payment(shop: Shop) -> None:
    account_id = shop.account()
    first = shop.pay("anna", "10.00", ref="77")
    again = shop.put("anna", "10", ref="77", currency="EUR", comment="sent twice")
    turn(shop)
    assert status(shop, again) == ("duplicate", None)
    assert shop.balance(account_id) == euros(10)
    rows = {row.top_up_id: row.applied_at for row in shop.rows(tables.billing_top_up)}
    assert rows[again] == rows[first] is not None


@pytest.mark.parametrize(
    "columns",
    [
        {"amount": "10.01"},
        {"account": "bob"},
        {"unit": "octets", "amount": "10000000"},
        {"unit": "octets", "amount": "10"},
    ],
)
def test_the_same_reference_with_other_content_is_an_error(shop: Shop, columns: dict[str, str]) -> None:
    account_id = shop.account()
    shop.account("bob")
    shop.pay("anna", "10.00", ref="77")
    other = shop.put(**{"account": "anna", "amount": "10.00", "ref": "77"} | columns)
    turn(shop)
    assert status(shop, other) == (
        "error",
        (
            "external_ref: '77' of 'bank' was already used on 2026-03-01 12:00 UTC for 10.00 EUR to account 'anna'; "
            "a new payment needs a reference of its own"
        ),
    )
    assert shop.balance(account_id) == euros(10)


def test_a_reference_belongs_to_its_source(shop: Shop) -> None:
    account_id = shop.account()
    shop.pay("anna", "10.00", ref="77", source="bank")
    shop.pay("anna", "10.00", ref="77", source="shop")
    assert shop.balance(account_id) == euros(20)


def test_a_row_that_was_wrong_may_be_sent_again_under_its_reference(shop: Shop) -> None:
    account_id = shop.account()
    shop.put("anna", "10,00", ref="77")
    turn(shop)
    corrected = shop.put("anna", "10.00", ref="77")
    turn(shop)
    assert status(shop, corrected) == ("applied", None)
    assert shop.balance(account_id) == euros(10)


def test_of_two_equal_rows_in_one_read_the_second_waits_for_the_first(shop: Shop) -> None:
    account_id = shop.account()
    first, second = (shop.put("anna", "10.00", ref="77") for _ in range(2))
    turn(shop)
    assert [status(shop, i)[0] for i in (first, second)] == ["applied", "pending"]
    turn(shop)
    assert [status(shop, i)[0] for i in (first, second)] == ["applied", "duplicate"]
    assert shop.balance(account_id) == euros(10)


def test_an_answer_never_overwrites_an_applied_row(shop: Shop) -> None:
    shop.account()
    top_up_id = shop.pay("anna", "10.00")
    with shop.engine.begin() as connection:
        assert foreign.answer(connection, inbox.INBOX, [foreign.refusal(top_up_id, "no-account")]) == 0
    assert status(shop, top_up_id) == ("applied", None)


def test_a_late_commit_with_a_lower_number_is_seen(shop: Shop) -> None:
    account_id = shop.account()
    late = shop.put("anna", "1.00")
    shop.pay("anna", "2.00")
    turn(shop)
    assert status(shop, late) == ("applied", None)
    assert shop.balance(account_id) == euros(3)


def test_a_page_is_no_longer_than_its_limit_and_leaves_out_what_it_is_told_to(shop: Shop) -> None:
    shop.account()
    first, second, third = (shop.put("anna", "1.00") for _ in range(3))
    with shop.engine.begin() as connection:
        assert [t.top_up_id for t in inbox.pending(connection, 2).top_ups] == [first, second]
        assert [t.top_up_id for t in inbox.pending(connection, 2, without=[first]).top_ups] == [second, third]
        assert [t.top_up_id for t in inbox.pending(connection, 2, only=third).top_ups] == [third]


def test_what_no_balance_can_hold_is_refused(shop: Shop) -> None:
    shop.account()
    shop.pay("anna", "1")
    most = shop.put("anna", str(MAX_AMOUNT // 10**6))
    top_ups = read(shop).top_ups
    (outcome,) = shop.settle(*top_ups)
    assert isinstance(outcome, NotApplied)
    with shop.engine.begin() as connection:
        foreign.answer(connection, inbox.INBOX, [foreign.refusal(most, outcome.reason)])
    assert status(shop, most) == ("error", "amount: the balance would be larger than 2^63")


@pytest.mark.parametrize("index", ["ix_billing_top_up_pending", "uq_billing_top_up_applied"])
def test_the_inbox_is_read_through_its_partial_indexes(sqlite_url: str, index: str) -> None:
    from sqlalchemy import event

    from charging.database import open_engine

    engine = open_engine(sqlite_url)
    shop = Shop(engine)
    shop.account()
    shop.put("anna", "10.00")
    statements = []
    event.listen(engine, "after_cursor_execute", lambda *seen: statements.append((seen[2], seen[3])))
    read(shop)
    with engine.connect() as connection:
        explained = "\n".join(
            str(row)
            for statement, values in list(statements)
            if statement.startswith("SELECT")
            for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
        )
    assert index in explained
    engine.dispose()


def test_a_look_finds_what_is_pending_by_the_partial_index(sqlite_url: str) -> None:
    from charging.database import open_engine

    engine = open_engine(sqlite_url)
    shop = Shop(engine)
    shop.account()
    said: list[str] = []
    with engine.connect().execution_options(reading=True) as connection:
        connection.connection.driver_connection.set_trace_callback(said.append)  # type: ignore[union-attr]
        assert not foreign.waits(connection, inbox.INBOX)
        (statement,) = (each for each in said if each.startswith("SELECT"))
        explained = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}").fetchall()
    assert "ix_billing_top_up_pending" in str(explained)
    shop.put("anna", "10.00")
    with engine.connect() as connection:
        assert foreign.waits(connection, inbox.INBOX)
    for top_up in read(shop).top_ups:
        shop.settle(top_up)
    with engine.connect() as connection:
        assert not foreign.waits(connection, inbox.INBOX)
    engine.dispose()
