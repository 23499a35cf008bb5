"""What a request says, in values: everything used is decoded here, once, and nothing later looks at bytes again."""

from __future__ import annotations

import re
from typing import NamedTuple

from aaa.passwords import Chap, Eap, Method, MsChap1, MsChap2, Pap, PasswordChange, Unsupported, mschap
from aaa.wire import Malformed, Packet, decode_password
from aaa.wire.packet import VENDOR_SPECIFIC, vendor_attributes
from aaa.wire.values import value_name
from charging.zone import SERVICE_CLASSES

USER_NAME = 1
USER_PASSWORD = 2
SERVICE_TYPE = 6
CHAP_PASSWORD = 3
NAS_PORT = 5
FRAMED_MTU = 12
STATE = 24
CALLED_STATION_ID = 30
CALLING_STATION_ID = 31
CHAP_CHALLENGE = 60
EAP_MESSAGE = 79
MESSAGE_AUTHENTICATOR = 80
NAS_PORT_TYPE = 61
NAS_PORT_ID = 87
_MICROSOFT = b"\x00\x00\x01\x37"
# RFC 2548; Windows sends other attributes of its own with PAP too.
_MS_CHAP_RESPONSE = 1
_MS_CHAP_CHALLENGE = 11
_MS_CHAP2_RESPONSE = 25
#: MS-CHAP-CPW-1, MS-CHAP-CPW-2 and MS-CHAP2-CPW
_MS_CHAP_CHANGES = (3, 4, 27)
_MS_CHAP_METHODS = frozenset({_MS_CHAP_RESPONSE, _MS_CHAP2_RESPONSE, *_MS_CHAP_CHANGES})
#: RFC 3580 section 3.21: `00-10-A4-23-19-C0:AP1`; the colon before the network's name.
_ADDRESS = re.compile(r"((?:[0-9A-Fa-f]{2}[:-]?){5}[0-9A-Fa-f]{2}|(?:[0-9A-Fa-f]{4}\.){2}[0-9A-Fa-f]{4})(?::.*)?")


class AccessRequest(NamedTuple):
    """Somebody wants to come in. Texts can be kept and shown whatever was sent."""

    username: str
    method: Method
    calling_station: str | None
    nas_port_id: str | None
    """NAS-Port-Id, or the number of NAS-Port where there is none."""
    called_station: str = ""
    service_class: str = ""
    """Service-Type, as plans name it; empty where they have no name for it."""
    port_type: bytes | None = None
    """NAS-Port-Type as it came; see `port_type_name`."""


def access_request(packet: Packet, secret: bytes) -> AccessRequest:
    """Decode an Access-Request. Malformed where it has no user name or its password can not be revealed."""
    username = packet.first(USER_NAME)
    if username is None:
        raise Malformed("attribute-value", "an Access-Request without User-Name")
    return AccessRequest(
        text(username),
        _method(packet, secret),
        optional_text(packet.first(CALLING_STATION_ID)),
        port_of(packet.first(NAS_PORT_ID), packet.first(NAS_PORT)),
        text(packet.first(CALLED_STATION_ID) or b""),
        _service_class(packet.first(SERVICE_TYPE)),
        packet.first(NAS_PORT_TYPE),
    )


def _service_class(value: bytes | None) -> str:
    if value is None:
        return ""
    number = int.from_bytes(value, "big")
    return SERVICE_CLASSES[number - 1] if 1 <= number <= len(SERVICE_CLASSES) else ""


def text(value: bytes) -> str:
    """An attribute's octets as text that every database can keep: what is no UTF-8, and NUL, is shown as \\x…."""
    decoded = value.decode("utf-8", "backslashreplace")
    return decoded.replace("\0", "\\x00") if "\0" in decoded else decoded


def optional_text(value: bytes | None) -> str | None:
    """The same, for an attribute that may be absent or empty."""
    return text(value) if value else None


def station(name: str) -> str | None:
    """The hardware address that a name is, in its one spelling (`02:00:00:00:00:01`); None where it is none. NASes write it with
    colons, hyphens, dots or nothing, in capitals or not, and some add the network's name behind it."""
    digits = _ADDRESS.fullmatch(name)
    if digits is None:
        return None
    plain = digits[1].lower().replace(":", "").replace("-", "").replace(".", "")
    if len(plain) != 12:
        return None
    # Written out: it is asked for every login.
    return f"{plain[:2]}:{plain[2:4]}:{plain[4:6]}:{plain[6:8]}:{plain[8:10]}:{plain[10:]}"


def port_of(nas_port_id: bytes | None, nas_port: bytes | None) -> str | None:
    """One name for the port: NAS-Port-Id, else the number of NAS-Port."""
    if nas_port_id:
        return text(nas_port_id)
    return str(int.from_bytes(nas_port, "big")) if nas_port else None


def port_type_name(octets: bytes | None) -> str | None:
    """The dictionary's name of a NAS-Port-Type (`Wireless-802.11`), or its number where it has none."""
    if octets is None:
        return None
    number = int.from_bytes(octets, "big")
    return value_name("NAS-Port-Type", number) or str(number)


def _method(packet: Packet, secret: bytes) -> Method:
    """Exactly one method may be used (RFC 2865 section 4.1)."""
    found: list[Method] = []
    if packet.first(USER_PASSWORD) is not None:
        found.append(Pap(decode_password(packet, secret)))
    chap = packet.first(CHAP_PASSWORD)
    if chap is not None:
        if len(chap) != 17:
            raise Malformed("attribute-value", f"CHAP-Password has {len(chap)} octets, 17 expected")
        # Without CHAP-Challenge the Request Authenticator is the challenge (RFC 2865 section 5.40).
        challenge = packet.first(CHAP_CHALLENGE) or packet.authenticator
        found.append(Chap(chap[0], chap[1:], challenge))
    if packet.first(EAP_MESSAGE) is not None:
        mtu = packet.first(FRAMED_MTU)
        message = b"".join(packet.all(EAP_MESSAGE))
        found.append(Eap(message, packet.first(STATE), None if mtu is None else int.from_bytes(mtu, "big")))
    microsoft = _microsoft_attributes(packet)
    if microsoft is not None and not _MS_CHAP_METHODS.isdisjoint(microsoft):
        found.append(_ms_chap(packet, microsoft))
    if len(found) == 1:
        return found[0]
    return Unsupported("none" if not found else "several")


def _microsoft_attributes(packet: Packet) -> dict[int, bytes] | None:
    """The first of each of Microsoft's attributes; None where there are none."""
    found: dict[int, bytes] | None = None
    for kind, value in packet.attributes:
        if kind == VENDOR_SPECIFIC and value.startswith(_MICROSOFT):
            found = dict(reversed(vendor_attributes(value) or ())) | (found or {})
    return found


def _ms_chap(packet: Packet, microsoft: dict[int, bytes]) -> Method:
    """RFC 2548 sections 2.1 and 2.3."""
    change = next((microsoft[kind] for kind in _MS_CHAP_CHANGES if kind in microsoft), None)
    if change is not None:
        return PasswordChange(change[1] if len(change) > 1 else 0)
    if _MS_CHAP_RESPONSE in microsoft and _MS_CHAP2_RESPONSE in microsoft:
        return Unsupported("several")
    challenge = microsoft.get(_MS_CHAP_CHALLENGE, b"")
    response = microsoft.get(_MS_CHAP2_RESPONSE)
    if response is not None and len(response) == 50 and len(challenge) == mschap.CHALLENGE_OCTETS:
        name = packet.first(USER_NAME) or b""
        return MsChap2(response[0], challenge, response[2:18], response[26:], name)
    response = microsoft.get(_MS_CHAP_RESPONSE)
    if response is not None and len(response) == 50 and len(challenge) == mschap.CHALLENGE_1_OCTETS:
        # The flag says which of the two responses is there: the one of the NT hash, or that of the broken LM hash.
        if response[1] == 1:
            return MsChap1(response[0], challenge, response[26:])
        return Unsupported("MS-CHAP with an LM response")
    return Unsupported("MS-CHAP")
