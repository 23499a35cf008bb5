"""Bytes ↔ RADIUS packets: strict reading, verification, signing, and values by our dictionaries.

The only package that imports pyrad. Pure: no socket, no clock. `Malformed` is the only exception that bytes from outside
can cause; ValueError is for what our own side wants to send.
"""

from aaa.wire.building import reply, request
from aaa.wire.packet import Code, Malformed, Packet, parse
from aaa.wire.signing import decode_password, message_authenticator, reveal_salted, verify_reply, verify_request
from aaa.wire.values import Attribute, decode

__all__ = [
    "Attribute",
    "Code",
    "Malformed",
    "Packet",
    "decode",
    "decode_password",
    "message_authenticator",
    "parse",
    "reply",
    "request",
    "reveal_salted",
    "verify_reply",
    "verify_request",
]
