"""The way out by HTTP: a signed POST. Only an answer of 2xx means that it arrived; redirections are not followed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol
from twisted.web.client import Agent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from charging.notices.letter import Letter, webhook_body, webhook_headers
from charging.notices.postman import NotSent
from charging.notices.settings import Webhook
from charging.notices.wording import Said
from charging.plan import Instant

MOST_ANSWER_OCTETS: Final = 1024
#: 410 Gone (RFC 9110 15.5.11): the receiver wants no more of it.
GONE: Final = 410
TOO_MANY_REQUESTS: Final = 429


class WebhookWay:
    """Posts letters to one URL."""

    def __init__(self, reactor: Any, settings: Webhook, secret: bytes) -> None:
        self._settings = settings
        self._secret = secret
        self._agent = Agent(reactor, connectTimeout=settings.timeout_seconds)  # type: ignore[no-untyped-call]  # half its types

    def address(self, letter: Letter) -> str | None:  # noqa: ARG002  all go to one
        """Where the letter goes."""
        return self._settings.url

    async def send(self, letter: Letter, said: Said, now: Instant) -> None:
        """Post a letter; NotSent where the answer is not 2xx."""
        body = webhook_body(letter, said)
        headers = Headers({"content-type": ["application/json"], "user-agent": ["prepaid-aaa"]})
        for name, value in webhook_headers(letter, body, self._secret, now).items():
            headers.setRawHeaders(name, [value])
        try:
            response: Any = await self._agent.request(b"POST", self._settings.url.encode(), headers, _Body(body))
            answer = await _beginning(response)
        except Exception as error:  # whatever the transport, TLS and HTTP can fail with
            causes = list(_causes(error))
            if any(isinstance(cause, CancelledError) for cause in causes):
                raise CancelledError from error
            raise NotSent("; ".join(dict.fromkeys(str(c) or type(c).__name__ for c in causes))) from error
        if not 200 <= response.code <= 299:
            whose = response.code >= 500 or response.code == TOO_MANY_REQUESTS
            text = " ".join(answer.decode("utf-8", "replace").split())
            raise NotSent(f"HTTP {response.code} {text}".rstrip(), final=response.code == GONE, about_way=whose)


@implementer(IBodyProducer)
class _Body:
    """Octets that are sent at once."""

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self.length = len(octets)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:  # noqa: N802  Twisted's name
        """All of it."""
        consumer.write(self._octets)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802  Twisted's name
        """There is nothing more to come."""

    def resumeProducing(self) -> None:  # noqa: N802  Twisted's name
        """There is nothing more to come."""

    def stopProducing(self) -> None:  # noqa: N802  Twisted's name
        """There is nothing more to come."""


class _Beginning(Protocol):
    """The first octets of a body; the rest is not waited for."""

    def __init__(self, done: Deferred[bytes]) -> None:
        self.done = done
        self.octets = b""

    def dataReceived(self, data: bytes) -> None:  # noqa: N802  Twisted's name
        """More of it."""
        self.octets += data[: MOST_ANSWER_OCTETS - len(self.octets)]
        if len(self.octets) >= MOST_ANSWER_OCTETS and self.transport is not None:
            self.transport.loseConnection()

    def connectionLost(self, reason: object = None) -> None:  # noqa: ARG002, N802  Twisted's
        """That was all."""
        if not self.done.called:
            self.done.callback(self.octets)


def _beginning(response: Any) -> Deferred[bytes]:
    done: Deferred[bytes] = Deferred()
    response.deliverBody(_Beginning(done))
    return done


def _causes(error: BaseException) -> Iterator[BaseException]:
    """What a failure comes from: HTTP's wrap the transport's."""
    reasons = getattr(error, "reasons", None)
    if not reasons:
        yield error
    for reason in reasons or ():
        yield from _causes(reason.value)
