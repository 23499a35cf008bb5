"""What must always hold, as a list of functions over the database; `aaa ledger check` and the tests run them.

Nothing here believes a sum that the server keeps: balances, holds and marks are worked out again from the rows that
are written once. A violation says in words where, what stands there, and what the other rows make it.

Each invariant looks at a range of accounts, so that memory is bounded by the accounts of one range (and by the
longest ledger of one account), whatever the number of rows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from heapq import merge
from itertools import groupby, islice
from operator import itemgetter
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, text

from charging import order_audit
from charging.inbox import amount_of
from charging.ledger import Transfer, chain_break
from charging.plan import Instant

ACCOUNTS_AT_ONCE: Final = 500
_ROWS_AT_ONCE: Final = 1_000
#: Behind `u`: of a session that has all its usage lines.
_WHOLE: Final = (
    "NOT EXISTS (SELECT 1 FROM session AS s WHERE s.account_id = u.account_id AND s.session_id = u.session_id "
    "AND s.removed_line_no > 0)"
)


class Violation(NamedTuple):
    """An invariant that does not hold. `account` is empty where it is nobody's."""

    invariant: str
    account: str
    words: str


class Audit(NamedTuple):
    """What a check looked at and what it found; `found` is complete up to the limit that was asked for."""

    accounts: int
    transfers: int
    found: list[Violation]


class Range(NamedTuple):
    """Accounts `first` to `last` by id, as one state of the database has them."""

    first: int
    last: int
    now: Instant
    names: dict[int, str]


Finding = tuple[int, str]
"""account_id and words."""
Invariant = Callable[[Connection, Range], Iterator[Finding]]


def check(
    connection: Connection,
    now: Instant,
    *,
    most: int = 1_000,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> Audit:
    """Run every invariant, at most `most` violations. `connection` should see one state of the database (`reading`).

    `progress(accounts done, accounts in all)` is called now and then.
    """
    total = _number(connection, "SELECT count(*) FROM account")
    found: list[Violation] = []
    done = transfers = 0
    for accounts in _ranges(connection, now):
        for invariant in INVARIANTS:
            for account_id, words in islice(invariant(connection, accounts), most - len(found)):
                found.append(Violation(_name(invariant), accounts.names.get(account_id, f"#{account_id}"), words))
        done += len(accounts.names)
        transfers += _number(
            connection,
            "SELECT count(*) FROM transfer WHERE account_id BETWEEN :first AND :last",
            first=accounts.first,
            last=accounts.last,
        )
        progress(done, total)
    for everywhere in EVERYWHERE:
        for account, words in islice(everywhere(connection), most - len(found)):
            found.append(Violation(_name(everywhere), account, words))
    return Audit(done, transfers, found)


# --- money -----------------------------------------------------------------------------------------------------------


def balances(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """A bucket's balance is the sum of its transfers, less what its sessions used and is not yet posted."""
    rows = _rows(
        connection,
        f"""
        WITH ledger AS ({_MOVED}),
             unposted AS (
                SELECT account_id, bucket_id, unit, CAST(sum(accrued - posted) AS BIGINT) AS total FROM session_charge
                WHERE account_id BETWEEN :first AND :last AND accrued <> posted GROUP BY account_id, bucket_id, unit)
        SELECT b.account_id, b.bucket_id, b.name, b.unit, b.balance, coalesce(l.total, 0), coalesce(u.total, 0)
        FROM bucket AS b
        LEFT JOIN ledger AS l ON l.account_id = b.account_id AND l.name = 'bucket:' || b.bucket_id AND l.unit = b.unit
        LEFT JOIN unposted AS u ON u.account_id = b.account_id AND u.bucket_id = b.bucket_id AND u.unit = b.unit
        WHERE b.account_id BETWEEN :first AND :last AND b.balance <> coalesce(l.total, 0) - coalesce(u.total, 0)
        ORDER BY b.account_id, b.bucket_id""",
        accounts,
    )
    for account_id, bucket_id, name, unit, balance, moved, unposted in rows:
        words = f"its transfers make {moved}, less {unposted} used and not yet posted: {moved - unposted}"
        yield account_id, f"bucket {bucket_id} ({name}): balance {balance} {unit}, but {words}"


def buckets_of_transfers(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """Every bucket that a transfer names exists, in the transfer's unit."""
    rows = _rows(
        connection,
        f"""
        SELECT l.account_id, l.name, l.unit, l.total FROM ({_MOVED}) AS l
        LEFT JOIN bucket AS b
          ON b.account_id = l.account_id AND l.name = 'bucket:' || b.bucket_id AND l.unit = b.unit
        WHERE b.bucket_id IS NULL ORDER BY l.account_id, l.name""",
        accounts,
    )
    for account_id, name, unit, total in rows:
        yield account_id, f"the ledger moved {total} {unit} to {name}, but there is no such bucket of that unit"


def postings(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """What a session's charge counts as posted is what the ledger has of it."""
    rows = _rows(
        connection,
        """
        WITH ledger AS (
            SELECT account_id, session_id, CASE WHEN kind = 'usage' THEN debit ELSE credit END AS source, unit,
                   CAST(sum(CASE WHEN kind = 'usage' THEN amount ELSE -amount END) AS BIGINT) AS total
            FROM transfer
            WHERE account_id BETWEEN :first AND :last AND kind IN ('usage', 'credit')
            GROUP BY account_id, session_id, CASE WHEN kind = 'usage' THEN debit ELSE credit END, unit)
        SELECT c.account_id, c.session_id, c.bucket_id, c.unit, c.posted, coalesce(l.total, 0)
        FROM session_charge AS c
        LEFT JOIN session AS s ON s.account_id = c.account_id AND s.session_id = c.session_id
        LEFT JOIN ledger AS l ON l.account_id = c.account_id AND l.session_id = c.session_id AND l.unit = c.unit
            AND l.source = CASE WHEN c.bucket_id = 0 THEN 'shortfall:nas-' || s.nas_id ELSE 'bucket:' || c.bucket_id END
        WHERE c.account_id BETWEEN :first AND :last AND c.posted <> coalesce(l.total, 0)
        ORDER BY c.account_id, c.session_id, c.bucket_id""",
        accounts,
    )
    for account_id, session_id, bucket_id, unit, posted, total in rows:
        yield (
            account_id,
            f"session {session_id}, bucket {bucket_id}: {posted} {unit} count as posted, the ledger has {total}",
        )


def chains(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """Each account's transfers are the ones that were written, in their order, none missing at either end."""
    heads = _rows(
        connection,
        "SELECT account_id, ledger_seq, ledger_hash FROM account WHERE account_id BETWEEN :first AND :last "
        "ORDER BY account_id",
        accounts,
    )
    ledgers = groupby(
        _rows(
            connection,
            f"SELECT {', '.join(Transfer._fields)} FROM transfer WHERE account_id BETWEEN :first AND :last "
            "ORDER BY account_id, seq",
            accounts,
        ),
        key=itemgetter(0),
    )
    waiting = next(ledgers, None)
    for account_id, head_seq, head_hash in heads:
        while waiting is not None and waiting[0] < account_id:
            yield waiting[0], "has transfers, but there is no such account"
            waiting = next(ledgers, None)
        transfers: list[Transfer] = []
        if waiting is not None and waiting[0] == account_id:
            transfers = [Transfer(*row) for row in waiting[1]]
            waiting = next(ledgers, None)
        broken = chain_break(transfers, head_seq, head_hash)
        if broken is not None:
            yield account_id, broken
    while waiting is not None:
        yield waiting[0], "has transfers, but there is no such account"
        waiting = next(ledgers, None)


def ends(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """What was left of a bucket when its time was over went to `expired`: it is empty."""
    rows = _rows(
        connection,
        "SELECT account_id, bucket_id, name, unit, balance, held FROM bucket "
        "WHERE account_id BETWEEN :first AND :last AND closed_at IS NOT NULL AND (balance <> 0 OR held <> 0) "
        "ORDER BY account_id, bucket_id",
        accounts,
    )
    for account_id, bucket_id, name, unit, balance, held in rows:
        yield (
            account_id,
            f"bucket {bucket_id} ({name}): its time is over, but it has {balance} {unit}, {held} of it held",
        )


def periods(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """Each period that was sold is in the ledger with its price, once, and no other price of one is there."""
    rows = _rows(
        connection,
        """
        WITH sold AS (
            SELECT account_id, reference, CAST(sum(price_micros) AS BIGINT) AS price FROM subscription_period
            WHERE account_id BETWEEN :first AND :last AND price_micros <> 0 GROUP BY account_id, reference),
        booked AS (
            SELECT account_id, reference, CAST(sum(amount) AS BIGINT) AS total FROM transfer
            WHERE account_id BETWEEN :first AND :last AND kind = 'renewal' GROUP BY account_id, reference)
        SELECT s.account_id, s.reference, s.price, coalesce(b.total, 0) FROM sold AS s
        LEFT JOIN booked AS b ON b.account_id = s.account_id AND b.reference = s.reference
        WHERE s.price <> coalesce(b.total, 0)
        UNION ALL
        SELECT b.account_id, b.reference, 0, b.total FROM booked AS b
        LEFT JOIN sold AS s ON s.account_id = b.account_id AND s.reference = b.reference
        WHERE s.reference IS NULL""",
        accounts,
    )
    for account_id, reference, price, total in rows:
        yield account_id, f"period {reference}: its price is {price} micros, the ledger has {total}"


def subscriptions(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """Whoever has a period that is paid is in the newest one that was sold to him, and logs in under its version."""
    rows = _rows(
        connection,
        """
        SELECT s.account_id, s.subscriber_id, s.state, s.plan_version_id, s.number, p.plan_version_id, p.number,
               u.plan_version_id
        FROM subscription AS s
        LEFT JOIN subscription_period AS p ON p.account_id = s.account_id AND p.subscriber_id = s.subscriber_id
         AND p.start_at = (SELECT max(q.start_at) FROM subscription_period AS q
                           WHERE q.account_id = s.account_id AND q.subscriber_id = s.subscriber_id)
        LEFT JOIN subscriber AS u ON u.subscriber_id = s.subscriber_id
        WHERE s.account_id BETWEEN :first AND :last AND s.state IN ('active', 'grace', 'paused')
          AND (p.number IS NULL OR p.number <> s.number OR p.plan_version_id <> s.plan_version_id
               OR u.plan_version_id IS NULL OR u.plan_version_id <> s.plan_version_id)
        ORDER BY s.account_id, s.subscriber_id""",
        accounts,
    )
    for account_id, subscriber_id, state, version, number, sold_version, sold_number, login_version in rows:
        yield (
            account_id,
            (
                f"subscriber {subscriber_id} is {state} in period {number} of version {version}; sold was period "
                f"{sold_number} of version {sold_version}, and logins have version {login_version}"
            ),
        )


# --- holds -----------------------------------------------------------------------------------------------------------


def holds(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """A bucket's held is the sum of what its live sessions hold."""
    rows = _rows(
        connection,
        """
        WITH holding AS (
            SELECT c.account_id, c.bucket_id, CAST(sum(c.held) AS BIGINT) AS total FROM session_charge AS c
            JOIN session AS s ON s.account_id = c.account_id AND s.session_id = c.session_id AND s.closed_at IS NULL
            WHERE c.account_id BETWEEN :first AND :last GROUP BY c.account_id, c.bucket_id)
        SELECT b.account_id, b.bucket_id, b.name, b.unit, b.held, coalesce(h.total, 0)
        FROM bucket AS b LEFT JOIN holding AS h ON h.account_id = b.account_id AND h.bucket_id = b.bucket_id
        WHERE b.account_id BETWEEN :first AND :last AND b.held <> coalesce(h.total, 0)
        ORDER BY b.account_id, b.bucket_id""",
        accounts,
    )
    for account_id, bucket_id, name, unit, held, total in rows:
        yield account_id, f"bucket {bucket_id} ({name}): {held} {unit} held, but its live sessions hold {total}"


def cover_of_holds(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """No more is held than is there, the credit limit included: the same money is never promised twice."""
    rows = _rows(
        connection,
        """
        SELECT b.account_id, b.bucket_id, b.name, b.unit, b.held, b.balance,
               CASE WHEN b.unit = 'money' THEN a.credit_limit_micros ELSE 0 END AS credit
        FROM bucket AS b JOIN account AS a ON a.account_id = b.account_id
        WHERE b.account_id BETWEEN :first AND :last AND b.held > 0
          AND b.held > b.balance + CASE WHEN b.unit = 'money' THEN a.credit_limit_micros ELSE 0 END
        ORDER BY b.account_id, b.bucket_id""",
        accounts,
    )
    for account_id, bucket_id, name, unit, held, balance, credit in rows:
        limit = f" and a credit limit of {credit}" if credit else ""
        yield account_id, f"bucket {bucket_id} ({name}): {held} {unit} held, but there is a balance of {balance}{limit}"


def closed_sessions(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """A closed session holds nothing and has everything posted; a live one's charges are marked as live."""
    rows = _rows(
        connection,
        """
        SELECT c.account_id, c.session_id, c.bucket_id, c.unit, c.held, c.accrued - c.posted, s.closed_at, c.live
        FROM session_charge AS c JOIN session AS s ON s.account_id = c.account_id AND s.session_id = c.session_id
        WHERE c.account_id BETWEEN :first AND :last AND (
            (s.closed_at IS NOT NULL AND (c.live OR c.held <> 0 OR c.accrued <> c.posted))
            OR (s.closed_at IS NULL AND NOT c.live))
        ORDER BY c.account_id, c.session_id, c.bucket_id""",
        accounts,
    )
    for account_id, session_id, bucket_id, unit, held, unposted, closed_at, live in rows:
        where = f"session {session_id}, bucket {bucket_id}"
        if closed_at is None:
            yield account_id, f"{where}: the session is live, its charge is marked as closed"
            continue
        if held:
            yield account_id, f"{where}: the session is closed and still holds {held} {unit}"
        if unposted:
            yield account_id, f"{where}: the session is closed and {unposted} {unit} of it are not posted"
        if live:
            yield account_id, f"{where}: the session is closed, its charge is marked as live"


# --- octets ----------------------------------------------------------------------------------------------------------


def marks(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """A session's high-water marks are the sum of its usage lines, unless retention has removed some."""
    rows = _rows(
        connection,
        """
        WITH used AS (
            SELECT account_id, session_id, count(*) AS lines,
                   CAST(sum(octets_up_to - octets_up_from) AS BIGINT) AS up,
                   CAST(sum(octets_down_to - octets_down_from) AS BIGINT) AS down,
                   CAST(sum(seconds_to - seconds_from) AS BIGINT) AS seconds
            FROM usage_line WHERE account_id BETWEEN :first AND :last GROUP BY account_id, session_id)
        SELECT s.account_id, s.session_id, s.octets_up, s.octets_down, s.seconds, s.line_no,
               coalesce(u.up, 0), coalesce(u.down, 0), coalesce(u.seconds, 0), coalesce(u.lines, 0)
        FROM session AS s LEFT JOIN used AS u ON u.account_id = s.account_id AND u.session_id = s.session_id
        WHERE s.account_id BETWEEN :first AND :last AND s.removed_line_no = 0 AND (
            s.octets_up <> coalesce(u.up, 0) OR s.octets_down <> coalesce(u.down, 0)
            OR s.seconds <> coalesce(u.seconds, 0) OR s.line_no <> coalesce(u.lines, 0))
        ORDER BY s.account_id, s.session_id""",
        accounts,
    )
    names = ("octets up", "octets down", "seconds", "usage lines")
    for account_id, session_id, *numbers in rows:
        for name, mark, total in zip(names, numbers[:4], numbers[4:], strict=True):
            if mark != total:
                yield account_id, f"session {session_id}: its mark is {mark} {name}, its usage lines make {total}"


def usage_lines(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """A session's usage lines are numbered without gaps, and each begins where the one before it ended."""
    counters = ("octets_up", "octets_down", "seconds")
    before = ", ".join(f"lag({c}_to, 1, CAST(0 AS BIGINT)) OVER w AS {c}_before" for c in counters)
    broken = " OR ".join(f"{c}_from <> {c}_before OR {c}_to < {c}_from" for c in counters)
    rows = _rows(
        connection,
        f"""
        SELECT account_id, session_id, line_no, line_before, {", ".join(f"{c}_before, {c}_from, {c}_to" for c in counters)}
        FROM (SELECT account_id, session_id, line_no, lag(line_no, 1, CAST(0 AS BIGINT)) OVER w AS line_before,
                     {", ".join(f"{c}_from, {c}_to" for c in counters)}, {before}
              FROM usage_line AS u WHERE account_id BETWEEN :first AND :last AND {_WHOLE}
              WINDOW w AS (PARTITION BY account_id, session_id ORDER BY line_no)) AS lines
        WHERE line_no <> line_before + 1 OR {broken}
        ORDER BY account_id, session_id, line_no""",
        accounts,
    )
    for account_id, session_id, line_no, line_before, *numbers in rows:
        where = f"session {session_id}, usage line {line_no}"
        if line_no != line_before + 1:
            yield account_id, f"{where}: the line before it is {line_before}"
        for index, name in enumerate(counters):
            ended, begins, ends = numbers[3 * index : 3 * index + 3]
            if begins != ended:
                yield account_id, f"{where}: begins at {begins} {name}, the line before it ended at {ended}"
            if ends < begins:
                yield account_id, f"{where}: goes back from {begins} to {ends} {name}"


def removals(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """Retention takes nothing from a session that is live."""
    rows = _rows(
        connection,
        "SELECT account_id, session_id FROM session WHERE account_id BETWEEN :first AND :last AND closed_at IS NULL "
        "AND (removed_line_no > 0 OR lines_removed_at IS NOT NULL) ORDER BY account_id, session_id",
        accounts,
    )
    for account_id, session_id in rows:
        yield account_id, f"session {session_id} is live, but counts as one whose usage lines were removed"


def draws(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """What a session's usage lines drew from each bucket is what its charge on it has accrued."""
    lines = _rows(
        connection,
        "SELECT account_id, session_id, line_no, amount_micros, draws FROM usage_line AS u "
        f"WHERE account_id BETWEEN :first AND :last AND {_WHOLE} ORDER BY account_id, session_id",
        accounts,
    )
    charges = _rows(
        connection,
        "SELECT account_id, session_id, bucket_id, unit, accrued FROM session_charge AS u "
        f"WHERE account_id BETWEEN :first AND :last AND {_WHOLE} ORDER BY account_id, session_id",
        accounts,
    )
    both = merge(((*row, True) for row in lines), ((*row, False) for row in charges), key=itemgetter(0, 1))
    for (account_id, session_id), rows in groupby(both, key=itemgetter(0, 1)):
        drawn: Counter[tuple[int, str]] = Counter()
        accrued: Counter[tuple[int, str]] = Counter()
        for *row, is_line in rows:
            if not is_line:
                bucket_id, unit, amount = row[2:]
                accrued[bucket_id, unit] += amount
                continue
            line_no, micros, content = row[2:]
            where = f"session {session_id}, usage line {line_no}"
            try:
                parts = [(int(bucket_id), str(unit), int(taken)) for bucket_id, unit, taken in json.loads(content)]
            except (ValueError, TypeError):
                yield account_id, f"{where}: its draws can not be read"
                continue
            money = sum(taken for _, unit, taken in parts if unit == "money")
            if money != micros:
                yield account_id, f"{where}: charged {micros} micros, drew {money} micros of money"
            for bucket_id, unit, taken in parts:
                drawn[bucket_id, unit] += taken
        for key in sorted(drawn.keys() | accrued.keys()):
            if drawn[key] != accrued[key]:
                bucket_id, unit = key
                where = f"session {session_id}, bucket {bucket_id}"
                yield account_id, f"{where}: {accrued[key]} {unit} accrued, its usage lines drew {drawn[key]}"


# --- commands and top-ups ----------------------------------------------------------------------------------------------


def commands(connection: Connection, accounts: Range) -> Iterator[Finding]:
    """No NAS is still to be told anything about a session that is over."""
    rows = _rows(
        connection,
        """
        SELECT c.account_id, c.session_id, c.command_id, c.action FROM command AS c
        JOIN session AS s ON s.account_id = c.account_id AND s.session_id = c.session_id
        WHERE c.account_id BETWEEN :first AND :last AND c.state = 'pending' AND s.closed_at IS NOT NULL
        ORDER BY c.account_id, c.command_id""",
        accounts,
    )
    for account_id, session_id, command_id, action in rows:
        yield account_id, f"command {command_id} ({action}) is pending, but its session {session_id} is closed"


def top_ups(connection: Connection) -> Iterator[tuple[str, str]]:
    """Each applied row of the inbox is one transfer of its amount, and there is no other top-up in the ledger."""
    applied = _all(
        connection,
        """
        SELECT a.account_id, a.name, t.source || ':' || t.external_ref, t.unit, t.amount, a.currency
        FROM billing_top_up AS t JOIN account AS a ON a.name = t.account
        WHERE t.status = 'applied' ORDER BY a.account_id""",
    )
    booked = _all(
        connection,
        """
        SELECT t.account_id, a.name, t.reference, t.unit, t.amount, NULL
        FROM transfer AS t JOIN account AS a ON a.account_id = t.account_id
        WHERE t.kind = 'top-up' ORDER BY t.account_id""",
    )
    for _, rows in groupby(merge(applied, booked, key=itemgetter(0)), key=itemgetter(0)):
        name = ""
        rest: Counter[tuple[str, str, int]] = Counter()
        for _, name, reference, unit, amount, currency in rows:
            if currency is None:
                rest[reference, unit, amount] -= 1
                continue
            try:
                rest[reference, unit, amount_of(unit, amount, currency)[1]] += 1
            except ValueError as error:
                yield name, f"top-up {reference} is applied, but {error}"
        for (reference, unit, amount), count in sorted(rest.items()):
            times = "" if abs(count) == 1 else f" ({abs(count)} times)"
            if count > 0:
                yield name, f"top-up {reference} of {amount} {unit} is applied, but not in the ledger{times}"
            elif count < 0:
                yield name, f"the ledger has a top-up {reference} of {amount} {unit} that no row asked for{times}"


def references(connection: Connection) -> Iterator[tuple[str, str]]:
    """Each (source, reference) is applied once, and to an account that exists."""
    twice = _all(
        connection,
        "SELECT source, external_ref, count(*) FROM billing_top_up WHERE status = 'applied' "
        "GROUP BY source, external_ref HAVING count(*) > 1",
    )
    for source, external_ref, count in twice:
        yield "", f"top-up {source}:{external_ref} was applied {count} times"
    nowhere = _all(
        connection,
        "SELECT t.top_up_id, t.account FROM billing_top_up AS t LEFT JOIN account AS a ON a.name = t.account "
        "WHERE t.status = 'applied' AND a.account_id IS NULL",
    )
    for top_up_id, account in nowhere:
        yield account, f"top-up row {top_up_id} was applied, but there is no such account"


def session_keys(connection: Connection) -> Iterator[tuple[str, str]]:
    """At most one live session per key."""
    rows = _all(
        connection,
        "SELECT session_key, count(*), min(session_id), max(session_id) FROM session "
        "WHERE closed_at IS NULL AND session_key IS NOT NULL GROUP BY session_key HAVING count(*) > 1",
    )
    for session_key, count, first, last in rows:
        yield "", f"{count} live sessions have the key {session_key}, among them {first} and {last}"


INVARIANTS: Final[tuple[Invariant, ...]] = (
    chains,
    balances,
    buckets_of_transfers,
    postings,
    ends,
    periods,
    subscriptions,
    holds,
    cover_of_holds,
    closed_sessions,
    marks,
    usage_lines,
    draws,
    removals,
    commands,
)
#: These need one look at the whole database; they name the account themselves.
EVERYWHERE: Final[tuple[Callable[[Connection], Iterator[tuple[str, str]]], ...]] = (
    top_ups,
    references,
    session_keys,
    order_audit.orders,
    order_audit.vouchers,
    order_audit.between_accounts,
    order_audit.reversals,
    order_audit.top_up_requests,
)


# --- reading -----------------------------------------------------------------------------------------------------------

#: Per bucket and unit, what the ledger moved into it less what it moved out.
_MOVED: Final = """
    SELECT account_id, name, unit, CAST(sum(amount) AS BIGINT) AS total FROM (
        SELECT account_id, credit AS name, unit, amount FROM transfer
        WHERE account_id BETWEEN :first AND :last AND credit LIKE 'bucket:%'
        UNION ALL
        SELECT account_id, debit AS name, unit, -amount AS amount FROM transfer
        WHERE account_id BETWEEN :first AND :last AND debit LIKE 'bucket:%') AS sides
    GROUP BY account_id, name, unit"""


def _ranges(connection: Connection, now: Instant) -> Iterator[Range]:
    """All accounts in ranges without gaps; the last one reaches to the end of all ids."""
    after = -1
    while True:
        rows = connection.execute(
            text("SELECT account_id, name FROM account WHERE account_id > :after ORDER BY account_id LIMIT :most"),
            {"after": after, "most": ACCOUNTS_AT_ONCE},
        ).all()
        full = len(rows) == ACCOUNTS_AT_ONCE
        last = rows[-1][0] if full else 2**63 - 1
        yield Range(after + 1, last, now, dict(map(tuple, rows)))
        if not full:
            return
        after = last


def _rows(connection: Connection, statement: str, accounts: Range, **values: int) -> Iterator[tuple[Any, ...]]:
    """A statement's rows, some at a time."""
    return _all(connection, statement, first=accounts.first, last=accounts.last, **values)


def _all(connection: Connection, statement: str, **values: int) -> Iterator[tuple[Any, ...]]:
    with connection.execute(text(statement), values, execution_options={"yield_per": _ROWS_AT_ONCE}) as result:
        for row in result:
            yield tuple(row)


def _number(connection: Connection, statement: str, **values: int) -> int:
    found: int = connection.execute(text(statement), values).scalar_one()
    return found


def _name(invariant: Callable[..., object]) -> str:
    return invariant.__name__.replace("_", " ")
