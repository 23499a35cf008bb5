"""The packets both servers get, written straight from the RFCs (2865, 2866, 2869) so that no code under test takes part.

A stream is a function of its index: packet k is the same bytes for every server. k gives the NAS, which is a source port of the
load generator, the identifier there, the subscriber and the report's number. A session's packets all come from one NAS.
"""

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

# RFC 2865 section 3 is defined on MD5; a name of ours also saves the attribute lookup in hot loops
md5 = hashlib.md5

ACCESS_REQUEST, ACCESS_ACCEPT, ACCOUNTING_REQUEST, ACCOUNTING_RESPONSE, STATUS_SERVER = 1, 2, 4, 5, 12
START, STOP, INTERIM = 1, 2, 3
CLASS = 25

#: Divides the numbers of subscribers and sessions, so that a subscriber, as packets go round, stays on one.
NASES = 100
#: From one subscriber to the next, in numbers, where they come in no order: in that of the tables all rows that a batch changes would be
#: neighbours on a page or two, which fill up with them. A prime, so that each comes once in a turn; and 1 modulo `NASES`, so that a
#: session's reports come from where its Start came from.
STRIDE = 7901

# What one interim adds. 6.9 MB a minute is 0.9 Mbit/s: far below the 20 Mbit/s of the line, so no server has a reason to doubt it.
INTERIM_SECONDS = 60
UP_OCTETS = 612_345
DOWN_OCTETS = 6_234_567


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Who logs in and from where; the number decides everything else."""

    number: int

    @property
    def username(self) -> str:
        """As in `line00042@isp.example`'s local part: the suffix would only exercise FreeRADIUS' realm module."""
        return f"line{self.number:05d}"

    @property
    def password(self) -> str:
        """Clear text, 12 characters."""
        return f"pw-{self.number * 7919 % 1_000_000_000:09d}"


def attribute(kind: int, value: bytes | str | int) -> bytes:
    """One attribute: type, length, value (RFC 2865 section 5). Text is UTF-8, an int is 32 bits."""
    if isinstance(value, str):
        value = value.encode()
    elif isinstance(value, int):
        value = struct.pack(">I", value)
    return bytes((kind, len(value) + 2)) + value


def _line(subscriber: Subscriber) -> bytes:
    """What every packet of this subscriber says about the line."""
    n = subscriber.number
    return b"".join(
        (
            attribute(1, subscriber.username),
            attribute(4, bytes((192, 0, 2, 1))),  # NAS-IP-Address
            attribute(5, n),  # NAS-Port
            attribute(61, 15),  # NAS-Port-Type = Ethernet
            attribute(87, f"ether1-vlan{n}"),  # NAS-Port-Id
            attribute(6, 2),  # Service-Type = Framed-User
            attribute(7, 1),  # Framed-Protocol = PPP
            attribute(31, f"02-00-00-{n >> 16 & 255:02X}-{n >> 8 & 255:02X}-{n & 255:02X}"),  # Calling-Station-Id
        )
    )


def _identifier(k: int) -> int:
    return k // NASES & 255


def _signed(code: int, identifier: int, attributes: bytes, secret: bytes) -> bytes:
    """A packet whose Request Authenticator is the MD5 of RFC 2866 section 3."""
    head = struct.pack(">BBH", code, identifier, 20 + len(attributes))
    return head + md5(head + bytes(16) + attributes + secret).digest() + attributes


def accounting(identifier: int, attributes: bytes, secret: bytes) -> bytes:
    """An Accounting-Request with these attributes."""
    return _signed(ACCOUNTING_REQUEST, identifier, attributes, secret)


def logins(first: int, count: int, subscribers: int, secret: bytes, stride: int = 1) -> list[bytes]:
    """PAP Access-Requests (RFC 2865 sections 4.1 and 5.2), the subscribers in turn.

    The Request Authenticator, random on a real NAS, is here a hash of the index: unique, and the same for both servers.
    """
    lines = [(_line(Subscriber(n)), Subscriber(n).password.encode().ljust(16, b"\0")) for n in range(subscribers)]
    packets = []
    for k in range(first, first + count):
        line, password = lines[k * stride % subscribers]
        authenticator = md5(b"bench login %d" % k).digest()
        pad = md5(secret + authenticator).digest()
        hidden = (int.from_bytes(password, "big") ^ int.from_bytes(pad, "big")).to_bytes(16, "big")
        packets.append(
            struct.pack(">BBH", ACCESS_REQUEST, _identifier(k), 20 + 18 + len(line))
            + authenticator
            + b"\x02\x12"
            + hidden
            + line
        )
    return packets


@dataclass(frozen=True, slots=True)
class Sessions:
    """The accounting streams of many sessions, one per subscriber.

    `classes` are the Class values of the Accepts, by subscriber; empty bytes where there was none.
    """

    classes: Sequence[bytes]
    secret: bytes
    stride: int = 1
    """From one session to the next in `reports`."""

    def _head(self, n: int) -> bytes:
        token = self.classes[n]
        return b"".join(
            (
                _line(Subscriber(n)),
                attribute(8, bytes((10, 64 + (n >> 16), n >> 8 & 255, n & 255))),  # Framed-IP-Address
                attribute(44, f"8{n:07X}"),  # Acct-Session-Id
                attribute(45, 1),  # Acct-Authentic = RADIUS
                attribute(CLASS, token) if token else b"",
            )
        )

    def _report(self, k: int, status: int, n: int, interims: int) -> bytes:
        return _signed(
            ACCOUNTING_REQUEST, _identifier(k), self._head(n) + attribute(40, status) + _counters(interims), self.secret
        )

    def starts(self) -> list[bytes]:
        """One Start per session, counters at zero."""
        return [self._report(n, START, n, 0) for n in range(len(self.classes))]

    def stops(self, sent: int) -> list[bytes]:
        """One Stop per session after `sent` interims over all sessions, with the counters of the last one."""
        return [self._report(n, STOP, n, self.interims(n, sent)) for n in range(len(self.classes))]

    def reports(self, first: int, count: int) -> list[bytes]:
        """Interims number first .. first+count-1: the sessions in turn, each with counters higher than the time before."""
        sessions = len(self.classes)
        status = attribute(40, INTERIM)
        heads = [self._head(n) + status for n in range(sessions)]
        return [
            _signed(
                ACCOUNTING_REQUEST,
                _identifier(k),
                heads[k * self.stride % sessions] + _counters(k // sessions + 1),
                self.secret,
            )
            for k in range(first, first + count)
        ]

    def interims(self, n: int, sent: int) -> int:
        """How many of the first `sent` interims belong to session n."""
        sessions = len(self.classes)
        place = n * pow(self.stride, -1, sessions) % sessions
        return sent // sessions + (place < sent % sessions)


# Acct-Session-Time, octets, gigawords and packets in both directions: type, length and a 32-bit value each (RFC 2866, RFC 2869)
_COUNTERS = struct.Struct(">" + "BBI" * 7)


def _counters(interims: int) -> bytes:
    up, down = interims * UP_OCTETS, interims * DOWN_OCTETS
    return _COUNTERS.pack(
        46, 6, interims * INTERIM_SECONDS,
        42, 6, up & 0xFFFFFFFF, 52, 6, up >> 32, 47, 6, up // 200,
        43, 6, down & 0xFFFFFFFF, 53, 6, down >> 32, 48, 6, down // 1200,
    )  # fmt: skip


def status_server(secret: bytes, identifier: int) -> bytes:
    """A Status-Server with its Message-Authenticator (RFC 5997): how the bench asks whether a server is there."""
    import hmac

    head = struct.pack(">BBH", STATUS_SERVER, identifier, 38) + md5(b"bench status %d" % identifier).digest()
    return head + attribute(80, hmac.digest(secret, head + attribute(80, bytes(16)), "md5"))


def first_of(reply: bytes, kind: int) -> bytes:
    """The value of the first attribute of this type, empty when there is none."""
    at = 20
    while at + 2 <= len(reply) and reply[at + 1] >= 2:
        if reply[at] == kind:
            return reply[at + 2 : at + reply[at + 1]]
        at += reply[at + 1]
    return b""
