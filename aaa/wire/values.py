"""Attribute names and values ↔ types and octets, by our dictionaries.

A name is the dictionary's (`Session-Timeout`, `Mikrotik-Rate-Limit`), with `:1` behind it for a tag other than 0
(`Tunnel-Type:1`, RFC 2868), or a number: `Attr-201` (standard), `Attr-26.14988.99` (vendor and its type),
`Attr-26.529` (a vendor whose attributes do not follow RFC 2865 5.26: everything behind its number).
Values: integers and dates are int; text is str, or bytes where it is no UTF-8; addresses and prefixes are str;
octets, everything hidden and everything unknown are bytes.
"""

from __future__ import annotations

import difflib
import re
import struct
from typing import Final

from pyrad import tools

from aaa.wire.definitions import BY_NAME, BY_NUMBER, Definition
from aaa.wire.packet import EAP_MESSAGE, VENDOR_SPECIFIC, Malformed, Packet, vendor_attributes

Value = int | str | bytes
Attribute = tuple[str, Value]

LONGEST_VALUE_OCTETS: Final = 253
LONGEST_VENDOR_VALUE_OCTETS: Final = 247
HIGHEST_TAG: Final = 0x1F  # RFC 2868 3.1
TAGGED_INTEGER_LIMIT: Final = 1 << 24

_NUMBERS: Final = frozenset({"integer", "date", "signed", "short", "byte", "integer64"})
_NUMBERED_NAME: Final = re.compile(r"Attr-(\d{1,3})(?:\.(\d{1,10})(?:\.(\d{1,3}))?)?")
_TAGGED_NAME: Final = re.compile(r"(.+):(\d{1,2})")
# What pyrad raises for a value it can not read or write
_PYRAD_ERRORS: Final = (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError, struct.error)


def decode(packet: Packet) -> list[Attribute]:
    """All attributes of a packet, in order; the pieces of an EAP-Message joined where the first one stood (RFC 3579 3.1).

    Malformed (`attribute-value`) when the value of a standard attribute does not fit its type. A vendor's value that
    does not fit is given as octets under its number, for vendors change their types (RFC 6929 2.8).
    User-Password and other hidden values stay hidden: see `decode_password`.
    """
    attributes: list[Attribute] = []
    eap_joined = False
    for kind, value in packet.attributes:
        if kind == VENDOR_SPECIFIC:
            attributes += _decode_vendor(value)
        elif kind != EAP_MESSAGE:
            attributes.append(_decode_standard(kind, value))
        elif not eap_joined:
            eap_joined = True
            attributes.append(_decode_standard(kind, b"".join(packet.all(EAP_MESSAGE))))
    return attributes


def _decode_standard(kind: int, value: bytes) -> Attribute:
    definition = BY_NUMBER.get((0, kind))
    if definition is None:
        return f"Attr-{kind}", value
    try:
        return _decode_value(definition, value)
    except _PYRAD_ERRORS as error:
        raise Malformed("attribute-value", f"{definition.name}: {error}") from error


def _decode_vendor(value: bytes) -> list[Attribute]:
    vendor = int.from_bytes(value[:4], "big")
    inner = vendor_attributes(value)
    if inner is None:
        return [(f"Attr-26.{vendor}", value[4:])]
    attributes: list[Attribute] = []
    for kind, octets in inner:
        definition = BY_NUMBER.get((vendor, kind))
        if definition is not None:
            try:
                attributes.append(_decode_value(definition, octets))
                continue
            except _PYRAD_ERRORS:
                pass
        attributes.append((f"Attr-26.{vendor}.{kind}", octets))
    return attributes


def _decode_value(definition: Definition, value: bytes) -> Attribute:
    """ValueError (or what else pyrad raises) when the octets do not fit the type."""
    name = definition.name
    if definition.tagged and value:
        # RFC 2868: an integer's first octet is always its tag; a string's only when it is no more than 0x1f
        tag = value[0]
        if definition.datatype == "integer":
            if tag > HIGHEST_TAG:
                raise ValueError(f"tag {tag}, {HIGHEST_TAG} is the highest")
            value = b"\0" + value[1:]
        elif tag <= HIGHEST_TAG:
            value = value[1:]
        else:
            tag = 0
        if tag:
            name = f"{name}:{tag}"
    if definition.encryption or definition.datatype == "octets":
        return name, value
    if definition.datatype == "ipv6addr" and len(value) != 16:
        raise ValueError(f"{len(value)} octets, an IPv6 address has 16")
    decoded: Value = tools.DecodeAttr(definition.datatype, value)
    return name, decoded


def find(name: str) -> tuple[int, int, int, Definition | None]:
    """(vendor, type, tag, definition) of an attribute name; vendor 0 is standard, type -1 a whole vendor value.

    ValueError for a name that no dictionary has, with the nearest one.
    """
    definition = BY_NAME.get(name)
    if definition is not None:
        return definition.vendor, definition.type, 0, definition
    numbered = _NUMBERED_NAME.fullmatch(name)
    if numbered is not None:
        return *_numbers(name, *numbered.groups()), 0, None
    tagged = _TAGGED_NAME.fullmatch(name)
    if tagged is not None:
        definition = BY_NAME.get(tagged[1])
        if definition is not None:
            if not definition.tagged or int(tagged[2]) > HIGHEST_TAG:
                raise ValueError(f"{name}: {definition.name} takes {'tags 0 to 31' if definition.tagged else 'no tag'}")
            return definition.vendor, definition.type, int(tagged[2]), definition
    near = difflib.get_close_matches(name, BY_NAME, 1)
    raise ValueError(f"no dictionary has an attribute {name!r}" + (f"; did you mean {near[0]}?" if near else ""))


def value_name(name: str, number: int) -> str | None:
    """What the dictionary calls this number of an attribute; None where it has no name for it."""
    return next((text for text, value in BY_NAME[name].values.items() if value == number), None)


def value_names(name: str) -> tuple[str, ...]:
    """All names that the dictionary has for an attribute's numbers."""
    return tuple(BY_NAME[name].values)


def _numbers(name: str, standard: str, vendor: str | None, kind: str | None) -> tuple[int, int]:
    if vendor is None:
        if not 1 <= int(standard) <= 255 or int(standard) == VENDOR_SPECIFIC:
            raise ValueError(f"{name}: a standard attribute is Attr-1 … Attr-255, a vendor's is Attr-26.VENDOR.TYPE")
        return 0, int(standard)
    if int(standard) != VENDOR_SPECIFIC or not 0 < int(vendor) < 1 << 32 or not 0 <= int(kind or 0) <= 255:
        raise ValueError(f"{name}: a vendor's attribute is Attr-26.VENDOR.TYPE")
    return int(vendor), -1 if kind is None else int(kind)


def encode_value(name: str, definition: Definition, value: Value) -> bytes:
    """The octets of a value, without tag. ValueError, naming attribute and value, when it does not fit the type."""
    try:
        return _encode(definition, value)
    except _PYRAD_ERRORS as error:
        shown = "(hidden)" if definition.encryption else repr(value)
        raise ValueError(f"{name} = {shown}: {error}") from error


def _encode(definition: Definition, value: Value) -> bytes:
    datatype = definition.datatype
    if datatype in _NUMBERS:
        number = _number(definition, value)
        if definition.tagged and not 0 <= number < TAGGED_INTEGER_LIMIT:
            raise ValueError("a tagged number has 24 bits (RFC 2868)")
        numeric: bytes = tools.EncodeAttr(datatype, number)
        return numeric
    if datatype in ("string", "octets"):
        # not through pyrad: it takes octets that begin with "0x" for hexadecimal digits
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, bytes):
            return value
    elif isinstance(value, str):
        address: bytes = tools.EncodeAttr(datatype, value)
        return address
    raise ValueError(f"a value of type {datatype} is no {type(value).__name__}")


def _number(definition: Definition, value: Value) -> int:
    if isinstance(value, int):
        return value
    if isinstance(value, str) and value in definition.values:
        return definition.values[value]
    names = ", ".join(definition.values)
    raise ValueError(f"neither a number nor one of {names}" if names else "it takes a number")
