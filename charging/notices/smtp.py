"""The way out by mail: one message per connection, over STARTTLS, TLS, or in the clear where the operator says so."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.ssl import optionsForClientTLS
from twisted.mail import smtp
from twisted.protocols.tls import TLSMemoryBIOFactory

from charging.notices.letter import Letter, mail
from charging.notices.postman import NotSent
from charging.notices.settings import Mail
from charging.notices.wording import Said
from charging.plan import Instant

#: Answers of a server that mean this message, whoever carries it; others are about us, or about now.
_FINAL_ABOUT_MESSAGE: Final = frozenset(range(550, 555)) - {552}


class MailWay:
    """Sends letters to their readers' e-mail addresses, or the operator's."""

    def __init__(self, reactor: Any, settings: Mail, password: bytes | None) -> None:
        self._reactor = reactor
        self._settings = settings
        self._password = password

    def address(self, letter: Letter) -> str | None:
        """Where the letter goes; None where its reader has no address any more."""
        return self._settings.operator if letter.username is None else letter.email

    async def send(self, letter: Letter, said: Said, now: Instant) -> None:
        """Hand a letter to the mail server; NotSent where it did not take it."""
        to = self.address(letter)
        if to is None:
            raise NotSent("has no e-mail address any more", final=True)
        settings = self._settings
        sender = settings.sender_address
        octets = mail(letter, said, settings.sender, to, sender.partition("@")[2], now)

        def give_up(_result: Deferred[Any]) -> None:
            factory.sendFinished = True
            connector.disconnect()

        result: Deferred[Any] = Deferred(give_up)
        factory: Any = smtp.ESMTPSenderFactory(  # type: ignore[no-untyped-call]  # ships no types
            (settings.username or "").encode(),
            self._password or b"",
            sender,
            to,
            # It ends lines by CRLF itself.
            BytesIO(octets.replace(b"\r\n", b"\n")),
            result,
            # It tries again by itself, without a word to anybody; we do that, with one in the tables.
            retries=0,
            timeout=None,
            contextFactory=optionsForClientTLS(settings.host) if settings.tls == "starttls" else None,
            requireAuthentication=settings.username is not None,
            requireTransportSecurity=settings.tls == "starttls",
        )
        factory.noisy = False
        wrapped: Any = factory
        if settings.tls == "tls":
            wrapped = TLSMemoryBIOFactory(optionsForClientTLS(settings.host), isClient=True, wrappedFactory=factory)
            wrapped.noisy = False
        connector = self._reactor.connectTCP(settings.host, settings.port, wrapped)
        try:
            await result
        except smtp.SMTPDeliveryError as error:
            raise NotSent(_words(error), final=error.code in _FINAL_ABOUT_MESSAGE, about_way=False) from error
        except smtp.SMTPClientError as error:
            raise NotSent(_words(error)) from error
        except (ConnectError, ConnectionClosed, OSError) as error:
            raise NotSent(str(error)) from error


def _words(error: smtp.SMTPClientError) -> str:
    # A refused recipient's own answer says more than that there was none left.
    told: Any = error.addresses
    refused: list[Any] = [each for each in told or () if not 200 <= each[1] <= 299]
    code, resp = (refused[0][1], refused[0][2]) if refused else (error.code, error.resp)
    said = resp.decode("utf-8", "replace") if isinstance(resp, bytes) else str(resp)
    # What went wrong below SMTP comes with the code -1.
    return said if code < 0 else f"{code} {said}"
