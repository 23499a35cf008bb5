import pytest
from sqlalchemy import Engine, text

from charging import audit, tables
from charging.audit import Violation, check
from charging.database import reading
from charging.settle import Cut
from tests.store.shop import Shop, plan_by_volume

WRITTEN_ONCE = ("transfer", "usage_line")


@pytest.fixture
def shop(engine: Engine) -> Shop:
    """Three accounts: one that paid and used, one with nothing, one that a batch could not know."""
    shop = Shop(engine)
    shop.nas()
    version = shop.plan(plan_by_volume())
    anna, _bob, carl = shop.account("anna"), shop.account("bob"), shop.account("carl")
    for account_id, name, paid in ((anna, "anna", "10.00"), (carl, "carl", "0.10")):
        shop.subscriber(account_id, name)
        shop.pay(name, paid)
        shop.pay(name, "5MB", unit="octets")
        closed, live = (shop.login(account_id, 1, name, version, device) for device in ("d1", "d2"))
        for session_id in (closed, live):
            shop.now += 1_000
            shop.report(account_id, session_id, "start")
        for minute in (1, 2):
            shop.now += 60_000
            for session_id in (closed, live):
                shop.report(
                    account_id, session_id, "interim", up=minute * 10_000, down=minute * 6_000_000, seconds=60 * minute
                )
        shop.report(account_id, closed, "stop", up=25_000, down=12_500_000, seconds=125)
    return shop


def found(shop: Shop) -> list[Violation]:
    with reading(shop.engine) as connection:
        return check(connection, shop.now).found


def edit(shop: Shop, statement: str) -> None:
    """As somebody with all rights would: past the triggers."""
    with shop.engine.begin() as connection:
        for table in WRITTEN_ONCE:
            if shop.engine.dialect.name == "postgresql":
                connection.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
            else:
                connection.execute(text(f"DROP TRIGGER IF EXISTS {table}_no_update"))
                connection.execute(text(f"DROP TRIGGER IF EXISTS {table}_no_delete"))
        assert connection.execute(text(statement)).rowcount != 0


def test_what_the_server_wrote_holds(shop: Shop) -> None:
    with reading(shop.engine) as connection:
        result = check(connection, shop.now)
    assert result.found == []
    assert (result.accounts, result.transfers) == (3, len(shop.rows(tables.transfer)))
    assert result.transfers >= 6


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        # the ledger
        ("UPDATE transfer SET amount = amount + 1 WHERE account_id = 1 AND seq = 1",
         ["chains: anna: transfer 1 was changed after it was written",
          "balances: anna: bucket 1 (money): balance 9606000 money, but its transfers make"]),
        ("UPDATE transfer SET actor = 'nobody' WHERE account_id = 1 AND seq = 2",
         ["chains: anna: transfer 2 was changed after it was written"]),
        ("DELETE FROM transfer WHERE account_id = 1 AND seq = 1", ["chains: anna: transfer 1 is missing"]),
        ("DELETE FROM transfer WHERE account_id = 1 AND seq = (SELECT max(seq) FROM transfer WHERE account_id = 1)",
         ["chains: anna: the ledger ends at transfer"]),
        ("UPDATE transfer SET account_id = 77 WHERE account_id = 1 AND seq = 1",
         ["chains: anna: transfer 1 is missing", "chains: #77: has transfers, but there is no such account"]),
        ("UPDATE account SET ledger_seq = 1 WHERE account_id = 2",
         ["chains: bob: the ledger ends at transfer 0, but the account counted 1"]),
        ("UPDATE transfer SET credit = 'bucket:99' WHERE account_id = 1 AND seq = 1",
         ["buckets of transfers: anna: the ledger moved 10000000 money to bucket:99, but there is no such bucket"]),
        # balances and holds
        ("UPDATE bucket SET balance = balance + 1 WHERE account_id = 1 AND unit = 'money'",
         ["balances: anna: bucket 1 (money): balance"]),
        ("UPDATE bucket SET held = held + 1 WHERE account_id = 1 AND unit = 'money'", ["holds: anna: bucket 1 (money)"]),
        ("UPDATE bucket SET held = balance + 1 WHERE account_id = 1 AND unit = 'money'",
         ["cover of holds: anna: bucket 1 (money)"]),
        # charges
        ("UPDATE session_charge SET posted = posted + 1 WHERE account_id = 1 AND bucket_id = 1 AND NOT live",
         ["postings: anna: session", "closed sessions: anna: session"]),
        ("UPDATE session_charge SET accrued = accrued + 1 WHERE account_id = 1 AND bucket_id = 1 AND live",
         ["draws: anna: session", "balances: anna"]),
        ("UPDATE session_charge SET live = NOT live WHERE account_id = 1", ["closed sessions: anna: session"]),
        ("UPDATE session_charge SET held = 5 WHERE account_id = 1 AND NOT live", ["closed sessions: anna: session"]),
        # meters
        ("UPDATE session SET octets_down = octets_down + 1 WHERE account_id = 1 AND closed_at IS NULL",
         ["marks: anna: session"]),
        ("UPDATE session SET seconds = seconds + 1 WHERE account_id = 1 AND closed_at IS NULL", ["marks: anna: session"]),
        ("UPDATE usage_line SET octets_up_to = octets_up_to + 1 WHERE account_id = 1 AND line_no = 1",
         ["usage lines: anna: session", "marks: anna: session"]),
        ("DELETE FROM usage_line WHERE account_id = 1 AND line_no = 1", ["usage lines: anna: session"]),
        ("UPDATE usage_line SET draws = '[]' WHERE account_id = 1 AND line_no = 2", ["draws: anna: session"]),
        ("UPDATE usage_line SET draws = 'x' WHERE account_id = 1 AND line_no = 2", ["draws: anna: session"]),
        ("UPDATE usage_line SET amount_micros = 1 WHERE account_id = 1 AND line_no = 2", ["draws: anna: session"]),
        # sessions
        ("UPDATE session SET session_key = 'same' WHERE closed_at IS NULL", ["session keys: : 2 live sessions have the key same"]),
        # top-ups
        ("UPDATE billing_top_up SET amount = '11.00' WHERE account = 'anna' AND unit = 'money'",
         ["top ups: anna: top-up bank:r1 of 11000000 money is applied, but not in the ledger",
          "top ups: anna: the ledger has a top-up bank:r1 of 10000000 money that no row asked for"]),
        ("DELETE FROM billing_top_up WHERE account = 'anna' AND unit = 'octets'",
         ["top ups: anna: the ledger has a top-up bank:r2 of 5000000 octets that no row asked for"]),
        ("UPDATE billing_top_up SET account = 'gone' WHERE account = 'anna' AND unit = 'octets'",
         ["references: gone: top-up row 2 was applied, but there is no such account"]),
        ("INSERT INTO billing_top_up (source, external_ref, account, amount, status) VALUES ('x', 'y', 'bob', '1', 'applied')",
         ["top ups: bob: top-up x:y of 1000000 money is applied, but not in the ledger"]),
    ],
)  # fmt: skip
def test_every_edit_is_found_and_named(shop: Shop, statement: str, expected: list[str]) -> None:
    edit(shop, statement)
    lines = [f"{v.invariant}: {v.account}: {v.words}" for v in found(shop)]
    for beginning in expected:
        assert any(line.startswith(beginning) for line in lines), lines
    assert not any("carl" in line for line in lines if "session keys" not in line)


def test_the_same_reference_applied_twice_is_found(shop: Shop) -> None:
    with shop.engine.begin() as connection:
        connection.execute(text("DROP INDEX uq_billing_top_up_applied"))
    edit(
        shop,
        "INSERT INTO billing_top_up (source, external_ref, account, amount, status) VALUES ('bank', 'r1', 'bob', '1', 'applied')",
    )
    assert Violation("references", "", "top-up bank:r1 was applied 2 times") in found(shop)


def test_a_command_for_a_session_that_is_over_is_found(shop: Shop) -> None:
    (live,) = shop.rows(tables.session, tables.session.c.closed_at.is_(None), tables.session.c.account_id == 1)
    shop.settle(Cut(1, None, live.session_id, "operator"))
    shop.report(1, live.session_id, "stop", up=25_000, down=12_500_000, seconds=125)
    assert found(shop) == []  # the session's end let it go
    edit(shop, "UPDATE command SET state = 'pending'")
    (violation,) = [v for v in found(shop) if v.account == "anna"]
    assert violation.words.endswith(f"is pending, but its session {live.session_id} is closed")


def test_accounts_are_looked_at_range_by_range(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ACCOUNTS_AT_ONCE", 2)
    seen: list[tuple[int, int]] = []
    edit(shop, "UPDATE bucket SET held = held + 1 WHERE unit = 'money'")
    with reading(shop.engine) as connection:
        result = check(connection, shop.now, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(2, 3), (3, 3)]
    assert [v.account for v in result.found if v.invariant == "holds"] == ["anna", "bob", "carl"]


def test_no_more_violations_are_kept_than_asked_for(shop: Shop) -> None:
    edit(shop, "UPDATE bucket SET held = held + 1 WHERE unit = 'money'")
    with reading(shop.engine) as connection:
        assert len(check(connection, shop.now, most=2).found) == 2
