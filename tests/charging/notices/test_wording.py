"""What notices say."""

from pathlib import Path

import pytest

from charging.notices import files
from charging.notices.files import NoticeFileError
from charging.notices.kinds import KINDS, Facts
from charging.notices.texts import SHIPPED
from charging.notices.wording import About, Wording, Wrong, check, words

ABOUT = About("threshold", "data: 10000000000 octets left", "smith", "alice", "EUR", 1_796_083_200_000)
FACTS: dict[str, int | str] = {"bucket": "data", "unit": "octets", "left": 10_000_000_000, "granted": 50_000_000_000}


@pytest.mark.parametrize("language", SHIPPED)
def test_every_language_has_every_kind(language: str) -> None:
    assert list(SHIPPED[language]) == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("language", SHIPPED)
def test_every_shipped_text_says_its_facts_and_lives_without_them(language: str, kind: str) -> None:
    said = check(kind, SHIPPED[language][kind])
    assert said.subject
    assert "  " not in said.text
    bare = Wording().say(ABOUT._replace(kind=kind), {}, language, "UTC")
    assert bare.subject
    assert "undefined" not in bare.text.lower()


def test_a_text_in_full() -> None:
    said = Wording().say(ABOUT, FACTS, None, "UTC")
    assert said.subject == "10 GB of data left"
    assert said.text == "Hello alice,\n\nof your 50 GB (data) there is 10 GB left.\n"


def test_facts_become_words_by_their_names() -> None:
    facts: Facts = {
        "price_micros": 19_900_000,
        "renews_at": 1_796_083_200_000,
        "plan": "home",
        "unit": "seconds",
        "left": 5400,
    }
    said = words(ABOUT, facts, "Europe/Berlin")
    assert (said["price"], said["renews"], said["left"]) == ("19.90 EUR", "2026-12-01 01:00", "1h30m")
    assert said["at"] == "2026-12-01 01:00"


@pytest.mark.parametrize(
    ("wanted", "configured", "subject"),
    [
        ("de", "en", "Noch 10 GB von data"),
        ("de-AT", "en", "Noch 10 GB von data"),
        (None, "es", "Quedan 10 GB de data"),
        ("fr", "es", "Quedan 10 GB de data"),
        ("fr", "pt", "10 GB of data left"),
        ("nl", "en", "10 GB over van data"),
    ],
)
def test_the_reader_s_language_then_the_configured_one_then_english(
    wanted: str | None, configured: str, subject: str
) -> None:
    own = {"nl": {"threshold": "{{ left }} over van {{ bucket }}\n\nNog {{ left }}.\n"}}
    assert Wording(own, language=configured).say(ABOUT, FACTS, wanted, "UTC").subject == subject


def test_the_operator_s_text_goes_before_the_shipped_one_and_gives_way_where_it_fails() -> None:
    own = {"en": {"threshold": "Only {{ 1 // (5 - left | length) }}\n\nHurry.\n"}}
    assert Wording(own).say(ABOUT, FACTS | {"left": 1_000_000_000_000}, None, "UTC").subject == "Only 1"
    assert Wording(own).say(ABOUT, FACTS, None, "UTC").subject == "10 GB of data left"


@pytest.mark.parametrize(
    ("action", "subject", "text"),
    [
        ("throttle", "Your balance is used up", "Your line goes on at a lower speed until you top up."),
        ("redirect", "Your balance is used up", "Open any page to see how to top up."),
        ("disconnect", "Your balance is used up", "Your line is closed until you top up."),
        ("maximum", "Your session has ended", "You may begin another one."),
    ],
)
def test_the_end_of_the_money_is_told_as_the_plan_has_it(action: str, subject: str, text: str) -> None:
    said = Wording().say(ABOUT._replace(kind="exhausted"), {"action": action}, "en", "UTC")
    assert said.subject == subject
    assert said.text.rstrip().endswith(text)


def test_an_unknown_kind_is_told_by_its_detail() -> None:
    said = Wording().say(ABOUT._replace(kind="moon", detail="it is full"), {}, "de", "UTC")
    assert said == ("moon: smith", "it is full\n")


def test_nobody_s_name_breaks_out_of_the_subject() -> None:
    said = Wording().say(ABOUT, FACTS | {"bucket": "data\r\nBcc: all@example.net"}, None, "UTC")
    assert said.subject == "10 GB of data Bcc: all@example.net left"


def test_a_name_is_data_and_no_template() -> None:
    said = Wording().say(ABOUT._replace(username="{{ 7 * 7 }}"), FACTS, None, "UTC")
    assert said.text.startswith("Hello {{ 7 * 7 }},")


WRONG = [
    ("Only {{ lefft }}\n\ntext\n", 1, "'lefft' is undefined; known here are account, at, bucket, currency, detail, granted, kind, left, unit, username"),
    ("Only\n\n{{ left }}\n{% if %}\n", 4, "not Jinja2: Expected an expression, got 'end of statement block'"),
    ("Only\n\n{{ left.__class__.__mro__ }}\n", 3, "access to attribute '__class__' of 'str' object is unsafe."),
    ("Only a subject", 1, "the first line is the subject, the second is empty, then comes the text"),
    ("Only\n\n" + "x" * 20_000, 1, "longer than 16384 characters"),
    ("Only\n\n{% for i in range(10000000) %}x{% endfor %}", 3, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (100000)."),
    ("Only\n\n{% include 'secret' %}\n", 3, "no loader for this environment specified"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "line", "problem"), WRONG)
def test_a_wrong_template_is_found_before_it_is_used(source: str, line: int, problem: str) -> None:
    with pytest.raises(Wrong) as caught:
        check("threshold", source)
    assert (str(caught.value).split("; known here")[0], caught.value.line) == (
        problem.split("; known here", maxsplit=1)[0],
        line,
    )
    if "known here" in problem:
        assert str(caught.value) == problem


def test_a_folder_of_templates(tmp_path: Path) -> None:
    (tmp_path / "nl").mkdir()
    (tmp_path / "nl" / "threshold.txt").write_text("Nog {{ left }}\n\nNog {{ left }} van {{ bucket }}.\n")
    assert files.templates(tmp_path) == {"nl": {"threshold": "Nog {{ left }}\n\nNog {{ left }} van {{ bucket }}.\n"}}


def test_every_fault_of_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "nl").mkdir()
    (tmp_path / "nl" / "threshold.txt").write_text("Nog\n\n{{ lefft }}\n")
    (tmp_path / "nl" / "treshold.txt").write_text("Nog\n\nx\n")
    (tmp_path / "nl" / "voucher-used.txt").write_bytes(b"\xff")
    (tmp_path / "README").write_text("")
    with pytest.raises(NoticeFileError) as caught:
        files.templates(tmp_path)
    first, second, third, fourth = str(caught.value).splitlines()
    assert first.startswith(f"{tmp_path}/README: 'README' is no language")
    assert second.startswith(f"{tmp_path}/nl/threshold.txt:3: 'lefft' is undefined; known here are")
    assert third.startswith(f"{tmp_path}/nl/treshold.txt: is no kind of notice; write one of threshold.txt")
    assert fourth == f"{tmp_path}/nl/voucher-used.txt: is not UTF-8 text"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NoticeFileError, match=r"missing: No such file or directory$"):
        files.templates(tmp_path / "missing")
