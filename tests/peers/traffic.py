"""Traffic through a tunnel: datagrams at a steady rate, each sent back as it came.

`python -m tests.peers.traffic echo ADDRESS` answers; `python -m tests.peers.traffic send ADDRESS OCTETS_PER_SECOND` sends, and
goes on sending where there is no way any more, so that a way is used as soon as it is there.
"""

from __future__ import annotations

import socket
import sys
import time
from contextlib import suppress
from typing import Final

PORT: Final = 7
#: An IPv4 packet with its headers, as NASes count it; small enough for every tunnel.
PACKET_OCTETS: Final = 1_000
HEADER_OCTETS: Final = 28
TURN_SECONDS: Final = 0.01


def echo(address: str) -> None:
    """Send back what comes, for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.bind((address, PORT))
        while True:
            payload, sender = door.recvfrom(PACKET_OCTETS)
            with suppress(OSError):  # the tunnel is gone meanwhile
                door.sendto(payload, sender)


def send(address: str, octets_per_second: int) -> None:
    """Send for ever, never faster: what could not be sent in time is not made up for."""
    payload = bytes(PACKET_OCTETS - HEADER_OCTETS)
    pause = PACKET_OCTETS / octets_per_second
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as door:
        door.setblocking(False)
        due = time.monotonic()
        while True:
            now = time.monotonic()
            due = max(due, now - 5 * TURN_SECONDS)
            while due <= now:
                due += pause
                with suppress(OSError):  # no way there
                    door.sendto(payload, (address, PORT))
            with suppress(OSError):
                while True:
                    door.recv(PACKET_OCTETS)
            time.sleep(TURN_SECONDS)


if __name__ == "__main__":
    what, to, *rate = sys.argv[1:]
    if what == "echo":
        echo(to)
    else:
        send(to, int(rate[0]))
