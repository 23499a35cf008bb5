"""What a NAS can be made to do: by its dialect, by its people, and by what was seen of it."""

from __future__ import annotations

from typing import Any

import pytest

from aaa.dialects import SHIPPED, dialect
from aaa.standing import CLASS_OF, Observation, means_of, refused, standing

CLASSES = {
    "A": {"mikrotik", "chillispot"},
    "B": {"generic", "accel-ppp", "wispr", "cisco-isg", "juniper", "huawei", "nokia", "aruba", "pfsense"},
    "C": {"hostapd", "strongswan", "ruckus", "cambium", "ubiquiti-edge"},
}


def seen(what: str, times: int = 1) -> Observation:
    return Observation("192.0.2.1", what, times, 0, 0)


def test_every_dialect_has_its_class() -> None:
    found: dict[str, set[str]] = {}
    for name, each in SHIPPED.items():
        found.setdefault(CLASS_OF[means_of(each)], set()).add(name)
    assert found == CLASSES


@pytest.mark.parametrize(
    ("name", "wanted", "port", "observed", "means"),
    [
        ("mikrotik", None, 3799, [], "volume"),
        ("mikrotik", "B", 3799, [], "rate"),
        ("mikrotik", "C", 3799, [], "disconnect"),
        ("mikrotik", None, 0, [], "time"),
        ("cisco-isg", None, 1700, [], "profile"),
        ("huawei", "A", 3799, [], "volume"),
        ("pfsense", None, 0, [], "rate"),
        ("mikrotik", None, 3799, [seen("limit-not-kept")], "rate"),
        ("mikrotik", None, 3799, [seen("not-applied")], "disconnect"),
        ("mikrotik", None, 3799, [seen("not-applied"), seen("still-alive")], "time"),
        ("mikrotik", None, 3799, [seen("silent", 3)], "time"),
        ("mikrotik", None, 3799, [seen("silent", 2)], "volume"),
        ("hostapd", None, 3799, [seen("not-applied")], "disconnect"),
        ("hostapd", None, 3799, [seen("limit-not-kept")], "disconnect"),
    ],
)
def test_it_falls_to_the_least_of_what_is_known(
    name: str, wanted: Any, port: int, observed: list[Observation], means: str
) -> None:
    assert standing(dialect(name), wanted, port, observed).means == means


def test_it_says_why() -> None:
    found = standing(dialect("mikrotik"), None, 3799, [seen("silent", 4)])
    assert found.enforcement_class == "D"
    assert found.why == ("dialect mikrotik", "192.0.2.1 did not answer its last 4 commands")


@pytest.mark.parametrize(
    ("name", "wanted", "possible"),
    [
        ("hostapd", "A", False),
        ("hostapd", "B", False),
        ("hostapd", "D", True),
        ("generic", "A", False),
        ("huawei", "A", True),
    ],
)
def test_nobody_is_set_higher_than_his_equipment_can(name: str, wanted: Any, possible: bool) -> None:
    assert (refused(dialect(name), wanted) is None) is possible
