"""A real 802.1X switch and a real supplicant: hostapd (driver `wired`) and wpa_supplicant, Debian's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.peers.hostapd import Supplicant, Switch
from tests.peers.machines import Network, needs
from tests.peers.site import Site

pytestmark = needs(
    "hostapd", "hostapd_cli", "wpa_supplicant", "wpa_cli", "bridge", package="hostapd, wpasupplicant and iproute2"
)

PASSWORD: Final = "correct-horse-battery-staple"
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
def site(tmp_path: Path, sqlite_url: str, network: Network, eventually: Callable[..., None]) -> Site:
    made = Site(tmp_path, sqlite_url, network, dialect="hostapd", plans=PLANS)
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


@pytest.mark.parametrize(("method", "called"), [(peap, "PEAP/MSCHAPv2"), (tls, "EAP-TLS")])
def test_a_port_opens_is_accounted_for_and_shut_by_a_disconnect(
    site: Site,
    network: Network,
    eventually: Callable[..., None],
    method: Callable[[Site], tuple[str, ...]],
    called: str,
) -> None:
    site.aaa("topup", "alice", "60.00", "--reference", "receipt-1")
    switch = Switch(site, network, eventually, "radius_acct_interim_interval=1")
    assert not switch.answers()  # a port that nobody has opened lets nothing through
    supplicant = Supplicant(switch.device, site.folder, eventually, *method(site))
    supplicant.await_port("Authorized")
    switch.await_open()
    (accept,) = site.events("access-accept")
    assert accept["method"] == called

    eventually(lambda: site.told("session", "list")[0]["seconds"] >= 2)
    (session,) = site.told("session", "list")
    assert (session["state"], session["calling_station"] is not None) == ("open", True)
    assert 0 < session["amount_micros"] == 100_000 * session["seconds"]

    site.aaa("subscriber", "suspend", "alice")
    switch.await_shut()
    eventually(lambda: not site.told("session", "list"))
    (command,) = site.events("command")
    assert (command["action"], command["answer"]) == ("disconnect", "ack")
    (ended,) = site.told("session", "list", "--all")
    assert (ended["close_reason"], ended["wanted"]) == ("stop", "cut")
    supplicant.says("reassociate")
    eventually(lambda: site.events("access-reject", reason="suspended"))
    assert "AUTHORIZED" not in switch.sessions()
    site.aaa("ledger", "check")
