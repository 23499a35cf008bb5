import csv
import io
import stat
from pathlib import Path
from typing import Any

import pytest

from charging.voucher import MOST_FAILURES, check_character, in_groups
from tests.cli.conftest import Aaa


@pytest.fixture
def anna(shop: Aaa) -> Aaa:
    shop.ok("account", "add", "anna")
    return shop


def printed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_a_voucher_from_the_printer_to_the_account(anna: Aaa) -> None:
    rows = printed(
        anna.ok("voucher", "generate", "spring", "--count", "3", "--amount", "10.00", "--expires", "2099-12-31")
    )
    assert [(row["batch"], row["serial"], row["worth"]) for row in rows] == [
        ("spring", str(n), "10.00 EUR") for n in (1, 2, 3)
    ]
    assert {row["expires"] for row in rows} == {"2100-01-01T00:00:00.000Z"}
    code = rows[1]["code"]
    assert anna.ok("voucher", "redeem", "anna", code.lower()) == "10.00 EUR for anna; anna has 10.00 EUR now\n"
    again = anna.json("voucher", "redeem", "anna", code)
    assert (again["already_applied"], again["balance_micros"]) == (True, 10_000_000)
    assert anna.fails("voucher", "redeem", "anna", code, "--reference", "2") == "code: this voucher was redeemed before"
    (batch,) = anna.json("voucher", "list")
    assert (batch["batch"], batch["ready"], batch["redeemed"], batch["void"]) == ("spring", 2, 1, 0)
    shown = anna.json("voucher", "show", "spring/2")
    assert shown == anna.json("voucher", "show", code)
    assert (shown["state"], shown["account"]) == ("redeemed", "anna")
    assert anna.ok("voucher", "void", "spring/1") == "1 voided of spring/1\n"
    assert anna.fails("voucher", "void", "spring/1") == "voucher spring/1 is void already"
    assert anna.json("voucher", "void", "spring") == {"batch": "spring", "serial": None, "voided": 1}
    states = [(v["serial"], v["state"]) for v in anna.json("voucher", "list", "spring")]
    assert states == [(1, "void"), (2, "redeemed"), (3, "void")]
    assert [v["serial"] for v in anna.json("voucher", "list", "spring", "--state", "redeemed")] == [2]
    assert anna.fails("voucher", "redeem", "anna", rows[2]["code"]) == "code: this voucher is void"
    assert anna.ok("ledger", "check").endswith("all invariants hold\n")
    assert code not in anna.ok("voucher", "list", "spring")


def test_codes_go_to_a_file_of_its_owner_and_no_file_is_overwritten(anna: Aaa, tmp_path: Path) -> None:
    out = tmp_path / "codes.csv"
    arguments = ("--count", "2", "--amount", "5GB", "--validity", "30 days", "--out", str(out))
    said = anna.ok("voucher", "generate", "data", *arguments)
    assert said == f"2 vouchers worth 5 GB in {out}; their codes are kept nowhere else\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    rows = printed(out.read_text(encoding="utf-8"))
    assert anna.fails("voucher", "generate", "more", *arguments) == (
        f"{out}: is there already; its codes may be kept nowhere else"
    )
    failed = tmp_path / "failed.csv"
    again = ("--count", "2", "--amount", "1", "--out", str(failed))
    assert anna.fails("voucher", "generate", "data", *again) == "there is a batch 'data' already; choose another name"
    assert not failed.exists()
    redeemed = anna.json("voucher", "redeem", "anna", rows[0]["code"])
    assert redeemed["octets"] == 5_000_000_000
    (bucket,) = (b for b in anna.json("balance", "anna")["buckets"] if b["unit"] == "octets")
    assert bucket["expires_at"] is not None
    assert [batch["batch"] for batch in anna.json("voucher", "list")] == ["data"]


def test_wrong_codes_are_counted_though_the_command_fails(anna: Aaa) -> None:
    (row,) = printed(anna.ok("voucher", "generate", "one", "--count", "1", "--amount", "1.00"))
    for number in range(MOST_FAILURES):
        characters = "ABCDEFGHABCDEF" + "23456789"[number]
        code = in_groups(characters + check_character(characters))
        assert anna.fails("voucher", "redeem", "anna", code) == "code: there is no such voucher"
    assert anna.fails("voucher", "redeem", "anna", row["code"]) == (
        "code: too many wrong voucher codes; try again in an hour"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "error"),
    [
        (("generate", "spring", "--count", "1", "--amount", "1"), 1, "there is a batch 'spring' already; choose another name"),
        (("generate", "=1/2", "--count", "1", "--amount", "1"), 2, "Invalid value for 'BATCH': '=1/2' is not a name; use 1 to 64"),
        (("generate", "x", "--count", "0", "--amount", "1"), 2, "Invalid value for '--count'"),
        (("generate", "x", "--count", "1", "--amount", "0"), 1, "amount: '0' is nothing; write an amount above zero"),
        (("generate", "x", "--count", "1", "--amount", "1", "--validity", "soon"), 1, "validity: 'soon': not a time span"),
        (("generate", "x", "--count", "1", "--amount", "1", "--expires", "2020-01-01"), 2, "--expires is past; write a later day"),
        (("generate", "x", "--count", "1", "--amount", "1", "--currency", "eur"), 1, "'eur' is not a currency; write EUR"),
        (("generate", "x", "--count", "1", "--amount", "1", "--out", "/nowhere/x"), 1, "/nowhere/x: No such file or directory"),
        (("show", "spring/9"), 1, "there is no such voucher 'spring/9'; see: aaa voucher list"),
        (("show", "spring/x"), 1, "'x' is no serial number; write BATCH/SERIAL, for example spring/17"),
        (("void", "winter"), 1, "'I' is in no voucher code; there is no 0, 1, I, L or O in it; or write BATCH/SERIAL"),
        (("list", "winter"), 1, "there is no batch 'winter'; see: aaa voucher list"),
        (("list", "--state", "ready"), 2, "--state is for the vouchers of one batch; name it"),
        (("redeem", "anna", "ABCD"), 1, "code: a voucher code has 16 characters, this one has 4"),
        (("redeem", "nobody", "ABCD", "--reference", "1"), 1, "there is no account 'nobody'; see: aaa account list"),
    ],
)  # fmt: skip
def test_what_can_not_be_is_told_in_a_line(sqlite_aaa: Any, arguments: tuple[str, ...], code: int, error: str) -> None:
    message = sqlite_aaa.fails("voucher", *arguments, code=code)
    assert message.startswith(error)
    assert "\n" not in message
    assert [batch["batch"] for batch in sqlite_aaa.json("voucher", "list")] == ["spring"]


@pytest.fixture(scope="module")
def sqlite_aaa(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Aaa:
    """Only words are looked at here: one database will do."""
    import shutil

    from tests.cli.conftest import PLANS

    folder = tmp_path_factory.mktemp("voucher")
    shutil.copy(sqlite_template, folder / "test.db")
    aaa = Aaa(f"sqlite:///{folder / 'test.db'}", folder)
    aaa.ok("plan", "load", aaa.file("plans.toml", PLANS))
    aaa.ok("account", "add", "anna")
    aaa.ok("voucher", "generate", "spring", "--count", "1", "--amount", "10.00")
    return aaa
