"""Sessions paid for in advance, on simulated NASes of every dialect: nobody gets more than the balance and the printed
bound; who has nothing left is throttled, redirected or cut; who pays is served again."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from aaa.simulator import Event, Server, SimulatedNas, SimulatedSession, behaviour_of
from aaa.simulator.udp import Ports, now_ms
from tests.outside import SECRET
from tests.stories.conftest import Aaa, ServerProcess
from tests.stories.plain_sql import plain_sql, top_up

pytestmark = pytest.mark.proof

DIALECTS: Final = ("generic", "mikrotik", "accel-ppp", "chillispot")
COUNTING: Final = {"mikrotik", "chillispot"}
"""Those whose NASes end a session by themselves at the volume that they were told; the others are slowed down towards the end."""
PASSWORD: Final = "correct-horse"
LONGEST_STORY_MS: Final = 180_000

HEAD: Final = """\
currency = "EUR"
time_zone = "Europe/Berlin"
[profile.fast]
rate_down = "20M"
rate_up = "5M"
interim_interval = "1m"
[profile.line]
rate_down = "16M"
rate_up = "4M"
interim_interval = "1m"
[profile.fibre]
rate_down = "2G"
rate_up = "500M"
interim_interval = "1m"
[profile.quarter]
rate_down = "4500k"
rate_up = "500k"
interim_interval = "1m"
[profile.slow]
rate_down = "64k"
rate_up = "32k"
interim_interval = "1m"
[profile.wall]
rate_down = "1M"
rate_up = "1M"
redirect_url = "https://pay.example.net/"
address_list = "unpaid"
interim_interval = "1m"
"""
FAST: Final = (5_000_000, 20_000_000)
LINE: Final = (4_000_000, 16_000_000)
QUARTER: Final = (500_000, 4_500_000)
SLOW: Final = (32_000, 64_000)
WALL: Final = (1_000_000, 1_000_000)


def plan(name: str, profile: str, amount: str, exhausted: str) -> str:
    """A plan with an allowance, and a rate beyond it: 10.00 buys 500 MB."""
    return f"""\
[plan.{name}]
profile = "{profile}"
max_sessions = 2
[[plan.{name}.allowance]]
name = "data"
unit = "octets"
amount = "{amount}"
[[plan.{name}.rate]]
unit = "octets"
price = "0.02"
per = "1MB"
[plan.{name}.exhausted]
{exhausted}
"""


THROTTLE: Final = 'action = "throttle"\nprofile = "slow"'
REDIRECT: Final = 'action = "redirect"\nprofile = "wall"'
DISCONNECT: Final = 'action = "disconnect"'


class Town:
    """Some simulated NASes on real sockets, driven by a thread of their own."""

    def __init__(self, nases: Sequence[SimulatedNas]) -> None:
        self.nases = nases
        self.ports = Ports(nases, on_event=self.heard)
        self.accepted: dict[SimulatedSession, object] = {}
        """The rates that each session's Accept brought."""
        self.slowed: dict[SimulatedSession, int] = {}
        """Octets, both directions, by the NAS's own count when it first applied the exhausted profile to a session."""

    def heard(self, nas: SimulatedNas, event: Event) -> None:
        """Called on the NASes' thread with each line of their logs."""
        if event.kind == "told" and event.session:
            session = nas.sessions[event.session - 1]
            rates = event.fields["up_bps"], event.fields["down_bps"]
            self.accepted.setdefault(session, rates)
            if rates in {SLOW, QUARTER}:
                self.slowed.setdefault(session, session.octets_up + session.octets_down)

    def of(self, kind: str) -> list[SimulatedNas]:
        """The NASes of one kind, in the order of DIALECTS."""
        return [nas for nas in self.nases if nas.name == f"{nas.dialect}-{kind}"]

    def log_in(self, nas: SimulatedNas, username: str) -> None:
        """Have somebody log in, soon."""
        self.ports.post(lambda now: nas.log_in(username, PASSWORD, now, method="chap"))

    def sessions(self, username: str) -> list[SimulatedSession]:
        """All that somebody ever began, the oldest first."""
        return [session for nas in self.nases for session in nas.sessions if session.username == username]

    def online(self, username: str) -> list[SimulatedSession]:
        """Those that are on."""
        return [session for session in self.sessions(username) if session.online]

    def service(self, username: str) -> list[tuple[int | None, int | None]]:
        """The rates, up and down, that somebody's sessions have now."""
        return [(s.told.up_bps, s.told.down_bps) for s in self.online(username)]


@contextmanager
def town(server: ServerProcess, aaa: Aaa, **kinds: Mapping[str, Any]) -> Iterator[Town]:
    """A NAS of each dialect and kind, known to the server, on loopback addresses of their own. A kind is a change of the
    dialect's behaviour; all report every second unless it says otherwise."""
    at = Server(("127.0.0.1", server.auth_port), ("127.0.0.1", server.acct_port))
    usual = {"interim_seconds": 1, "timeout_ms": 1_000, "attempts_per_server": 10, "reconnect_ms": 200}
    nases: list[SimulatedNas] = []
    for kind, changes in kinds.items():
        for dialect in DIALECTS:
            behaviour = replace(behaviour_of(dialect), **{**usual, **changes})
            name, address = f"{dialect}-{kind}", f"127.0.0.{len(nases) + 2}"
            nas = SimulatedNas(name, address, SECRET.encode(), dialect, [at], coa_port=0, behaviour=behaviour)
            nases.append(nas)
    stop = threading.Event()
    here = Town(nases)
    with here.ports as ports:
        for nas in nases:
            aaa(
                "nas", "add", nas.name, "--address", nas.address, "--dialect", nas.dialect,
                "--coa-port", str(nas.coa_port), "--secret-stdin", stdin=SECRET,
            )  # fmt: skip
            ports.post(nas.boot)
        thread = threading.Thread(target=ports.run, args=(stop.is_set, now_ms() + LONGEST_STORY_MS))
        thread.start()
        try:
            yield here
        finally:
            stop.set()
            thread.join()


def furnish(aaa: Aaa, folder: Path, plans: Sequence[str], subscribers: Sequence[tuple[str, str, str, int]]) -> None:
    """Load plans, and subscribers: user name, account, plan, sessions at a time."""
    (folder / "story.toml").write_text("\n".join([HEAD, *plans]), encoding="utf-8")
    rows = [f"{user},{PASSWORD},{of},{account},yes,{most}" for user, account, of, most in subscribers]
    header = "username,password,plan,account,allow_chap,max_sessions"
    (folder / "subscribers.csv").write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    aaa("plan", "load", str(folder / "story.toml"))
    aaa("subscriber", "import", str(folder / "subscribers.csv"))


def printed_bound_octets(aaa: Aaa, account: str) -> int:
    """What `aaa explain` says can be used past the end of the money."""
    octets = json.loads(aaa("explain", account, "--json"))["bound"]["octets"]
    assert isinstance(octets, int), f"{account}: no bound"
    return octets


def test_two_sessions_of_one_account_spend_its_balance_once(
    server: ServerProcess, aaa: Aaa, database_url: str, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    balance_octets = 30_000_000  # a line's traffic of 12 seconds
    with (
        town(server, aaa, prompt={"interim_seconds": 1}, lazy={"interim_seconds": 12}) as here,
        plain_sql(database_url) as sql,
    ):
        homes: dict[str, list[tuple[SimulatedNas, str]]] = {}
        subscribers = []
        for first, second in zip(here.of("prompt"), here.of("lazy"), strict=True):
            couple, single = f"{first.dialect}-couple", f"{first.dialect}-single"
            homes[couple] = [(first, f"{couple}-a"), (second, f"{couple}-b")]
            homes[single] = [(first, single), (second, single)]
            subscribers += [(user, couple, "half", 1) for _, user in homes[couple]]
            subscribers.append((single, single, "whole", 2))
        quarter = 'action = "throttle"\nprofile = "quarter"'
        furnish(
            aaa, tmp_path, [plan("half", "line", "15MB", quarter), plan("whole", "line", "30MB", quarter)], subscribers
        )
        assert dict(sql("SELECT account, octets FROM billing_account")) == dict.fromkeys(homes, balance_octets)

        def users_of(account: str) -> list[str]:
            return sorted({user for _, user in homes[account]})

        def service(account: str) -> list[tuple[int | None, int | None]]:
            return [rates for user in users_of(account) for rates in here.service(user)]

        def every(rates: tuple[int, int], sessions: int) -> Callable[[], bool]:
            return lambda: all(service(account) == [rates] * sessions for account in homes)

        def paid_for(sessions: int) -> Callable[[], bool]:
            return lambda: all(len(service(of)) == sessions and QUARTER not in service(of) for of in homes)

        # The first session reserves all that there is, and yet the second is served. That one's NAS reports so seldom
        # that both have used more than there was when it does.
        for (nas, user), _ in homes.values():
            here.log_in(nas, user)
        eventually(paid_for(1), within=10)
        for _, (nas, user) in homes.values():
            here.log_in(nas, user)
        eventually(paid_for(2), within=10)
        bounds = {account: printed_bound_octets(aaa, account) for account in homes}

        eventually(every(QUARTER, 2), within=45)
        for account, bound in bounds.items():
            # As the intervals shrink, so does what is printed: take the sharpest.
            bounds[account] = min(bound, printed_bound_octets(aaa, account))
        for account in homes:
            sessions = [session for user in users_of(account) for session in here.sessions(user)]
            used = sum(here.slowed.get(session, session.octets_up + session.octets_down) for session in sessions)
            past = used - balance_octets
            print(f"{account:18} used {past:9} octets past its {balance_octets}; the bound was {bounds[account]}")
            assert past <= bounds[account]
            assert used > balance_octets * 9 // 10, "throttled while there was a good part of the balance left"

        for account in homes:
            sql(top_up(account, f"more-{account}", "money", "10.00"))
        eventually(every(LINE, 2), within=15)
        for nas in here.nases:
            for session in nas.online():
                here.ports.post(lambda now, nas=nas, session=session: nas.log_out(session, now))  # type: ignore[misc]
        eventually(lambda: all(s.stop_acked for nas in here.nases for s in nas.sessions), within=20)
    assert "all invariants hold" in aaa("ledger", "check")


def test_who_has_nothing_left_is_throttled_redirected_or_cut_and_served_again_once_he_pays(
    server: ServerProcess, aaa: Aaa, database_url: str, tmp_path: Path, eventually: Callable[..., None]
) -> None:
    balance_octets = 400_000
    with (
        town(server, aaa, honest={}, liar={"coa": "ack-only", "interim_seconds": 2}) as here,
        plain_sql(database_url) as sql,
    ):
        obeying, lying = here.of("honest"), here.of("liar")
        throttled, redirected, cut = (
            {f"{nas.dialect}-{of}": nas for nas in obeying} for of in ("throttle", "redirect", "disconnect")
        )
        lied_to = {f"{nas.dialect}-liar": nas for nas in lying}
        couples = {f"{nas.dialect}-{one}": nas for nas in obeying for one in ("anna", "bert")}
        everybody = {**throttled, **redirected, **cut, **lied_to, **couples}
        plans = [
            plan("throttle", "fast", "400kB", THROTTLE),
            plan("redirect", "fast", "400kB", REDIRECT),
            plan("disconnect", "fast", "400kB", DISCONNECT),
            # The least part of a line this fast is still so much faster than the slow profile that a lie shows at once.
            plan("fibre", "fibre", "400kB", THROTTLE),
        ]
        sold = dict.fromkeys([*throttled, *couples], "throttle") | dict.fromkeys(lied_to, "fibre")
        sold |= dict.fromkeys(redirected, "redirect") | dict.fromkeys(cut, "disconnect")
        pays = {user: f"{nas.dialect}-couple" if user in couples else user for user, nas in everybody.items()}
        furnish(aaa, tmp_path, plans, [(user, pays[user], of, 1) for user, of in sold.items()])

        for user, nas in everybody.items():
            here.log_in(nas, user)
        eventually(lambda: all(here.sessions(user) for user in everybody), within=20)
        eventually(lambda: all(here.service(user) == [SLOW] for user in (*throttled, *couples)), within=30)
        # All that a couple has is less than a session reserves. They share it, slower; only where a NAS counts for us the
        # first has it, in whatever order they come.
        for nas in obeying:
            began = [here.accepted[here.sessions(f"{nas.dialect}-{one}")[0]] for one in ("anna", "bert")]
            assert began.count(SLOW) == (nas.dialect in COUNTING), nas.dialect
        eventually(lambda: all(here.service(user) == [WALL] for user in redirected), within=30)
        eventually(
            lambda: all([s.state for s in here.sessions(user)] == ["ended", "refused"] for user in cut), within=30
        )
        # What acknowledges and does nothing is cut by the next report but one, comes back, and is slow from its login on.
        eventually(lambda: all(here.service(user) == [SLOW] for user in lied_to), within=30)

        # A NAS that counts ends the session at its last octet, and the next one is slow; the others change it as it runs.
        assert {user: len(here.sessions(user)) for user in throttled} == {
            user: 2 if nas.dialect in COUNTING else 1 for user, nas in throttled.items()
        }
        assert max(len(here.sessions(user)) for user in couples) <= 4, "logged in again and again for next to nothing"
        walls = {user: here.online(user)[0].told.redirect for user in redirected}
        assert walls == {
            "generic-redirect": "https://pay.example.net/",
            "mikrotik-redirect": "unpaid",
            "accel-ppp-redirect": None,  # its pool is its wall
            "chillispot-redirect": "https://pay.example.net/",
        }
        ended = {user: here.sessions(user)[0] for user in (*cut, *lied_to)}
        assert {user: s.terminate_cause for user, s in ended.items()} == {
            user: "Session-Timeout" if everybody[user].dialect in COUNTING else "Admin-Reset" for user in ended
        }
        reasons = sql("SELECT DISTINCT action, reason FROM command WHERE action = 'disconnect' ORDER BY reason")
        assert ("disconnect", "profile-not-applied") in reasons
        used = {user: s.octets_up + s.octets_down for user, s in ended.items()}
        for user in throttled:
            first = here.sessions(user)[0]
            used[user] = here.slowed.get(first, first.octets_up + first.octets_down)
        for user, octets in used.items():
            bound = printed_bound_octets(aaa, user)
            print(f"{user:22} used {octets - balance_octets:9} octets past its {balance_octets}; the bound was {bound}")
            assert octets <= balance_octets + bound

        for account in {pays[user] for user in everybody if user not in lied_to}:
            sql(top_up(account, f"more-{account}", "money", "10.00"))
        eventually(lambda: all(here.service(user) == [FAST] for user in (*throttled, *couples)), within=15)
        eventually(lambda: all(here.service(user) == [FAST] for user in redirected), within=15)
        assert {here.online(user)[0].told.redirect for user in redirected} == {None}
        eventually(lambda: sql("SELECT count(*) FROM billing_top_up WHERE status <> 'applied'") == [(0,)], within=15)
        for user, nas in cut.items():
            here.log_in(nas, user)
        eventually(lambda: all(here.service(user) == [FAST] for user in cut), within=15)
    assert "all invariants hold" in aaa("ledger", "check")
