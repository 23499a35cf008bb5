"""Realms: `alice@example.net` or `EXAMPLE\\alice` → the name that she has here. Pure."""

from __future__ import annotations

from collections.abc import Mapping


class Realms:
    """What becomes of the names of each realm; those of other realms stay as they are."""

    def __init__(self, rules: Mapping[str, str | None]) -> None:
        """Realm → the one that takes its place; None: it is taken off. Realms are compared without regard to case."""
        self._rules = {realm.casefold(): other for realm, other in rules.items()}

    def __bool__(self) -> bool:
        return bool(self._rules)

    def name(self, username: str) -> str:
        """The subscriber's user name for what a NAS says."""
        user, at, realm = username.rpartition("@")
        if not at:
            realm, at, user = username.partition("\\")
        if not at or not user or realm.casefold() not in self._rules:
            return username
        other = self._rules[realm.casefold()]
        return user if other is None else f"{user}@{other}"


NO_REALMS = Realms({})
