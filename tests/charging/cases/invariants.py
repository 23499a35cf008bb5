"""What must always hold of an account, by arithmetic of its own: sums over rows, and nothing of the server's code."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from charging.book import Account, Charge, UsageLine
from charging.buckets import SHORTFALL, Bucket
from charging.ledger import Transfer, chain_break
from charging.session import Session


@dataclass(frozen=True)
class Rows:
    """Everything that is kept of one account."""

    account: Account
    buckets: list[Bucket]
    sessions: list[Session]
    charges: list[Charge]
    usage_lines: list[UsageLine]
    transfers: list[Transfer]


def broken(rows: Rows) -> list[str]:
    """Every invariant that does not hold, in words."""
    return [
        *_chain(rows),
        *_money(rows),
        *_lines(rows),
        *_holds(rows),
        *_octets(rows),
        *_sessions(rows),
    ]


def _chain(rows: Rows) -> Iterable[str]:
    found = chain_break(rows.transfers, rows.account.ledger_seq, rows.account.ledger_hash)
    if found:
        yield found


def _money(rows: Rows) -> Iterable[str]:
    moved: dict[int, int] = defaultdict(int)
    usage: dict[tuple[int | None, str, str], int] = defaultdict(int)
    for transfer in rows.transfers:
        if transfer.amount <= 0:
            yield f"transfer {transfer.seq} moves {transfer.amount}"
        for name, amount in ((transfer.debit, -transfer.amount), (transfer.credit, transfer.amount)):
            if name.startswith("bucket:"):
                moved[int(name.removeprefix("bucket:"))] += amount
        if transfer.kind == "usage":
            usage[transfer.session_id, transfer.debit.split(":nas-")[0], transfer.unit] += transfer.amount
        if transfer.kind == "credit":
            usage[transfer.session_id, transfer.credit, transfer.unit] -= transfer.amount
    unposted: dict[int, int] = defaultdict(int)
    for charge in rows.charges:
        given_back = any(line.amount_micros < 0 for line in rows.usage_lines)
        if not 0 <= charge.posted <= charge.accrued and not given_back:
            yield f"session {charge.session_id}: posted {charge.posted} of {charge.accrued}"
        unposted[charge.bucket_id] += charge.accrued - charge.posted
        name = "shortfall" if charge.bucket_id == SHORTFALL else f"bucket:{charge.bucket_id}"
        if usage.pop((charge.session_id, name, charge.unit), 0) != charge.posted:
            yield f"session {charge.session_id}: the ledger does not say {charge.posted} {charge.unit} from {name}"
    for key in usage:
        yield f"the ledger says usage {key} that no charge has"
    for bucket in rows.buckets:
        if bucket.balance != moved[bucket.bucket_id] - unposted[bucket.bucket_id]:
            yield (
                f"{bucket.name}: balance {bucket.balance} is not transfers {moved[bucket.bucket_id]} "
                f"- unposted {unposted[bucket.bucket_id]}"
            )
        if bucket.unit != "money" and bucket.balance < 0:
            yield f"{bucket.name}: balance {bucket.balance}"


def _lines(rows: Rows) -> Iterable[str]:
    accrued = {(c.session_id, c.bucket_id, c.unit): c.accrued for c in rows.charges}
    drawn: dict[tuple[int, int, str], int] = defaultdict(int)
    for line in rows.usage_lines:
        for bucket_id, unit, amount in _draws(line.draws):
            drawn[line.session_id, bucket_id, unit] += amount
        micros = sum(amount for _, unit, amount in _draws(line.draws) if unit == "money")
        if micros != line.amount_micros:
            yield f"line {line.line_no}: {line.amount_micros} micros, but drew {micros}"
    if {k: v for k, v in drawn.items() if v} != {k: v for k, v in accrued.items() if v}:
        yield f"the lines drew {dict(drawn)}, the charges say {dict(accrued)}"


def _draws(text: str) -> list[tuple[int, str, int]]:
    inner = text.strip("[]")
    if not inner:
        return []
    parts = (part.split(",") for part in inner.split("],["))
    return [(int(bucket_id), unit.strip('"'), int(amount)) for bucket_id, unit, amount in parts]


def _holds(rows: Rows) -> Iterable[str]:
    held: dict[int, int] = defaultdict(int)
    live = {s.session_id for s in rows.sessions if s.closed_at is None}
    for charge in rows.charges:
        held[charge.bucket_id] += charge.held
        if charge.held < 0:
            yield f"session {charge.session_id} holds {charge.held}"
        if charge.held and charge.session_id not in live:
            yield f"session {charge.session_id} holds {charge.held} and is not live"
    for bucket in rows.buckets:
        if bucket.held != held[bucket.bucket_id]:
            yield f"{bucket.name}: held {bucket.held}, its sessions hold {held[bucket.bucket_id]}"
        if bucket.unit != "money" and bucket.held > max(bucket.balance, 0):
            yield f"{bucket.name}: held {bucket.held} of {bucket.balance}"
    purses = [b for b in rows.buckets if b.unit == "money"]
    balance = sum(b.balance for b in purses) + rows.account.credit_limit_micros
    if sum(b.held for b in purses) > max(balance, 0):
        yield f"money: held {sum(b.held for b in purses)} of {balance}, credit included"
    if balance < 0:
        yield f"money: {balance} below the credit limit"


def _octets(rows: Rows) -> Iterable[str]:
    ends: dict[int, tuple[int, int, int, int]] = defaultdict(lambda: (0, 0, 0, 0))
    for line in sorted(rows.usage_lines, key=lambda each: (each.session_id, each.line_no)):
        number, up, down, seconds = ends[line.session_id]
        if (number + 1, up, down, seconds) != (
            line.line_no, line.octets_up_from, line.octets_down_from, line.seconds_from,
        ):  # fmt: skip
            yield f"session {line.session_id}: line {line.line_no} does not begin where line {number} ended"
        if line.octets_up_to < up or line.octets_down_to < down or line.seconds_to < seconds:
            yield f"session {line.session_id}: line {line.line_no} goes back"
        if line.free_octets < 0:
            yield f"session {line.session_id}: line {line.line_no} has {line.free_octets} free octets"
        ends[line.session_id] = (line.line_no, line.octets_up_to, line.octets_down_to, line.seconds_to)
    for session in rows.sessions:
        marks = (session.line_no, session.octets_up, session.octets_down, session.seconds)
        if ends[session.session_id] != marks:
            yield f"session {session.session_id}: marks {marks}, its lines end at {ends[session.session_id]}"


def _sessions(rows: Rows) -> Iterable[str]:
    known = {s.session_id: s for s in rows.sessions}
    for charge in rows.charges:
        if charge.session_id not in known:
            yield f"a charge of session {charge.session_id}, which does not exist"
        elif charge.live != (known[charge.session_id].closed_at is None):
            yield f"session {charge.session_id}: its charge is live={charge.live}"
    keys: set[str] = set()
    for session in rows.sessions:
        if (session.state == "closed") != (session.closed_at is not None):
            yield f"session {session.session_id}: {session.state}, closed at {session.closed_at}"
        if session.closed_at is None and session.session_key is not None:
            if session.session_key in keys:
                yield f"session {session.session_id}: two live sessions have its key"
            keys.add(session.session_key)
