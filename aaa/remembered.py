"""Who got in lately, for the time without a database: a bounded memory of good logins. Pure.

Only passwords that came as such (PAP) can be known again: what is kept of one is a keyed digest that is worth nothing
outside of this process. A login is let in again only as long as it was last let in with the full profile of its plan.
"""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from typing import Final, NamedTuple

from aaa.messages import AccessRequest
from aaa.passwords import Pap
from charging.admission import Admitted
from charging.plan import Instant
from charging.usage import REMEMBERED

MOST_REMEMBERED: Final = 65_536
REMEMBERED_MS: Final = 86_400_000
#: So that the database is asked again soon after it is back.
SESSION_TIMEOUT_SECONDS: Final = 300


class _Login(NamedTuple):
    proof: bytes
    admitted: Admitted
    until: Instant


class RememberedLogins:
    """The last good login of each user name, the least recently good one forgotten first."""

    def __init__(self, *, session_timeout_seconds: int = SESSION_TIMEOUT_SECONDS, most: int = MOST_REMEMBERED) -> None:
        self._session_timeout_seconds = session_timeout_seconds
        self._most = most
        self._key = secrets.token_bytes(32)
        self._logins: OrderedDict[str, _Login] = OrderedDict()

    def remember(self, request: AccessRequest, admitted: Admitted, expires_at: Instant | None, now: Instant) -> None:
        """This login was let in just now by the database's word."""
        if admitted.wanted != "full" or not isinstance(request.method, Pap):
            self.forget(request.username)
            return
        until = now + REMEMBERED_MS if expires_at is None else min(expires_at, now + REMEMBERED_MS)
        self._logins[request.username] = _Login(self._proof(request.username, request.method), admitted, until)
        self._logins.move_to_end(request.username)
        if len(self._logins) > self._most:
            self._logins.popitem(last=False)

    def forget(self, username: str) -> None:
        """Somebody who was let in no more, and not for a wrong password."""
        self._logins.pop(username, None)

    def recall(self, request: AccessRequest, now: Instant) -> Admitted | None:
        """What the same user with the same password was told, for a short time and without a session: none was
        opened. None: nothing is known that lets him in; that is no reason to refuse him."""
        login = self._logins.get(request.username)
        if login is None or login.until <= now or not isinstance(request.method, Pap):
            return None
        if not hmac.compare_digest(login.proof, self._proof(request.username, request.method)):
            return None
        seconds = min(self._session_timeout_seconds, max(1, (login.until - now) // 1000))
        return login.admitted._replace(session_id=REMEMBERED, time_limit_seconds=seconds, paid_seconds=None)

    def _proof(self, username: str, method: Pap) -> bytes:
        return hmac.digest(self._key, username.encode("utf-8", "surrogatepass") + b"\0" + method.password, "sha256")
