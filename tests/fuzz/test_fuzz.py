"""A short run of every target, with a seed; `make fuzz` looks for as long as one likes."""

from __future__ import annotations

import random
from itertools import islice

import pytest
import structlog

from tests.fuzz.mutation import mutated
from tests.fuzz.names import NAMES
from tests.fuzz.targets import TARGETS, Broken

INPUTS = {"pre_parser": 3000, "unsigned": 800, "signed_mutations": 250, "eap": 250, "tokens": 2000, "spool": 2000}


@pytest.mark.parametrize("name", NAMES)
def test_no_mutation_breaks_a_promise(name: str) -> None:
    target = TARGETS[name]
    examples = target.examples()
    try:
        for octets in [b"", *examples, *islice(mutated(examples, random.Random(f"{name} 1")), INPUTS.get(name, 1500))]:
            target.run(octets)
    finally:
        structlog.reset_defaults()


def test_every_target_has_its_name() -> None:
    assert set(NAMES) == set(TARGETS)


def test_a_broken_promise_is_noticed() -> None:
    """A packet that the NAS did sign is answered: `unsigned` must cry out."""
    from tests.fuzz.targets import _floor, unsigned

    try:
        with pytest.raises(Broken, match="no reply to an unverified packet"):
            unsigned(_floor().access_request([("User-Name", "alice"), ("User-Password", b"correct horse")]))
    finally:
        structlog.reset_defaults()
