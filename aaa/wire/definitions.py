"""What the dictionaries say, as tables by number and by name. Read once, when the package is imported.

pyrad reads the files; every attribute of ours is of a type it knows, and vendors use the RFC 2865 format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pyrad.dictionary import Dictionary

import dictionaries

# encrypt= flags of the dictionary files
HIDDEN: Final = 1  # RFC 2865 5.2, User-Password
SALTED: Final = 2  # RFC 2868 3.5 and RFC 2548 2.4.2, Tunnel-Password and the MPPE keys


@dataclass(frozen=True, slots=True)
class Definition:
    """One attribute: `vendor` is 0 for a standard one; `datatype` in the dictionary's word; `values` name → number."""

    name: str
    vendor: int
    type: int
    datatype: str
    tagged: bool
    encryption: int
    values: dict[str, int]


def _read() -> tuple[dict[str, Definition], dict[tuple[int, int], Definition], frozenset[int]]:
    source = Dictionary(*(str(file) for file in dictionaries.files()))
    by_name: dict[str, Definition] = {}
    by_number: dict[tuple[int, int], Definition] = {}
    for name, attribute in source.attributes.items():
        vendor: int = source.vendors.GetForward(attribute.vendor)
        values = {key: int.from_bytes(value, "big") for key, value in attribute.values.forward.items()}
        by_name[name] = by_number[vendor, attribute.code] = Definition(
            name, vendor, attribute.code, attribute.type, attribute.has_tag, attribute.encrypt, values
        )
    return by_name, by_number, frozenset(source.vendors.backward) - {0}


BY_NAME, BY_NUMBER, KNOWN_VENDORS = _read()
