import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charging.money import Rounding
from charging.plan import Allowance, Duration, Exhausted, Plan, Profile, Rate
from charging.planfile import PlanFileError, load

PLANS = Path(__file__).parent / "plans"
DOCS = Path(__file__).parents[2] / "docs" / "plans.md"

HOME = Profile("home-20", rate_down_bps=20_000_000, rate_up_bps=5_000_000, interim_interval_seconds=300)
SLOW = Profile("slow", rate_down_bps=256_000, rate_up_bps=128_000)
WALL = Profile("wall", 1_000_000, 1_000_000, redirect_url="https://pay.example.net/", address_list="unpaid")
HOTSPOT = Profile(
    "hotspot",
    rate_down_bps=10_000_000,
    rate_up_bps=10_000_000,
    burst_down_bps=30_000_000,
    burst_up_bps=20_000_000,
    session_timeout_seconds=43_200,
    idle_timeout_seconds=600,
    pool="guests",
    filter="guests-in",
    vlan=120,
    attributes=(
        ("Reply-Message", "Welcome"),
        ("Cisco-AVPair", "ip:dns-servers=192.0.2.1"),
        ("Cisco-AVPair", "ip:mtu=1480"),
    ),
)
PREPAID = [
    Plan(
        "prepaid-50",
        "EUR",
        "Europe/Berlin",
        HOME,
        thresholds_percent=(80, 95),
        allowances=(Allowance("data", "octets", "total", 50_000_000_000),),
        rates=(Rate("octets", "total", 20_000, 1_000_000, 100_000, 500_000),),
        exhausted=Exhausted("throttle", SLOW),
    ),
    Plan(
        "by-use",
        "EUR",
        "Europe/Berlin",
        HOME,
        rates=(Rate("octets", "down", 2_500, 1_000_000, 1), Rate("octets", "up", 1_000, 1_000_000, 1)),
        max_sessions=None,
        rounding=Rounding("half-even", 2),
    ),
    Plan(
        "hours",
        "EUR",
        "Europe/Berlin",
        HOTSPOT,
        allowances=(
            Allowance("hours", "seconds", "total", 36_000, priority=10, validity=Duration(0, 2_592_000)),
            Allowance("welcome", "money", "total", 2_000_000, validity=Duration(1), blocker=False),
        ),
        rates=(Rate("seconds", "total", 50_000, 60, 60),),
        exhausted=Exhausted("redirect", WALL),
        max_sessions=2,
        description="Ten hours in thirty days, then by the minute",
    ),
]


def test_a_plan_file() -> None:
    assert load((PLANS / "prepaid.toml").read_text()) == PREPAID


def test_line_ends_and_a_byte_order_mark_of_windows_editors() -> None:
    text = (PLANS / "prepaid.toml").read_text()
    assert load("\ufeff" + text.replace("\n", "\r\n")) == PREPAID


def test_every_fault_is_found_at_once_with_its_line() -> None:
    """Lines that are wrong carry a comment `#!` with the text of the problem; a line may have several."""
    path = PLANS / "faulty.toml"
    text = path.read_text()
    with pytest.raises(PlanFileError) as caught:
        load(text, "faulty.toml")
    expected = [
        f"faulty.toml:{number}: {message.strip()}"
        for number, line in enumerate(text.splitlines(), 1)
        for message in line.split("#!")[1:]
    ]
    assert list(caught.value.problems) == expected
    assert str(caught.value) == "\n".join(expected)


MINIMAL = """
currency = "EUR"
time_zone = "UTC"
[profile.p]
[plan.x]
profile = "p"
"""


def test_the_smallest_plan() -> None:
    assert load(MINIMAL) == [Plan("x", "EUR", "UTC", Profile("p"))]


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            "",
            [
                """f:1: 'currency' is missing; write currency = "EUR\"""",
                """f:1: 'time_zone' is missing; write time_zone = "Europe/Berlin\"""",
                "f:1: there is no plan in it; write [plan.NAME]",
            ],
        ),
        ('currency = "EUR"\ntime_zone =\n', ["f:2: not TOML: Invalid value (column 12)"]),
        (
            'currency = "EUR"\n[plan.x',
            ["f:2: not TOML: Expected ']' at the end of a table declaration (at end of document)"],
        ),
        (
            MINIMAL.replace("EUR", "euro"),
            ["f:2: currency: 'euro' is not a currency; write an ISO 4217 code such as EUR, USD or KES"],
        ),
        (
            MINIMAL.replace("UTC", "Berlin"),
            ["f:3: time_zone: 'Berlin' is no time zone; write for example Europe/Berlin, Africa/Nairobi or UTC"],
        ),
        (
            MINIMAL.replace("UTC", "../x"),
            ["f:3: time_zone: '../x' is no time zone; write for example Europe/Berlin, Africa/Nairobi or UTC"],
        ),
        (
            MINIMAL.replace("[profile.p]", "profile = 3"),
            [
                "f:4: profile: is not a table; write [profile.NAME]",
                "f:6: plan.x.profile: 'p' is no profile; write [profile.p] for it",
            ],
        ),
        (
            MINIMAL.replace('profile = "p"', 'profile = "q"'),
            ["f:6: plan.x.profile: 'q' is no profile; write [profile.q] for it"],
        ),
        (
            MINIMAL + "[plan.x.rate]\n",
            ["f:7: plan.x.rate: is not a list of tables; write [[plan.x.rate]] with two brackets"],
        ),
        (MINIMAL + "exhausted = 3\n", ["f:7: plan.x.exhausted: is not a table; write [plan.x.exhausted]"]),
        (
            MINIMAL + '[plan."a b"]\n',
            ["f:7: plan.\"a b\": 'a b' is not a name; use 1 to 64 of the letters a-z, digits, '.', '_', '-'"],
        ),
        (
            MINIMAL.replace("[plan.x]", "[plan]\n"),
            ["f:7: plan.profile: is not a table; write [plan.profile]"],
        ),
        (MINIMAL + "max_sessions = 9" + "9" * 5_000, None),
        (MINIMAL + "max_sessions = " + "[" * 5_000, None),
    ],
)
def test_faults_of_the_file(text: str, problems: list[str] | None) -> None:
    with pytest.raises(PlanFileError) as caught:
        load(text, "f")
    if problems is not None:
        assert list(caught.value.problems) == problems


@given(st.text(alphabet='[]"=.\n abpx1 {},', max_size=60))
def test_any_text_is_plans_or_a_plan_file_error(text: str) -> None:
    with pytest.raises(PlanFileError):
        load(MINIMAL + text + "\n[")


KEYS = ["profile", "plan", "rate", "allowance", "amount", "price", "exhausted", "thresholds", "max_sessions", "unit"]
VALUES = st.recursive(
    st.sampled_from(
        ["0", "-1", "1.5", "true", '""', '"octets"', '"5GB"', '"p"', "1979-05-27", "nan", "99999999999999999999"]
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]"),
        st.tuples(st.sampled_from(KEYS), inner).map(lambda pair: f"{{ {pair[0]} = {pair[1]} }}"),
    ),
    max_leaves=3,
)


@given(st.dictionaries(st.sampled_from(KEYS[2:]), VALUES, max_size=4), st.booleans())
def test_any_value_anywhere_is_a_plan_or_a_plan_file_error(values: dict[str, str], nested: bool) -> None:
    head = MINIMAL + ("[[plan.x.rate]]\n" if nested else "")
    problems: tuple[str, ...] = ()
    try:
        load(head + "".join(f"{key} = {value}\n" for key, value in values.items()))
    except PlanFileError as error:
        problems = error.problems
    assert all(re.match(r"<plan file>:[0-9]+: ", problem) for problem in problems)


def _examples() -> list[str]:
    return re.findall(r"^```toml\n(.*?)^```$", DOCS.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", _examples())
def test_the_examples_of_the_documentation_load(example: str) -> None:
    """A whole file loads as it is; a piece gets the tables that it leaves out."""
    if "currency =" not in example:
        example = 'currency = "EUR"\ntime_zone = "Europe/Berlin"\n' + example
    if "[plan." not in example:
        example += '\n[plan.example]\nprofile = "home-20"\n'
    if "[profile.home-20]" not in example:
        example += '\n[profile.home-20]\nrate_down = "20M"\nrate_up = "5M"\n'
    assert load(example, str(DOCS))


#: Heading in docs/plans.md → the table of the plan file that it explains, and how it is written.
TABLES = {
    "## The file": ("", ""),
    "## `[profile.NAME]`": ("profile.p", "[profile.p]"),
    "## `[plan.NAME]`": ("plan.x", "[plan.x]"),
    "### `[plan.NAME.conditions]`": ("plan.x.conditions", "[plan.x.conditions]"),
    "## `[[plan.NAME.allowance]]`": ("plan.x.allowance[0]", "[[plan.x.allowance]]"),
    "### `[plan.NAME.allowance.roll_over]`": (
        "plan.x.allowance[0].roll_over", "[[plan.x.allowance]]\n[plan.x.allowance.roll_over]",
    ),
    "## `[plan.NAME.period]`": ("plan.x.period", "[plan.x.period]"),
    "### `[[plan.NAME.period.promotion]]`": (
        "plan.x.period.promotion[0]", "[plan.x.period]\n[[plan.x.period.promotion]]",
    ),
    "## `[[plan.NAME.rate]]`": ("plan.x.rate[0]", "[[plan.x.rate]]"),
    "### `[[plan.NAME.rate.tier]]`": ("plan.x.rate[0].tier[0]", "[[plan.x.rate]]\n[[plan.x.rate.tier]]"),
    "## `[[plan.NAME.profile_window]]`": ("plan.x.profile_window[0]", "[[plan.x.profile_window]]"),
    "## `[plan.NAME.fair_use]`": ("plan.x.fair_use", "[plan.x.fair_use]"),
    "### `[[plan.NAME.fair_use.step]]`": (
        "plan.x.fair_use.step[0]",
        "[plan.x.fair_use]\n[[plan.x.fair_use.step]]",
    ),
    "## `[[plan.NAME.cap]]`": ("plan.x.cap[0]", "[[plan.x.cap]]"),
    "## `[window.NAME]`": ("window.w", "[window.w]"),
    "## `[zone.NAME]`": ("zone.z", "[zone.z]"),
    "## `[plan.NAME.exhausted]`": ("plan.x.exhausted", "[plan.x.exhausted]"),
}  # fmt: skip


def _documented(heading: str) -> set[str]:
    """The keys of the table of keys under a heading."""
    lines = DOCS.read_text().splitlines()
    begin = next(n for n, line in enumerate(lines) if line.startswith(heading))
    end = next((n for n, line in enumerate(lines) if n > begin and line.startswith("#")), len(lines))
    section = lines[begin:end]
    head = next(n for n, line in enumerate(section) if line.startswith("| key |"))
    rows = [line.split(" | ")[0] for line in section[head + 2 :]]
    keys = [
        re.findall(r"`([a-z_]+)`", row)
        for row, line in zip(rows, section[head + 2 :], strict=True)
        if line.startswith("|")
    ]
    return {key for row in keys for key in row}


@pytest.mark.parametrize("heading", TABLES)
def test_the_documentation_explains_exactly_the_keys_of_each_table(heading: str) -> None:
    """The keys are those that an unknown key is answered with."""
    path, header = TABLES[heading]
    with pytest.raises(PlanFileError) as caught:
        load(f"{header}\nzzz = 1\n")
    unknown = f"{path}.zzz" if path else "zzz"
    answer = next(line for line in caught.value.problems if f" {unknown}: unknown key" in line)
    assert set(answer.split("known here are ")[1].split(", ")) == _documented(heading)


def test_the_documentation_has_a_heading_for_every_table() -> None:
    """A table that is new: its `finish` is one more in the source, and belongs into TABLES."""
    source = (Path(__file__).parents[2] / "charging" / "planfile.py").read_text()
    assert source.count(".finish()") == len(TABLES)
