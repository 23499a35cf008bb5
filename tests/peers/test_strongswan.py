"""strongSwan as the NAS and as the devices: real tunnels with real traffic, and their end when it is used up."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

import pytest

from charging import planfile
from tests.databases import Databases
from tests.outside import ROOT, until
from tests.peers import strongswan
from tests.peers.machines import Network
from tests.peers.site import Site
from tests.peers.strongswan import INSIDE_HOST, Device, Gateway, Octets
from tests.stories.plain_sql import plain_sql, top_up

PASSWORD: Final = "correct-horse-battery-staple"
INTERVAL_SECONDS: Final = 5
#: What a device sends and gets back, each; a little less than the plan's rate, for strongSwan shapes nothing.
SENT_OCTETS_PER_SECOND: Final = 240_000
PLANS: Final = f"""\
currency = "EUR"
time_zone = "Europe/Berlin"
[profile.tunnel]
rate_down = "2M"
rate_up = "2M"
interim_interval = "{INTERVAL_SECONDS}s"
[plan.tunnel]
profile = "tunnel"
max_sessions = 1
[[plan.tunnel.rate]]
unit = "octets"
price = "0.01"
per = "1MB"
[plan.tunnel.exhausted]
action = "disconnect"
"""
WITHIN_SECONDS: Final = 30
#: strongSwan reads its counters a moment before it takes the tunnel down.
MOMENT_SECONDS: Final = 0.5

pytestmark = strongswan.needs_strongswan()


class Lab(NamedTuple):
    """A site with a gateway, and two devices."""

    site: Site
    gateway: Gateway
    devices: tuple[Device, Device]
    database_url: str

    def subscribe(self, user: str, *more: str) -> None:
        """Somebody new who has paid nothing yet."""
        add = ("subscriber", "add", user, "--plan", "tunnel", "--password-stdin", "--allow-chap", *more)
        self.site.aaa(*add, stdin=PASSWORD)

    def pay(self, account: str, reference: str, amount: str) -> None:
        """As a shop does it; done when it is paid in."""
        with plain_sql(self.database_url) as sql:
            sql(top_up(account, reference, "octets", amount))
            status = f"SELECT status FROM billing_top_up WHERE external_ref = '{reference}'"
            until(lambda: sql(status) == [("applied",)], within=WITHIN_SECONDS, what="it was not paid in")

    def sessions(self, *users: str) -> list[dict[str, Any]]:
        """All that they ever had."""
        return [each for each in self.site.told("session", "list", "--all") if each["username"] in users]

    def commands(self, *users: str) -> list[tuple[str, str, str]]:
        """What the gateway was told, why, and what came of it."""
        with plain_sql(self.database_url) as sql:
            rows = sql("SELECT username, action, reason, state FROM billing_command ORDER BY created_at")
        return [(action, reason, state) for user, action, reason, state in rows if user in users]

    @contextmanager
    def traffic(self, *devices: Device) -> Iterator[None]:
        """They send what they can whenever there is a tunnel, and it is sent back."""
        program = (sys.executable, "-m", "tests.peers.traffic")
        log = self.site.folder / "traffic.log"
        running = [self.gateway.machine.start(*program, "echo", INSIDE_HOST, log=log, folder=ROOT)]
        for device in devices:
            send = ("send", INSIDE_HOST, str(SENT_OCTETS_PER_SECOND))
            running.append(device.machine.start(*program, *send, log=log, folder=ROOT))
        try:
            yield
        finally:
            for each in running:
                each.kill()
                each.wait()
        assert log.read_text() == ""


@pytest.fixture(scope="module")
def lab(
    tmp_path_factory: pytest.TempPathFactory, postgres_databases: Databases, eventually: Callable[..., None]
) -> Iterator[Lab]:
    """One for all tests here: each has subscribers of its own."""
    folder = tmp_path_factory.mktemp("strongswan")
    more = ('eap_methods = ["peap", "ttls", "tls", "mschapv2", "md5"]', '[realm."example.net"]', "strip = true")
    with postgres_databases.one() as database_url, Network() as network:
        with pytest.MonkeyPatch.context() as patch:
            # strongSwan reports as often as it is told to, and nobody wants to wait here for minutes.
            patch.setattr(planfile, "MIN_INTERIM_INTERVAL_SECONDS", INTERVAL_SECONDS)
            site = Site(folder, database_url, network, *more, dialect="strongswan", plans=PLANS)
        site.serve(eventually)
        devices = Device(site, network, 1), Device(site, network, 2)
        yield Lab(site, Gateway(site), devices, database_url)


def passed(lab: Lab, since: Octets) -> Octets:
    """What the tunnels' interface has seen since then."""
    now = lab.gateway.octets
    return Octets(now.up - since.up, now.down - since.down)


def counted(sessions: Sequence[dict[str, Any]]) -> Octets:
    """What was reported."""
    return Octets(sum(each["octets_up"] for each in sessions), sum(each["octets_down"] for each in sessions))


def use_up(devices: Sequence[Device]) -> int:
    """Everybody comes back as often as he is let in; how often that was, when nobody is any more."""
    logins, refused = 0, set[Device]()
    deadline = time.monotonic() + WITHIN_SECONDS
    while len(refused) < len(devices):
        assert time.monotonic() < deadline, "somebody is still there"
        for device in devices:
            if device not in refused and not device.tunnels:
                if device.log_in():
                    logins += 1
                else:
                    refused.add(device)
        time.sleep(0.05)
    return logins


@pytest.mark.parametrize(
    ("method", "called", "realm"), [("eap-md5", "EAP-MD5", ""), ("eap-mschapv2", "EAP-MSCHAPv2", "@example.net")]
)
def test_a_tunnel_is_accounted_for_and_ended_by_a_disconnect(
    lab: Lab, eventually: Callable[..., None], method: str, called: str, realm: str
) -> None:
    user = f"user-of-{method}"
    lab.subscribe(user)
    lab.pay(user, method, "1GB")
    device = lab.devices[0]
    name = user + realm  # the only one that strongSwan ever learns
    device.become(name, "incorrect-horse", method)
    assert not device.log_in()
    said = lab.site.events("eap-refused" if called == "EAP-MSCHAPv2" else "access-reject", username=name)
    assert [each["reason"] for each in said] == ["wrong-password"]

    device.become(name, PASSWORD, method)
    before = lab.gateway.octets
    with lab.traffic(device):
        assert device.log_in()
        (accept,) = lab.site.events("access-accept", username=name)
        assert accept["method"] == called
        eventually(lambda: lab.sessions(user)[0]["octets_down"], within=WITHIN_SECONDS)
        (session,) = lab.sessions(user)
        assert (session["state"], session["framed_address"][:5]) == ("open", "10.7.")
        assert session["calling_station"] == "10.8.1.2[4500]"
        lab.site.aaa("session", "disconnect", str(session["session_id"]))
        eventually(lambda: not device.tunnels)
        eventually(lambda: lab.sessions(user)[0]["state"] == "closed")
        seen = passed(lab, before)
    (session,) = lab.sessions(user)
    assert (session["close_reason"], session["wanted"]) == ("stop", "cut")
    assert lab.commands(user) == [("disconnect", "operator", "acked")]
    assert_agree(counted([session]), seen)


def assert_agree(reported: Octets, seen: Octets, ends: int = 1) -> None:
    """What strongSwan reported is what has passed; at each end of a tunnel a moment's traffic may be missing."""
    slack = round(ends * MOMENT_SECONDS * SENT_OCTETS_PER_SECOND)
    for said, really in zip(reported, seen, strict=True):
        assert really - slack <= said <= really, (reported, seen)
        assert said > INTERVAL_SECONDS * SENT_OCTETS_PER_SECOND // 2


@pytest.mark.parametrize("users", [("alice",), ("bob", "bob"), ("carol", "dave")], ids=["one", "same user", "family"])
def test_what_is_used_up_is_cut_and_stays_out_until_it_is_paid(
    lab: Lab, eventually: Callable[..., None], users: tuple[str, ...]
) -> None:
    account, paid = users[0], 6_000_000 * len(users)
    for user in dict.fromkeys(users):
        lab.subscribe(user, "--account", account, "--max-sessions", str(users.count(user)))
    lab.pay(account, f"{account}-1", str(paid))
    bound = lab.site.told("explain", account)["bound"]
    assert bound["octets"] == len(users) * 500_000 * (INTERVAL_SECONDS + 5 + 30)

    devices = lab.devices[: len(users)]
    for device, user in zip(devices, users, strict=True):
        device.become(user, PASSWORD)
    before = lab.gateway.octets
    with lab.traffic(*devices):
        logins = use_up(devices)
        eventually(lambda: all(each["state"] == "closed" for each in lab.sessions(*users)))
        at_the_end = lab.gateway.octets
        sessions = lab.sessions(*users)
        used = sum(counted(sessions))
        print(
            f"{len(devices)} devices, {logins} logins: paid {paid}, used {used}, bound {bound['octets']}, {lab.commands(*users)}"
        )
        assert paid < used <= paid + bound["octets"]
        assert logins <= 4 * len(devices), "they log in over and over"
        assert sum(each["leaked_octets"] for each in sessions) == used - paid
        seen = passed(lab, before)
        assert_agree(counted(sessions), seen, ends=len(sessions))
        assert {action for action, _, _ in lab.commands(*users)} == {"disconnect"}
        assert not any(device.log_in() for device in devices)
        assert passed(lab, at_the_end).up == 0, "nobody is there, and something passes"

        lab.pay(account, f"{account}-2", "100MB")
        assert all(device.log_in() for device in devices)
        eventually(lambda: passed(lab, at_the_end).up > 0)
    for device in devices:
        device.log_out()
    eventually(lambda: all(each["state"] == "closed" for each in lab.sessions(*users)))
    lab.site.aaa("ledger", "check")
