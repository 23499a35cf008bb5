"""Which of the sockets that share a port gets a datagram: the kernel decides by a program that we give it.

It is classic BPF (Linux: SO_ATTACH_REUSEPORT_CBPF in socket(7), the instructions in Documentation/networking/filter.rst), takes no
privileges, and is one for all sockets of a port, whichever of them brings it.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from typing import Final

_SO_ATTACH_REUSEPORT_CBPF: Final = 51
#: Offsets from here on are those of the network header (SKF_NET_OFF).
_HEADER: Final = -0x100000

_INSTRUCTION: Final = struct.Struct("HBBI")
_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0x30, 0x28, 0x20
_KEEP, _XOR_KEPT = 0x07, 0xAC
_MULTIPLY, _SHIFT_RIGHT, _MODULO = 0x24, 0x74, 0x94
_IF_EQUAL, _JUMP, _ANSWER = 0x15, 0x05, 0x16
#: A large odd number: what differs in an address's or a port's lowest bits differs in the highest then.
_MIX: Final = 0x9E3779B1


def steer(shared: socket.socket, over: int) -> None:
    """From now on the first `over` (at least 1) of the sockets that share this one's port, in the order in which they were bound, get
    all datagrams: what comes from one address and port always reaches the same one. Where there are fewer than `over`, the kernel
    itself chooses for the share of those that are not there. OSError where the system has no such thing."""
    program = _program(over)
    instructions = ctypes.create_string_buffer(program)
    described = struct.pack("HP", len(program) // _INSTRUCTION.size, ctypes.addressof(instructions))
    shared.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, described)


def _program(over: int) -> bytes:
    """A socket's number, from where the datagram comes from. Nobody sends RADIUS with IPv4's options or IPv6's extensions."""
    ipv6 = [
        _do(_LOAD_WORD, _HEADER + 12),  # of the address: the network
        _do(_KEEP),
        _do(_LOAD_WORD, _HEADER + 20),  # and the interface
        _do(_XOR_KEPT),
        _do(_KEEP),
        _do(_LOAD_HALF, _HEADER + 40),  # the port
    ]
    ipv4 = [
        _do(_LOAD_WORD, _HEADER + 12),
        _do(_KEEP),
        _do(_LOAD_HALF, _HEADER + 20),
    ]
    return b"".join([
        _do(_LOAD_BYTE, _HEADER),  # the version is its upper half
        _do(_SHIFT_RIGHT, 4),
        _do(_IF_EQUAL, 6, otherwise=len(ipv6) + 1),
        *ipv6,
        _do(_JUMP, len(ipv4)),
        *ipv4,
        _do(_XOR_KEPT),
        _do(_MULTIPLY, _MIX),
        _do(_SHIFT_RIGHT, 16),
        _do(_MODULO, over),
        _do(_ANSWER),
    ])  # fmt: skip


def _do(code: int, operand: int = 0, *, otherwise: int = 0) -> bytes:
    """One instruction; `otherwise`: how many to pass over where a condition does not hold."""
    return _INSTRUCTION.pack(code, 0, otherwise, operand & 0xFFFFFFFF)
