"""Codes of vouchers: what a mistake looks like, and who is locked out."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.voucher import (
    ALPHABET,
    CODE_CHARACTERS,
    check_character,
    fingerprint,
    in_groups,
    new_code,
    read_code,
    why_not,
)

codes = st.text(ALPHABET, min_size=CODE_CHARACTERS - 1, max_size=CODE_CHARACTERS - 1).map(
    lambda characters: characters + check_character(characters)
)


def test_the_alphabet_is_a_prime_and_nothing_in_it_looks_like_another() -> None:
    assert len(ALPHABET) == 31
    assert not set(ALPHABET) & set("01ILO")
    # Each place has its own weight, none of them a multiple of 31.
    assert len(ALPHABET) > CODE_CHARACTERS


def test_a_check_character_worked_out_by_hand() -> None:
    # 2 is the alphabet's zero, 3 its one. A single 3 at the first place weighs 2: the check is 31 - 2 = 29, which is Y.
    assert check_character("3" + "2" * 14) == "Y"
    # At the last place before the check it weighs 16: 31 - 16 = 15, which is H.
    assert check_character("2" * 14 + "3") == "H"
    assert check_character("2" * 15) == "2"


@given(codes)
def test_a_code_is_read_as_people_write_it(code: str) -> None:
    for written in (code, code.lower(), in_groups(code), f" {in_groups(code).replace('-', ' ')} "):
        assert read_code(written) == code


@given(codes, st.integers(0, CODE_CHARACTERS - 1), st.sampled_from(ALPHABET))
def test_one_wrong_character_is_found(code: str, place: int, other: str) -> None:
    wrong = code[:place] + other + code[place + 1 :]
    if wrong == code:
        return
    with pytest.raises(ValueError, match="mistyped"):
        read_code(wrong)


@given(codes, st.integers(0, CODE_CHARACTERS - 1), st.integers(0, CODE_CHARACTERS - 1))
def test_two_characters_that_changed_places_are_found(code: str, one: int, two: int) -> None:
    characters = list(code)
    characters[one], characters[two] = characters[two], characters[one]
    wrong = "".join(characters)
    if wrong == code:
        return
    with pytest.raises(ValueError, match="mistyped"):
        read_code(wrong)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has 16 characters, this one has 0"),
        ("ABCD-EFGH", "has 16 characters, this one has 8"),
        ("ABCD-EFGH-ABCD-EFG0", "'0' is in no voucher code"),
        ("ABCD-EFGH-ABCD-EFGÜ", "'Ü' is in no voucher code"),
        ("2" * 17, "this one has 17"),
    ],
)
def test_what_can_be_no_code(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        read_code(text)


def test_new_codes_are_good_and_differ() -> None:
    chance = random.Random(1)
    made = {new_code(chance.choice) for _ in range(1_000)}
    assert len(made) == 1_000
    for code in made:
        assert in_groups(read_code(code)) == code


def test_a_fingerprint_stays_what_it_is() -> None:
    """Vouchers are sold for years: another fingerprint would make all of them worthless."""
    assert fingerprint("2" * 16) == fingerprint(read_code("2222-2222-2222-2222"))
    assert fingerprint("2" * 16) == "0730cda4685a31ce075a46ad422188457e85c5e5427c37e6469fec11495f2277"


def test_no_voucher_is_no_voucher() -> None:
    assert why_not(None, "EUR", 0) == "there is no such voucher"
