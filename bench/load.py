"""The load generator: a closed loop over plain non-blocking UDP sockets.

A fixed number of packets is outstanding; each answer sends the next one. Packets are ready-made bytes; what is left to do
per packet is one send, one receive, one MD5 to check the Response Authenticator (RFC 2865 section 3) and two looks at the clock.
"""

import gc
import select
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.packets import NASES, md5, status_server

RETRANSMIT_SECONDS = 1.0
GIVE_UP_SECONDS = 10.0  # without any answer at all


class Unanswered(Exception):
    """The server stopped answering."""


@dataclass(frozen=True, slots=True)
class Run:
    """What came back. `sent` counts packets, not transmissions; only answers inside the window make the rate and latencies."""

    sent: int
    answers: int
    seconds: float
    latencies: list[float]  # seconds, from the first transmission, sorted
    retransmissions: int
    unverified: int  # answers with a wrong Response Authenticator: dropped
    unexpected: int  # verified answers with another code than the expected one
    cpu_seconds: float  # the generator's own, in the window
    replies: list[bytes]  # by packet, when they were asked for

    @property
    def per_second(self) -> float:
        """Answers per second in the window."""
        return self.answers / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: float) -> float:
        """A latency in milliseconds."""
        if not self.latencies:
            return 0.0
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * percent / 100))] * 1000

    @property
    def cpu_micros_per_packet(self) -> float:
        """The generator's cost for one packet."""
        return self.cpu_seconds / self.answers * 1e6 if self.answers else 0.0


class _Outstanding:
    """What waits for an answer: per NAS, which is a source port, 256 places: (packet, index, sent) or None."""

    def __init__(self, port: int) -> None:
        self.sockets: list[socket.socket] = []
        self.places: list[list[tuple[bytes, int, float] | None]] = []
        self.last_sent: list[list[float]] = []
        self.count = 0
        for _ in range(NASES):
            one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            one.connect(("127.0.0.1", port))
            one.setblocking(False)
            self.sockets.append(one)
            self.places.append([None] * 256)
            self.last_sent.append([0.0] * 256)

    def send(self, packet: bytes, index: int, now: float) -> bool:
        """Send from the packet's own NAS. False while that one's identifier is not free."""
        at, identifier = index % NASES, packet[1]
        if self.places[at][identifier] is not None:
            return False
        self.places[at][identifier] = (packet, index, now)
        self.last_sent[at][identifier] = now
        self.count += 1
        _transmit(self.sockets[at], packet)
        return True

    def retransmit(self, now: float) -> int:
        """Send again, byte for byte, what has waited too long. Returns how many."""
        again = 0
        for at, places in enumerate(self.places):
            for identifier, place in enumerate(places):
                if place is not None and now - self.last_sent[at][identifier] >= RETRANSMIT_SECONDS:
                    self.last_sent[at][identifier] = now
                    _transmit(self.sockets[at], place[0])
                    again += 1
        return again

    def close(self) -> None:
        for one in self.sockets:
            one.close()


def _transmit(one: socket.socket, packet: bytes) -> None:
    try:
        one.send(packet)
    except (BlockingIOError, ConnectionRefusedError):
        return  # as lost as any other datagram: the retransmission brings it


@contextmanager
def _no_collections() -> Iterator[None]:
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()


def drive(  # noqa: C901, PLR0912, PLR0913, PLR0915 - one loop, written out: a call per packet would be most of its cost
    port: int,
    packets: Sequence[bytes],
    secret: bytes,
    expected_code: int,
    outstanding: int,
    *,
    first: int = 0,
    warm_up: float = 0.0,
    seconds: float | None = None,
    keep_replies: bool = False,
) -> Run:
    """Send `packets` in order, `outstanding` at a time, and wait for every answer.

    `first` is the index of the first one in the stream they are of. With `seconds`, stop sending when the window (which opens after `warm_up` seconds) ends or when the packets do, whichever
    is first; without it, send all of them and measure the whole run. Raises Unanswered when nothing came back for ten seconds.
    """
    waiting = _Outstanding(port)
    sockets, all_places = waiting.sockets, waiting.places
    replies = [b""] * len(packets) if keep_replies else []
    latencies: list[float] = []
    retransmissions = unverified = unexpected = following = 0
    total = len(packets)
    clock = time.perf_counter
    poller = select.epoll()
    for one in sockets:
        poller.register(one.fileno(), select.EPOLLIN)
    by_descriptor = {one.fileno(): (one, all_places[at]) for at, one in enumerate(sockets)}
    try:
        with _no_collections():
            began = clock()
            opens = began + (warm_up if seconds is not None else 0.0)
            closes = opens + seconds if seconds is not None else float("inf")
            last_answer = next_look = began
            opened_at, cpu_opened = (began, time.process_time()) if opens <= began else (0.0, 0.0)
            closed_at = cpu_closed = 0.0
            while following < min(outstanding, total) and waiting.send(packets[following], first + following, clock()):
                following += 1
            while waiting.count:
                for descriptor, _ in poller.poll(0.1):
                    one, places = by_descriptor[descriptor]
                    while True:
                        try:
                            reply = one.recv(4096)
                        except BlockingIOError:
                            break
                        except ConnectionRefusedError:
                            continue
                        place = places[reply[1]] if len(reply) >= 20 else None
                        if place is None:
                            continue  # the second answer to a retransmitted packet
                        packet, index, sent_at = place
                        if md5(reply[:4] + packet[4:20] + reply[20:] + secret).digest() != reply[4:20]:
                            unverified += 1
                            continue
                        places[reply[1]] = None
                        waiting.count -= 1
                        last_answer = now = clock()
                        if reply[0] != expected_code:
                            unexpected += 1
                        if keep_replies:
                            replies[index - first] = reply
                        if opened_at and not closed_at:
                            latencies.append(now - sent_at)
                        if (
                            now < closes
                            and following < total
                            and waiting.send(packets[following], first + following, now)
                        ):
                            following += 1
                now = clock()
                if not opened_at and now >= opens:
                    opened_at, cpu_opened = now, time.process_time()
                # the window ends with the sending: what is still under way belongs to no full load
                over = now >= closes or following == total if seconds is not None else not waiting.count
                if opened_at and not closed_at and over:
                    closed_at, cpu_closed = now, time.process_time()
                if now >= next_look:
                    next_look = now + 0.1
                    retransmissions += waiting.retransmit(now)
                    while waiting.count < outstanding and now < closes and following < total:
                        if not waiting.send(packets[following], first + following, now):
                            break
                        following += 1
                    if now - last_answer > GIVE_UP_SECONDS:
                        raise Unanswered(
                            f"no answer from port {port} for {GIVE_UP_SECONDS:.0f} s, {waiting.count} outstanding"
                        )
            if not closed_at:
                closed_at, cpu_closed = clock(), time.process_time()
                opened_at = opened_at or began
    finally:
        poller.close()
        waiting.close()
    latencies.sort()
    return Run(
        sent=following,
        answers=len(latencies),
        seconds=closed_at - opened_at,
        latencies=latencies,
        retransmissions=retransmissions,
        unverified=unverified,
        unexpected=unexpected,
        cpu_seconds=cpu_closed - cpu_opened,
        replies=replies,
    )


def wait_for(port: int, secret: bytes, *, alive: Callable[[], bool], seconds: float = 60.0) -> bool:
    """True as soon as the server on this port answers a Status-Server; False when it is no longer alive or time is up."""
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.connect(("127.0.0.1", port))
        one.settimeout(0.3)
        identifier = 0
        while alive() and time.monotonic() < deadline:
            identifier = (identifier + 1) % 256
            request = status_server(secret, identifier)
            try:
                one.send(request)
                reply = one.recv(4096)
            except TimeoutError:
                continue
            except ConnectionRefusedError:
                time.sleep(0.1)
                continue
            if md5(reply[:4] + request[4:20] + reply[20:] + secret).digest() == reply[4:20]:
                return True
    return False


def free_ports(count: int) -> list[int]:
    """UDP ports on loopback that nobody has at this moment."""
    taken = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(count)]
    for one in taken:
        one.bind(("127.0.0.1", 0))
    ports = [int(one.getsockname()[1]) for one in taken]
    for one in taken:
        one.close()
    return ports
