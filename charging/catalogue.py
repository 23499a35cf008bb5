"""What is sold and who pays, as operators write it down: plans with their versions, accounts with their first bucket."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, NamedTuple, TypeVar

from sqlalchemy import BigInteger, Connection, Select, cast, func, insert, select, update

from charging.payment import money_bucket
from charging.plan import Instant, Plan, digest, from_json, to_json
from charging.tables import account, bucket, plan, plan_version, session, subscriber

T = TypeVar("T")
Kind = Literal["prepaid", "postpaid"]
Status = Literal["active", "suspended"]

MOST_NAMES_IN_STATEMENT: Final = 500
#: The money bucket is made with its account; the ids of later ones come from the clock and are far larger.
_MONEY_BUCKET_ID: Final = 1


class CatalogueError(Exception):
    """A plan or an account that is not there, is there already, or does not fit; the text says what would be right."""


# --- plans ---------------------------------------------------------------------------------------------------------


class PlanVersion(NamedTuple):
    """One version of a plan, with its content."""

    plan_version_id: int
    number: int
    loaded_at: Instant
    digest: str
    plan: Plan


class Loaded(NamedTuple):
    """What loading one plan of a file came to."""

    name: str
    number: int
    new: bool
    """False: the newest version has this content already."""


def load_plans(connection: Connection, plans: Sequence[Plan], now: Instant) -> list[Loaded]:
    """Make a new version of each plan whose content has changed; running sessions keep theirs.

    CatalogueError where a plan that subscribers have would change its currency: their accounts could not pay.
    """
    known = current_plans(connection, [p.name for p in plans])
    loaded = []
    for each in plans:
        before = known.get(each.name)
        if before is not None and before.digest == digest(each):
            loaded.append(Loaded(each.name, before.number, new=False))
            continue
        if before is not None and before.plan.currency != each.currency and _has_subscribers(connection, each.name):
            raise CatalogueError(
                f"plan {each.name!r} is sold in {before.plan.currency} and has subscribers; "
                f"give the one in {each.currency} another name"
            )
        loaded.append(_load(connection, each, before, now))
    return loaded


def _load(connection: Connection, each: Plan, before: PlanVersion | None, now: Instant) -> Loaded:
    number = 1 if before is None else before.number + 1
    row = {"plan_name": each.name, "number": number, "content": to_json(each), "digest": digest(each), "loaded_at": now}
    made = connection.execute(insert(plan_version).values(row).returning(plan_version.c.plan_version_id)).scalar_one()
    if before is None:
        connection.execute(insert(plan).values(name=each.name, plan_version_id=made))
    else:
        connection.execute(update(plan).where(plan.c.name == each.name).values(plan_version_id=made))
    return Loaded(each.name, number, new=True)


def _has_subscribers(connection: Connection, name: str) -> bool:
    found = select(subscriber.c.subscriber_id).where(subscriber.c.plan_name == name).limit(1)
    return connection.execute(found).first() is not None


def current_plans(connection: Connection, names: Iterable[str] | None = None) -> dict[str, PlanVersion]:
    """The newest version of each of these plans that there are, or of all, by name."""
    chosen = _versions().join(plan, plan.c.plan_version_id == plan_version.c.plan_version_id).order_by(plan.c.name)
    if names is None:
        return {v.plan.name: v for v in map(_version, connection.execute(chosen))}
    found: dict[str, PlanVersion] = {}
    for some in in_parts(sorted(set(names))):
        found |= {v.plan.name: v for v in map(_version, connection.execute(chosen.where(plan.c.name.in_(some))))}
    return found


def current_plan(connection: Connection, name: str) -> PlanVersion:
    """The newest version of a plan; CatalogueError, with the name that was meant, where there is none."""
    found = current_plans(connection, [name]).get(name)
    if found is None:
        raise CatalogueError(no_plan(name, connection.execute(select(plan.c.name)).scalars().all()))
    return found


def plan_versions(connection: Connection, name: str) -> list[PlanVersion]:
    """All versions of a plan, the newest first; CatalogueError where there is no such plan."""
    current_plan(connection, name)
    chosen = _versions().where(plan_version.c.plan_name == name).order_by(plan_version.c.number.desc())
    return [_version(row) for row in connection.execute(chosen)]


def no_plan(name: str, known: Iterable[str]) -> str:
    """What to say of a plan that does not exist."""
    names = sorted(known)
    if not names:
        return f"there is no plan {name!r}, nor any other; run: aaa plan load FILE"
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names[:20])}"
    return f"there is no plan {name!r}; {hint}"


def subscribers_by_plan(connection: Connection) -> dict[str, int]:
    """How many subscribers each plan has."""
    counted = select(subscriber.c.plan_name, func.count().label("subscribers")).group_by(subscriber.c.plan_name)
    return {row.plan_name: row.subscribers for row in connection.execute(counted)}


def _versions() -> Select[Any]:
    c = plan_version.c
    return select(c.plan_version_id, c.number, c.loaded_at, c.digest, c.content).select_from(plan_version)


def _version(row: Any) -> PlanVersion:
    return PlanVersion(row.plan_version_id, row.number, row.loaded_at, row.digest, from_json(row.content))


# --- accounts ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class NewAccount:
    """An account to be made."""

    name: str
    currency: str
    kind: Kind = "prepaid"
    credit_limit_micros: int = 0


class AccountLine(NamedTuple):
    """An account as operators see it."""

    account_id: int
    name: str
    currency: str
    kind: Kind
    credit_limit_micros: int
    status: Status
    balance_micros: int
    """Money only; the other units are `aaa balance`'s."""
    subscribers: int
    live_sessions: int
    created_at: Instant
    auto_below_micros: int
    auto_amount_micros: int
    """What it asks for when it has less money than `auto_below_micros`; 0: nothing."""


def add_accounts(connection: Connection, new: Sequence[NewAccount], now: Instant) -> dict[str, int]:
    """Make accounts, each with its empty money bucket; their ids by name. CatalogueError where a name is taken."""
    taken = account_ids(connection, [each.name for each in new])
    if taken:
        raise CatalogueError(f"there is an account {min(taken)!r} already; choose another name")
    made: dict[str, int] = {}
    for some in in_parts(new):
        connection.execute(insert(account), [{**asdict(each), "created_at": now} for each in some])
        ids = account_ids(connection, [each.name for each in some])
        connection.execute(insert(bucket), [asdict(money_bucket(i, _MONEY_BUCKET_ID, now)) for i in ids.values()])
        made |= ids
    return made


def account_ids(connection: Connection, names: Iterable[str]) -> dict[str, int]:
    """The ids of those of these accounts that there are."""
    return {name: account_id for name, (account_id, _) in account_currencies(connection, names).items()}


def account_currencies(connection: Connection, names: Iterable[str]) -> dict[str, tuple[int, str]]:
    """Name → (account_id, currency) of those of these accounts that there are."""
    found: dict[str, tuple[int, str]] = {}
    for some in in_parts(sorted(set(names))):
        chosen = select(account.c.name, account.c.account_id, account.c.currency).where(account.c.name.in_(some))
        found |= {name: (account_id, currency) for name, account_id, currency in connection.execute(chosen)}
    return found


def account_named(connection: Connection, name: str) -> AccountLine:
    """An account; CatalogueError where there is none of that name."""
    row = connection.execute(_account_lines().where(account.c.name == name)).first()
    if row is None:
        raise CatalogueError(f"there is no account {name!r}; see: aaa account list")
    return AccountLine(*row)


def accounts(connection: Connection, *, status: Status | None, limit: int) -> list[AccountLine]:
    """Accounts by name, at most `limit`."""
    chosen = _account_lines().order_by(account.c.name).limit(limit)
    if status is not None:
        chosen = chosen.where(account.c.status == status)
    return [AccountLine(*row) for row in connection.execute(chosen)]


def set_account_status(connection: Connection, account_id: int, status: Status) -> None:
    """Suspend or resume; a login that is being decided meanwhile is decided again."""
    changed = update(account).where(account.c.account_id == account_id)
    connection.execute(changed.values(status=status, version=account.c.version + 1))


def only_currency(connection: Connection) -> str:
    """The currency of all plans; CatalogueError where they have several, or there is none."""
    currencies = sorted({each.plan.currency for each in current_plans(connection).values()})
    if len(currencies) == 1:
        return currencies[0]
    which = f"the plans are in {', '.join(currencies)}" if currencies else "there is no plan yet to take it from"
    raise CatalogueError(f"which currency? {which}; add --currency EUR, for example")


def _account_lines() -> Select[Any]:
    # PostgreSQL adds integers up to a numeric; ours stay integers.
    money = select(cast(func.coalesce(func.sum(bucket.c.balance), 0), BigInteger)).where(
        bucket.c.account_id == account.c.account_id, bucket.c.unit == "money"
    )
    lines = select(func.count()).where(subscriber.c.account_id == account.c.account_id)
    live = select(func.count()).where(session.c.account_id == account.c.account_id, session.c.closed_at.is_(None))
    c = account.c
    return select(
        c.account_id, c.name, c.currency, c.kind, c.credit_limit_micros, c.status,
        money.scalar_subquery(), lines.scalar_subquery(), live.scalar_subquery(), c.created_at,
        c.auto_below_micros, c.auto_amount_micros,
    )  # fmt: skip


def in_parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    """What one statement may name at once."""
    for start in range(0, len(items), MOST_NAMES_IN_STATEMENT):
        yield items[start : start + MOST_NAMES_IN_STATEMENT]
