"""What a method says to whoever runs it. A method is a generator: it yields `Ask`, and gets the peer's `Answer`; it yields
`Check`, and gets what the directory knows; it returns what was `Proven`, or raises `Refused`. So it needs no socket, no database
and no clock, and a test drives it with `send`."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from aaa.messages import text
from aaa.passwords import Method
from aaa.passwords.mppe import Keys

if TYPE_CHECKING:
    from OpenSSL import SSL

T = TypeVar("T")

#: What a User-Name holds (RFC 2865 section 5.1).
MOST_IDENTITY_OCTETS: Final = 253


class Ask(NamedTuple):
    """A request of the method's own type."""

    data: bytes


class Answer(NamedTuple):
    """The peer's answer to it; `identifier` is the packet's, which some methods sign."""

    identifier: int
    data: bytes


class Check(NamedTuple):
    """Is this the password of that user?"""

    username: str
    method: Method


class Checked(NamedTuple):
    """None: it is. Else why not: a word, and more of it for the log. `nt`: the NT hash that MS-CHAP was checked with."""

    refusal: str | None
    nt: bytes | None = None
    detail: str = ""


class Proven(NamedTuple):
    """Who it is, how that was proven (`PEAP/MSCHAPv2`), and the keys that both sides now share."""

    username: str
    method: str
    keys: Keys | None = None


class Refused(Exception):
    """The method ended without a proof. `reason` is a short constant slug; it, `detail` and `method` are for the log, and none
    of them goes to the peer."""

    def __init__(self, reason: str, detail: str = "", method: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail
        self.method = method

    def within(self, method: str) -> Refused:
        """The same, and in which method that was; outer ones are named later: `PEAP/MSCHAPv2`."""
        self.method = f"{method}/{self.method}" if self.method else method
        return self


@dataclass(frozen=True, slots=True)
class Peer:
    """What is known when a method begins."""

    identity: bytes
    """As the peer says it, unproven."""
    most_octets: int
    """Longest type data that reaches the peer in one piece."""
    random: Callable[[int], bytes]
    tunnel: SSL.Context | None = None
    """TLS in which the server proves itself; None where it has no certificate."""
    mutual: SSL.Context | None = None
    """TLS in which the peer proves itself too; None where no CA of clients is known."""

    @property
    def name(self) -> str:
        """The identity as text."""
        return text(self.identity)

    @property
    def is_anonymous(self) -> bool:
        """Does the peer keep its name for the tunnel? (RFC 7542 section 2.4)"""
        return self.identity.partition(b"@")[0].lower() in {b"", b"anonymous"}

    def inside(self, identity: bytes, most_octets: int) -> Peer:
        """The same peer under the name that it says inside of a tunnel: the name of the account that pays. What it said
        outside must not be the name of somebody else, nor of another realm."""
        if len(identity) > MOST_IDENTITY_OCTETS:
            raise Refused("eap-malformed", f"an identity of {len(identity)} octets")
        inner = Peer(identity, most_octets, self.random)
        outer_user, _, outer_realm = self.identity.partition(b"@")
        inner_user, _, inner_realm = identity.partition(b"@")
        if not self.is_anonymous and inner_user != outer_user:
            raise Refused("eap-identity-mismatch", f"{inner.name!r} inside of {self.name!r}")
        if outer_realm and inner_realm and inner_realm.lower() != outer_realm.lower():
            raise Refused("eap-realm-mismatch", f"{inner.name!r} inside of {self.name!r}")
        return inner


Dialogue = Generator[Ask | Check, Answer | Checked, T]
"""A method, or a part of one, that ends with a T."""
Steps = Dialogue[Proven]


def ask(data: bytes) -> Dialogue[Answer]:
    """Ask the peer."""
    answer = yield Ask(data)
    assert isinstance(answer, Answer)
    return answer


def check(username: str, method: Method) -> Dialogue[Checked]:
    """Ask the directory."""
    checked = yield Check(username, method)
    assert isinstance(checked, Checked)
    return checked


def must_be_right(username: str, method: Method, name: str = "") -> Dialogue[Checked]:
    """The same, where a wrong password is the end. `name`: of a method that is not negotiated."""
    checked = yield from check(username, method)
    if checked.refusal is not None:
        raise Refused(checked.refusal, checked.detail, name)
    return checked
