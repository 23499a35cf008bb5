"""A real 802.1X switch and a real supplicant: hostapd (driver `wired`) and wpa_supplicant, Debian's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Final

import pytest

from tests.peers.hostapd import Supplicant, Switch
from tests.peers.machines import Network, needs
from tests.peers.site import Site
from tests.stories.plain_sql import plain_sql, top_up

pytestmark = needs(
    "hostapd", "hostapd_cli", "wpa_supplicant", "wpa_cli", "bridge", package="hostapd, wpasupplicant and iproute2"
)

PASSWORD: Final = "correct-horse-battery-staple"
PRICE_MICROS: Final = 100_000
#: The wired driver counts no octets, so what is sold here is time.
PLANS: Final = """\
currency = "EUR"
time_zone = "Europe/Berlin"

[profile.port]
rate_down = "100M"
rate_up = "100M"
interim_interval = "1m"

[plan.by-the-second]
profile = "port"
[[plan.by-the-second.rate]]
unit = "seconds"
price = "0.10"
per = "1s"
"""


@pytest.fixture
def network() -> Iterator[Network]:
    with Network() as machines:
        yield machines


@pytest.fixture
def site(tmp_path: Path, postgresql_url: str, network: Network, eventually: Callable[..., None]) -> Site:
    made = Site(tmp_path, postgresql_url, network, dialect="hostapd", plans=PLANS)
    aaa = made.aaa
    aaa("subscriber", "add", "alice", "--plan", "by-the-second", "--allow-chap", "--password-stdin", stdin=PASSWORD)
    aaa("certificate", "issue", "alice", "--folder", str(made.certificates), "--out", str(made.folder))
    made.serve(eventually)
    return made


def peap(site: Site) -> tuple[str, ...]:
    return (
        "eap=PEAP", 'identity="alice"', 'anonymous_identity="anonymous"', f'password="{PASSWORD}"',
        f'ca_cert="{site.certificates / "ca.pem"}"', 'phase2="auth=MSCHAPV2"',
    )  # fmt: skip


def tls(site: Site) -> tuple[str, ...]:
    return (
        "eap=TLS", 'identity="alice"', f'ca_cert="{site.certificates / "ca.pem"}"',
        f'client_cert="{site.folder / "alice.pem"}"', f'private_key="{site.folder / "alice.key"}"',
    )  # fmt: skip


def test_a_port_opens_is_accounted_for_and_shut_by_a_disconnect(
    site: Site, network: Network, eventually: Callable[..., None]
) -> None:
    site.aaa("topup", "alice", "60.00", "--reference", "receipt-1")
    switch = Switch(site, network, eventually, "radius_acct_interim_interval=1")
    assert not switch.answers()  # a port that nobody has opened lets nothing through
    supplicant = Supplicant(switch.device, site.folder, eventually, *peap(site))
    supplicant.await_port("Authorized")
    switch.await_open()
    (accept,) = site.events("access-accept")
    assert accept["method"] == "PEAP/MSCHAPv2"

    eventually(lambda: site.told("session", "list")[0]["seconds"] >= 2)
    (session,) = site.told("session", "list")
    assert (session["state"], session["username"]) == ("open", "alice")
    assert 0 < session["amount_micros"] == PRICE_MICROS * session["seconds"]

    suspended(site, switch, eventually)
    (ended,) = site.told("session", "list", "--all")
    assert (ended["close_reason"], ended["wanted"]) == ("stop", "cut")
    supplicant.says("reassociate")
    eventually(lambda: site.events("access-reject", reason="suspended"))
    assert "AUTHORIZED" not in switch.sessions()
    site.aaa("ledger", "check")


def test_a_running_session_that_is_authenticated_again_is_charged_once(
    site: Site, network: Network, eventually: Callable[..., None]
) -> None:
    """Every hour, by hostapd's default; here every two seconds."""
    site.aaa("topup", "alice", "60.00", "--reference", "receipt-1")
    switch = Switch(site, network, eventually, "radius_acct_interim_interval=1", "eap_reauth_period=2")
    Supplicant(switch.device, site.folder, eventually, *tls(site))
    switch.await_open()
    eventually(
        lambda: any(each["close_reason"] == "replaced" for each in site.told("session", "list", "--all")), within=15
    )
    accepts = site.events("access-accept", method="EAP-TLS")
    assert len({accept["session_id"] for accept in accepts}) == len(accepts) >= 2
    eventually(lambda: site.told("session", "list")[0]["seconds"] >= 1)
    suspended(site, switch, eventually)
    assert max(later - earlier for earlier, later in pairwise(switch.answers())) < 1  # nobody has noticed
    (cut,) = site.events("command", action="disconnect", answer="ack")
    lasted = (
        datetime.fromisoformat(cut["timestamp"]) - datetime.fromisoformat(accepts[0]["timestamp"])
    ).total_seconds()
    charged = sum(session["seconds"] for session in site.told("session", "list", "--all"))
    assert 2 <= charged <= lasted + 1
    site.aaa("ledger", "check")


def test_who_has_used_up_what_he_paid_is_cut_and_stays_out_until_he_pays_again(
    site: Site, network: Network, postgresql_url: str, eventually: Callable[..., None]
) -> None:
    bound = site.told("explain", "alice")["bound"]["seconds"]
    site.aaa("topup", "alice", "0.50", "--reference", "receipt-1")
    paid_seconds = 500_000 // PRICE_MICROS
    switch = Switch(site, network, eventually, "radius_acct_interim_interval=1")
    supplicant = Supplicant(switch.device, site.folder, eventually, *peap(site))
    switch.await_open()
    began = switch.answers()[0]

    eventually(lambda: site.events("command"), within=paid_seconds + 10)
    switch.await_shut()
    (command,) = site.events("command")
    assert (command["action"], command["reason"], command["answer"]) == ("disconnect", "exhausted", "ack")
    served = switch.answers()[-1] - began
    assert 0 < served <= paid_seconds + bound
    eventually(lambda: not site.told("session", "list"))
    (session,) = site.told("session", "list", "--all")
    assert (session["amount_micros"], session["close_reason"]) == (500_000, "stop")
    assert paid_seconds <= session["seconds"] <= paid_seconds + bound

    supplicant.says("reassociate")
    eventually(lambda: site.events("access-reject", reason="exhausted"))
    supplicant.await_port("Unauthorized")
    eventually(lambda: not switch.sessions(), within=10)  # hostapd does not hear for 5 s whom it has refused
    assert switch.answers()[-1] == began + served

    with plain_sql(postgresql_url) as sql:
        sql(top_up("alice", "order-4711", "money", "5.00"))
        eventually(lambda: sql("SELECT status FROM billing_top_up WHERE external_ref = 'order-4711'") == [("applied",)])
    supplicant.says("reassociate")
    switch.await_open()
    assert site.told("session", "list")[0]["wanted"] == "full"
    print(f"{served:.1f} s of service for {paid_seconds} s that were paid; printed bound: {bound} s more")
    site.aaa("ledger", "check")


def suspended(site: Site, switch: Switch, eventually: Callable[..., None]) -> None:
    """The operator suspends alice, and a Disconnect shuts the port at once."""
    site.aaa("subscriber", "suspend", "alice")
    switch.await_shut()
    eventually(lambda: not site.told("session", "list"))
    assert site.events("command", action="disconnect", reason="suspended", answer="ack")
