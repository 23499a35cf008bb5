"""One-time codes, and logins by nothing but an address."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aaa.keyring import subscriber_totp
from aaa.messages import station
from aaa.passwords import totp
from aaa.wire import Attribute, Code
from tests.aaa.conftest import NOON, PASSWORD, Floor, Sent

# RFC 6238 appendix B, SHA-1; its codes have eight digits, of which ours are the last six.
SECRET = b"12345678901234567890"
EXAMPLES = [
    (59, b"287082"), (1111111109, b"081804"), (1111111111, b"050471"), (1234567890, b"005924"), (2000000000, b"279037"),
    (20000000000, b"353130"),
]  # fmt: skip


@pytest.mark.parametrize(("seconds", "code"), EXAMPLES)
def test_the_examples_of_rfc_6238(seconds: int, code: bytes) -> None:
    assert totp.code_at(SECRET, seconds // 30) == code
    assert totp.step_of(SECRET, code, seconds * 1000) == seconds // 30


@pytest.mark.parametrize(("seconds_off", "found"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)])
def test_a_clock_may_be_half_a_minute_off(seconds_off: int, found: bool) -> None:
    code = totp.code_at(SECRET, NOON // totp.STEP_MS)
    assert (totp.step_of(SECRET, code, NOON + seconds_off * 1000) is not None) is found


@given(st.binary(max_size=12))
def test_what_is_no_code_is_of_no_step(code: bytes) -> None:
    codes = {totp.code_at(SECRET, NOON // totp.STEP_MS + step) for step in (-1, 0, 1)}
    assert (totp.step_of(SECRET, code, NOON) is not None) is (code in codes)


def test_what_authenticator_applications_read() -> None:
    uri = totp.uri(SECRET, "alice@example.net")
    assert uri == (
        "otpauth://totp/AAA%3Aalice%40example.net?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=AAA&digits=6&period=30"
    )


# --- through the server --------------------------------------------------------------------------------------------


def code(floor: Floor, steps: int = 0) -> bytes:
    return totp.code_at(SECRET, floor.now() // totp.STEP_MS + steps)


def answered(floor: Floor, sent: Sent) -> int:
    floor.clock.advance(1)
    return sent.answer().code


@pytest.mark.parametrize("chap", [True, False], ids=["clear", "argon2id"])
def test_password_and_code_log_in_once(floor: Floor, chap: bool) -> None:
    floor.add_subscriber(
        "carol", chap=chap, max_sessions=9, totp_sealed=floor.keys.seal(subscriber_totp("carol"), SECRET)
    )
    once = code(floor)
    assert answered(floor, floor.login("carol", PASSWORD)) == Code.ACCESS_REJECT
    assert answered(floor, floor.login("carol", PASSWORD + b"000000")) == Code.ACCESS_REJECT
    assert answered(floor, floor.login("carol", b"wrong" + once)) == Code.ACCESS_REJECT
    assert answered(floor, floor.login("carol", PASSWORD + once)) == Code.ACCESS_ACCEPT
    assert answered(floor, floor.login("carol", PASSWORD + once)) == Code.ACCESS_REJECT, "used"
    assert answered(floor, floor.login("carol", PASSWORD + code(floor, -1))) == Code.ACCESS_REJECT, (
        "older than the used one"
    )
    floor.clock.advance(30)
    assert answered(floor, floor.login("carol", PASSWORD + code(floor))) == Code.ACCESS_ACCEPT


def test_a_code_goes_with_the_password_itself_only(sqlite_floor: Floor) -> None:
    sqlite_floor.add_subscriber("carol", totp_sealed=sqlite_floor.keys.seal(subscriber_totp("carol"), SECRET))
    sent = sqlite_floor.send_access(sqlite_floor.access_request([("User-Name", "carol"), ("CHAP-Password", bytes(17))]))
    with capture_logs() as logged:
        sqlite_floor.clock.advance(1)
    assert sent.answer().code == Code.ACCESS_REJECT
    assert not [each for each in logged if each["event"] == "access-accept"]


# --- by address ----------------------------------------------------------------------------------------------------

ADDRESS = "02:00:5e:00:53:01"
SPELLINGS = [
    "02:00:5e:00:53:01", "02-00-5E-00-53-01", "0200.5e00.5301", "02005E005301", "02-00-5E-00-53-01:guests",
    "02:00:5E:00:53:01:guests",
]  # fmt: skip


@pytest.mark.parametrize("text", SPELLINGS)
def test_an_address_has_one_spelling(text: str) -> None:
    assert station(text) == ADDRESS


@pytest.mark.parametrize(
    "text", ["", "alice", "02:00:5e:00:53", "02:00:5e:00:53:0g", "0200.5e00.53012", "02:00:5e:00:53:01x"]
)
def test_what_is_no_address(text: str) -> None:
    assert station(text) is None


def knock(name: str, calling: str | None, *more: Attribute) -> Callable[[Floor], Sent]:
    said: list[Attribute] = [("User-Name", name), *more]
    if calling is not None:
        said.append(("Calling-Station-Id", calling))
    return lambda floor: floor.send_access(floor.access_request(said))


@pytest.mark.parametrize("name", SPELLINGS[:4])
def test_an_address_alone_logs_in_where_the_nas_may_ask_so(floor: Floor, name: str) -> None:
    floor.add_subscriber(ADDRESS, chap=False, password_argon2=None, max_sessions=9)
    sent = knock(name, "02-00-5E-00-53-01:guests", ("User-Password", name.encode()))
    assert answered(floor, sent(floor)) == Code.ACCESS_REJECT
    floor.set_nas("bras-1", mac_authentication=True, revised_at=floor.now() + 1)
    floor.nases.refresh()
    assert answered(floor, sent(floor)) == Code.ACCESS_ACCEPT
    assert answered(floor, knock(name, "02-00-5E-00-53-01")(floor)) == Code.ACCESS_ACCEPT, "without a password"


@pytest.mark.parametrize(
    "sent",
    [
        knock(ADDRESS, "02-00-5E-00-53-02", ("User-Password", ADDRESS.encode())),
        knock(ADDRESS, None, ("User-Password", ADDRESS.encode())),
        knock("02:00:5e:00:53:02", "02:00:5e:00:53:02", ("User-Password", b"02:00:5e:00:53:02")),
        knock("02:00:5e:00:53:03", "02:00:5e:00:53:03", ("User-Password", b"02:00:5e:00:53:03")),
    ],
    ids=["another's address", "no address", "somebody with a password", "nobody"],
)
def test_an_address_that_is_not_the_devices_own_does_not(sqlite_floor: Floor, sent: Callable[[Floor], Sent]) -> None:
    sqlite_floor.add_subscriber(ADDRESS, chap=False, password_argon2=None, max_sessions=9)
    sqlite_floor.add_subscriber("02:00:5e:00:53:02")
    sqlite_floor.set_nas("bras-1", mac_authentication=True, revised_at=sqlite_floor.now() + 1)
    sqlite_floor.nases.refresh()
    assert answered(sqlite_floor, sent(sqlite_floor)) == Code.ACCESS_REJECT
