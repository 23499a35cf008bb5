import pytest
from sqlalchemy import text

from charging.database import open_engine
from tests.cli.conftest import Aaa


@pytest.fixture
def anna(shop: Aaa) -> Aaa:
    shop.ok("subscriber", "add", "anna", "--plan", "prepaid-50", "--password", "correct horse battery")
    shop.ok("topup", "anna", "10.00", "--reference", "r1")
    return shop


def test_transfers_are_shown_in_their_order(anna: Aaa) -> None:
    grant, payment = anna.json("ledger", "show", "anna")
    assert (grant["seq"], grant["kind"], grant["unit"], grant["amount"]) == (1, "grant", "octets", 50_000_000_000)
    assert (payment["debit"], payment["credit"], payment["reference"]) == ("cash", "bucket:1", "cli:r1")
    assert [line["seq"] for line in anna.json("ledger", "show", "anna", "--limit", "1")] == [2]
    assert "10.00 EUR" in anna.ok("ledger", "show", "anna")


def test_a_sound_ledger_says_so(anna: Aaa) -> None:
    assert anna.ok("ledger", "check") == "ledger: 2 transfers of 1 account, all invariants hold\n"
    assert anna.json("ledger", "check") == {"transfers": 2, "accounts": 1, "violations": [], "not_compared": []}


def test_an_edited_row_is_found(anna: Aaa) -> None:
    engine = open_engine(anna.database_url)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ALTER TABLE transfer DISABLE TRIGGER USER"))
        else:
            connection.execute(text("DROP TRIGGER transfer_no_update"))
        connection.execute(text("UPDATE transfer SET amount = 20000000 WHERE seq = 2"))
    engine.dispose()
    result = anna("ledger", "check")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == [
        "chains: account 'anna': transfer 2 was changed after it was written",
        (
            "balances: account 'anna': bucket 1 (money): balance 10000000 money, but its transfers make 20000000, "
            "less 0 used and not yet posted: 20000000"
        ),
        "top ups: account 'anna': top-up cli:r1 of 10000000 money is applied, but not in the ledger",
        "top ups: account 'anna': the ledger has a top-up cli:r1 of 20000000 money that no row asked for",
        "ledger: 2 transfers of 1 account, 4 violations",
    ]
    failed = anna("ledger", "check", "--json")
    assert failed.exit_code == 1
    assert '"chains"' in failed.stdout
