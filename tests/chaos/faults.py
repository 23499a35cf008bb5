"""The faults, one function each: does it to a running world and undoes it. What each promises is said beside it."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from charging.database import file_of
from tests.chaos import oracle
from tests.chaos.postgres import Postgres
from tests.chaos.world import PASSWORD, World
from tests.fleet import ScriptedFleet
from tests.network import Faults
from tests.outside import SECRET


@dataclass(frozen=True)
class Lengths:
    """How long the faults last; the bounded run has shorter ones."""

    seconds: float = 4
    frozen_seconds: float = 7
    """Longer than a transaction may stand still."""
    row_lock_seconds: float = 6
    storm_sessions: int = 5_000


@dataclass(frozen=True)
class Scene:
    """What a fault may lay hands on."""

    world: World
    lengths: Lengths = Lengths()
    postgres: Postgres | None = None
    full_disk: Path | None = None
    """A small tmpfs that may be filled."""
    standby: Postgres | None = None
    """Follows `postgres` synchronously."""


@dataclass(frozen=True)
class Fault:
    """`inject` returns when the fault is over; what it returns is said in the table."""

    name: str
    promise: str
    inject: Callable[[Scene], str]
    most_silence_seconds: float | None = None
    """NASes that ask on may wait at most so long in all for any answer; None: as long as the fault lasts, and a little."""


# --- nodes -----------------------------------------------------------------------------------------------------------


def kill_a_node(scene: Scene) -> str:
    """SIGKILL, and started again."""
    node = scene.world.chance.choice(scene.world.nodes)
    node.kill()
    time.sleep(scene.lengths.seconds / 2)
    node.start()
    return f"node {node.name}"


def kill_all_nodes(scene: Scene) -> str:
    """SIGKILL to all at once."""
    for node in scene.world.nodes:
        node.kill()
    for node in scene.world.nodes:
        node.start(wait=False)
    for node in scene.world.nodes:
        node.await_answers(30)
    return "all nodes"


def freeze_a_node(scene: Scene) -> str:
    """SIGSTOP, SIGCONT: it wakes in the middle of whatever it did, and believes that no time has passed."""
    node = scene.world.chance.choice(scene.world.nodes)
    node.freeze()
    time.sleep(scene.lengths.frozen_seconds)
    node.wake()
    node.await_answers(30)
    return f"node {node.name}"


def stop_a_node(scene: Scene) -> str:
    """SIGTERM, as for an update."""
    node = scene.world.chance.choice(scene.world.nodes)
    code = node.stop()
    assert code == 0, f"node {node.name} ended with {code}"
    node.start()
    return f"node {node.name}"


# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def _postgres(scene: Scene) -> Postgres:
    assert scene.postgres is not None
    return scene.postgres


def restart_immediately(scene: Scene) -> str:
    """pg_ctl restart -m immediate: as if it had crashed, and recovered from its log."""
    began = time.monotonic()
    _postgres(scene).restart("immediate")
    return f"away for {time.monotonic() - began:.1f} s"


def stop_the_database(scene: Scene) -> str:
    """Away for a while: nobody listens."""
    _postgres(scene).stop("immediate")
    time.sleep(scene.lengths.seconds)
    spooled = sum(node.spooled() for node in scene.world.nodes)
    _postgres(scene).start()
    assert spooled, "the database was away and nothing went to a spool"
    return f"{spooled} octets in the spools"


def kill_a_backend(scene: Scene) -> str:
    """SIGKILL to one backend: PostgreSQL ends all others and recovers."""
    rows = _postgres(scene).execute(
        "SELECT pid FROM pg_stat_activity WHERE datname = 'aaa' AND backend_type = 'client backend'"
    )
    os.kill(scene.world.chance.choice(rows)[0], 9)
    _until(lambda: _postgres(scene).execute("SELECT 1"), 20)
    return "one of them"


def freeze_the_database(scene: Scene) -> str:
    """SIGSTOP to all of its processes: connections stand, nothing answers."""
    _postgres(scene).pause()
    time.sleep(scene.lengths.seconds)
    spooled = sum(node.spooled() for node in scene.world.nodes)
    _postgres(scene).resume()
    assert spooled, "the database did not answer and nothing went to a spool"
    return f"{spooled} octets in the spools"


def terminate_connections(scene: Scene) -> str:
    """pg_terminate_backend for every connection, again and again."""
    ended = 0
    until = time.monotonic() + scene.lengths.seconds / 2
    while time.monotonic() < until:
        rows = _postgres(scene).execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'aaa' AND backend_type = 'client backend'"
        )
        ended += len(rows)
        time.sleep(0.25)
    return f"{ended} connections"


def cancel_statements(scene: Scene) -> str:
    """pg_cancel_backend for every connection, again and again."""
    until = time.monotonic() + scene.lengths.seconds / 2
    while time.monotonic() < until:
        _postgres(scene).execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
            "WHERE datname = 'aaa' AND backend_type = 'client backend'"
        )
        time.sleep(0.02)
    return "every 20 ms"


def lock_a_row(scene: Scene) -> str:
    """A billing client that thinks for a while with an account's row in its hands."""
    world = scene.world
    with _postgres(scene).connect("aaa") as connection:
        connection.autocommit = False
        connection.execute("SELECT * FROM account WHERE name = 'wide-1' FOR UPDATE")
        since = _now()
        time.sleep(scene.lengths.row_lock_seconds / 3)
        began = time.monotonic()
        _storm(world, sessions=20, seconds=10)
        logins_seconds = time.monotonic() - began
        time.sleep(max(0.0, scene.lengths.row_lock_seconds - (_now() - since) / 1000))
        until = _now()
        connection.rollback()
    waited: list[int] = []
    for nas, lines in zip(world.nases, world.events(), strict=True):
        mine = {line["session"] for line in lines if line["kind"] == "accepted" and line["username"] == "wide-1"}
        silences = oracle.silences_ms(lines, since, until)
        waited += [silence for session, silence in silences.items() if session not in mine]
        assert nas.spec.interim_seconds == 1
    longest = max(waited)
    assert longest <= (until - since) * 4 // 5, (
        f"with one account's row locked for {until - since} ms another account's reports got no answer for {longest} ms"
    )
    assert logins_seconds < MOST_LOGINS_SECONDS, f"logins of others took {logins_seconds:.1f} s"
    return (
        f"for {until - since} ms; {len(waited)} sessions of others: at most {longest} ms between answers; "
        f"20 others logged in, reported and left in {logins_seconds:.1f} s"
    )


#: Logins need the database: they show that its writer does not stand still.
MOST_LOGINS_SECONDS = 4.0


def lock_a_table(scene: Scene) -> str:
    """What a migration does: ALTER TABLE and CREATE INDEX in one transaction, held for a while."""
    with _postgres(scene).connect("aaa") as connection:
        connection.autocommit = False
        connection.execute("ALTER TABLE session ADD COLUMN chaos integer")
        connection.execute("CREATE INDEX chaos ON usage_line (recorded_at)")
        time.sleep(scene.lengths.seconds)
        connection.rollback()
    return f"for {scene.lengths.seconds:.0f} s"


# --- a primary and its standby -------------------------------------------------------------------------------------------


def freeze_the_standby(scene: Scene) -> str:
    """No commit comes back; the primary calls none a failure."""
    assert scene.standby is not None
    scene.standby.pause()
    time.sleep(scene.lengths.seconds)
    spooled = sum(node.spooled() for node in scene.world.nodes)
    scene.standby.resume()
    assert spooled, "no commit came back and nothing went to a spool"
    return f"{spooled} octets in the spools"


def stop_the_standby_and_cancel(scene: Scene) -> str:
    """The standby is gone and somebody cancels the waiting: PostgreSQL calls the commits a success, with a warning."""
    assert scene.standby is not None
    scene.standby.stop("immediate")
    until = time.monotonic() + scene.lengths.seconds
    while time.monotonic() < until:
        _postgres(scene).execute(
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE datname = 'aaa' AND wait_event = 'SyncRep'"
        )
        time.sleep(0.2)
    spooled = sum(node.spooled() for node in scene.world.nodes)
    scene.standby.start()
    assert spooled, "commits without a standby were taken for durable"
    return f"{spooled} octets in the spools"


def promote_the_standby(scene: Scene) -> str:
    """The primary dies under load; its standby takes over."""
    assert scene.standby is not None
    _postgres(scene).kill()
    time.sleep(1)
    scene.standby.promote()
    return "the nodes find it by their URL of two hosts"


# --- SQLite ----------------------------------------------------------------------------------------------------------


def lock_the_file(scene: Scene) -> str:
    """Another process holds SQLite's only write lock."""
    file = file_of(scene.world.engine)
    assert file is not None
    with sqlite3.connect(file, isolation_level=None, timeout=30) as connection:
        connection.execute("BEGIN IMMEDIATE")
        time.sleep(scene.lengths.seconds)
        spooled = sum(node.spooled() for node in scene.world.nodes)
        connection.execute("ROLLBACK")
    connection.close()
    assert spooled, "the database was locked and nothing went to a spool"
    return f"{spooled} octets in the spool"


# --- disks -----------------------------------------------------------------------------------------------------------


def fill_the_disk(scene: Scene) -> str:
    """No octet left on the small file system; then room again."""
    assert scene.full_disk is not None
    filler = scene.full_disk / "filler"
    octets = 0
    with filler.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                octets += file.write(bytes(65_536))
        with suppress(OSError):
            while True:
                octets += file.write(bytes(1))
    time.sleep(scene.lengths.seconds)
    filler.unlink()
    _revive(scene)
    return f"{octets} octets of somebody else's"


def fill_the_spools_disk_without_a_database(scene: Scene) -> str:
    """The database is away, and the spool's disk is full."""
    _postgres(scene).stop("immediate")
    time.sleep(1)
    said = fill_the_disk(replace(scene))
    _postgres(scene).start()
    _revive(scene)
    return said


def _revive(scene: Scene) -> None:
    """What a service manager does with a server that ended because of its disk."""
    time.sleep(0.5)
    for node in scene.world.nodes:
        if not node.running:
            node.start(wait=False)


# --- the network and the NASes -----------------------------------------------------------------------------------------


def bad_network(scene: Scene) -> str:
    """Loss, duplication and reordering on every way."""
    network = scene.world.network
    before = network.counts.copy()
    network.faults = Faults(loss=0.2, duplication=0.2, reordering=0.3, corruption=0.05)
    time.sleep(scene.lengths.seconds)
    network.faults = Faults()
    made = network.counts - before
    return ", ".join(
        f"{made['up', what] + made['down', what]} {what}" for what in ("lost", "doubled", "reordered", "corrupted")
    )


def lose_power(scene: Scene) -> str:
    """A NAS that forgets everything and boots."""
    nas = scene.world.chance.choice(scene.world.nases)
    nas.tell("storm")
    time.sleep(scene.lengths.seconds / 2)
    return nas.spec.name


def reconnect_storm(scene: Scene) -> str:
    """Thousands log in, start and stop at once, beside the traffic there is."""
    world = scene.world
    sessions = scene.lengths.storm_sessions
    began = time.monotonic()
    # Some fifteen seconds on two processors of one's own.
    again = _storm(world, sessions=sessions, seconds=180)
    took = time.monotonic() - began

    def closed() -> int:
        return world.number(
            "SELECT count(*) FROM session WHERE username LIKE 'storm-%' AND closed_at IS NOT NULL AND octets_down > 0"
        )

    # Some of it may have gone by the spool.
    _until(lambda: closed() >= sessions, 60)
    return f"{sessions} sessions in {took:.1f} s, {again} retransmissions"


def _storm(world: World, *, sessions: int, seconds: float) -> int:
    """So many sessions begin and end, spread over the nodes; how many retransmissions that took."""
    fleets = [
        ScriptedFleet(
            server=("127.0.0.1", node.auth_port, node.acct_port), secret=SECRET.encode(),
            sessions=sessions // len(world.nodes), users=[f"storm-{n}" for n in range(200)],
            password=PASSWORD, reports=2, seed=world.chance.randrange(1 << 30), method="chap", address="127.0.0.1",
            outstanding=1024, retransmit_seconds=(1.0, 2.0),
        )
        for node in world.nodes
    ]  # fmt: skip
    for number, fleet in enumerate(fleets):
        for session in fleet.sessions:  # ports of their own: they are one NAS
            session.number += number * 100_000
            session.acct_session_id += f"-{number}"
    began = time.monotonic()
    threads = [threading.Thread(target=fleet.run, args=(began + seconds,)) for fleet in fleets]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    done = sum(fleet.done for fleet in fleets)
    asked = sum(len(fleet.sessions) for fleet in fleets)
    refused = sum(len(fleet.refused) for fleet in fleets)
    assert done == asked, f"{asked - done} of {asked} sessions did not come through, {refused} were refused"
    return sum(fleet.retransmissions for fleet in fleets)


def _until(condition: Callable[[], Any], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            if condition():
                return
        except Exception:
            if time.monotonic() > deadline:
                raise
        if time.monotonic() > deadline:
            raise AssertionError(f"did not become true within {seconds} s")
        time.sleep(0.1)


def _now() -> int:
    return time.time_ns() // 1_000_000


# --- the list --------------------------------------------------------------------------------------------------------

_KEPT = "what was answered is in the books, once"
ON_POSTGRESQL = (
    Fault("SIGKILL of a node, restart", f"{_KEPT}; its NASes go to the other node", kill_a_node),
    Fault("SIGSTOP of a node, SIGCONT", f"{_KEPT}; what it does late changes nothing", freeze_a_node),
    Fault("SIGTERM of a node, restart", f"{_KEPT}; exit code 0", stop_a_node),
    Fault("SIGKILL of all nodes at once", _KEPT, kill_all_nodes),
    Fault(
        "pg_ctl restart -m immediate",
        f"{_KEPT}; commits of unknown outcome are settled again, once",
        restart_immediately,
    ),
    Fault("SIGKILL of a backend", _KEPT, kill_a_backend),
    Fault("connections terminated", _KEPT, terminate_connections),
    Fault("statements cancelled", _KEPT, cancel_statements),
    Fault("PostgreSQL away", f"{_KEPT}; reports are spooled and answered", stop_the_database),
    Fault("PostgreSQL frozen", f"{_KEPT}; reports are spooled and answered after the deadline", freeze_the_database),
    Fault("an account's row locked", "only its own account waits", lock_a_row),
    Fault("ALTER TABLE, CREATE INDEX under load", f"{_KEPT}; nothing waits for the lock for ever", lock_a_table),
    Fault("loss, duplication, reordering, corruption", _KEPT, bad_network),
    Fault("a NAS loses power", "its old sessions are closed, nothing is charged twice", lose_power),
    Fault("reconnect storm", "all come through; who was on line stays answered", reconnect_storm),
)
ON_A_PAIR = (
    Fault("synchronous standby frozen", f"{_KEPT}; what hangs is no commit: the spool answers", freeze_the_standby),
    Fault(
        "standby gone, waits cancelled", f"{_KEPT}; success with a warning is no commit", stop_the_standby_and_cancel
    ),
    Fault("primary killed, standby promoted", _KEPT, promote_the_standby),
)
ON_SQLITE = (
    Fault("SQLite locked by another process", f"{_KEPT}; reports are spooled and answered", lock_the_file),
    Fault("SIGKILL of the node, restart", _KEPT, kill_a_node),
)
ON_A_FULL_DISK = (Fault("the database's disk full (SQLite)", f"{_KEPT}; else silence", fill_the_disk),)
ON_A_FULL_SPOOL = (
    Fault(
        "PostgreSQL away and the spool's disk full", f"{_KEPT}; else silence", fill_the_spools_disk_without_a_database
    ),
)
