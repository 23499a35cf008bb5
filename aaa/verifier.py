"""Slow password checks: a bounded pool of threads, and a short memory of what was right."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from twisted.internet.defer import Deferred

from aaa.passwords import verify_hash
from charging.batching import QueueFull
from charging.plan import Instant

#: How long a right password is known without hashing again: a reconnect storm is the same few thousand passwords.
REMEMBERED_MS: Final = 300_000
MOST_REMEMBERED: Final = 65_536
#: One check costs some 20 ms of a core; more waiting than this and the NAS gives up first.
MOST_WAITING: Final = 256

Check = Callable[[Callable[[], bool]], "Deferred[bool]"]
"""Runs a check in a thread of a bounded pool."""


class Verifier:
    """Checks passwords against argon2id hashes off the reactor's thread."""

    def __init__(self, run: Check) -> None:
        self._run = run
        self._waiting = 0
        # What is remembered is useless outside of this process: keyed by a secret of its own.
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, Instant] = OrderedDict()

    async def verify(self, stored: str, password: bytes, now: Instant) -> bool:
        """Does the password fit the stored hash? QueueFull when too many checks wait."""
        proof = hmac.digest(self._key, stored.encode() + b"\0" + password, "sha256")
        until = self._right.get(proof)
        if until is not None and until > now:
            return True
        if self._waiting >= MOST_WAITING:
            raise QueueFull
        self._waiting += 1
        try:
            right = await self._run(lambda: verify_hash(stored, password))
        finally:
            self._waiting -= 1
        if right:
            self._right[proof] = now + REMEMBERED_MS
            self._right.move_to_end(proof)
            if len(self._right) > MOST_REMEMBERED:
                self._right.popitem(last=False)
        return right
