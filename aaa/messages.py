"""What a request says, in values: everything used is decoded here, once, and nothing later looks at bytes again."""

from __future__ import annotations

from dataclasses import dataclass

from aaa.passwords import Chap, Method, Pap, Unsupported
from aaa.wire import Malformed, Packet, decode_password
from aaa.wire.packet import VENDOR_SPECIFIC, vendor_attributes

USER_NAME = 1
USER_PASSWORD = 2
CHAP_PASSWORD = 3
NAS_PORT = 5
CALLING_STATION_ID = 31
CHAP_CHALLENGE = 60
EAP_MESSAGE = 79
MESSAGE_AUTHENTICATOR = 80
NAS_PORT_ID = 87
_MICROSOFT = b"\x00\x00\x01\x37"
#: MS-CHAP-Response and MS-CHAP2-Response (RFC 2548); Windows sends other attributes of its own with PAP too.
_MS_CHAP_RESPONSES = frozenset({1, 25})


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """Somebody wants to come in. Texts can be kept and shown whatever was sent."""

    username: str
    method: Method
    calling_station: str | None
    nas_port_id: str | None
    """NAS-Port-Id, or the number of NAS-Port where there is none."""


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
    )


def text(value: bytes) -> str:
    """An attribute's octets as text that every database can keep: what is no UTF-8, and NUL, is shown as \\x…."""
    decoded = value.decode("utf-8", "backslashreplace")
    return decoded.replace("\0", "\\x00") if "\0" in decoded else decoded


def optional_text(value: bytes | None) -> str | None:
    """The same, for an attribute that may be absent or empty."""
    return text(value) if value else None


def port_of(nas_port_id: bytes | None, nas_port: bytes | None) -> str | None:
    """One name for the port: NAS-Port-Id, else the number of NAS-Port."""
    if nas_port_id:
        return text(nas_port_id)
    return str(int.from_bytes(nas_port, "big")) if nas_port else None


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
        found.append(Unsupported("EAP"))
    if _has_ms_chap(packet):
        found.append(Unsupported("MS-CHAP"))
    if len(found) == 1:
        return found[0]
    return Unsupported("none" if not found else "several")


def _has_ms_chap(packet: Packet) -> bool:
    return any(
        kind in _MS_CHAP_RESPONSES
        for value in packet.all(VENDOR_SPECIFIC)
        if value.startswith(_MICROSOFT)
        for kind, _ in vendor_attributes(value) or ()
    )
