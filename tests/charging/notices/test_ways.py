"""SMTP against a mail server that is not ours, webhooks against a web server that is not ours, on real sockets."""

from __future__ import annotations

import email
import gc
import http.server
import json
import socket
import ssl
import threading
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult
from twisted.internet.defer import Deferred
from twisted.internet.threads import blockingCallFromThread

from aaa.certificates import Authority
from charging.notices.kinds import KINDS
from charging.notices.letter import secret_of, signature
from charging.notices.postman import NotSent
from charging.notices.settings import Mail, Webhook
from charging.notices.smtp import MailWay
from charging.notices.webhook import WebhookWay
from tests.charging.notices.test_letter import LETTER, SAID

NOW = 1_796_083_201_000
SECRET = secret_of("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
ALL = frozenset(KINDS)


@pytest.fixture(scope="module", autouse=True)
def running_reactor() -> Iterator[None]:
    """Twisted's own reactor, in a thread: TLS writes through that one, whichever one it is given."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    thread = threading.Thread(target=reactor.run, args=(False,), daemon=True)
    thread.start()
    yield
    reactor.callFromThread(reactor.stop)
    thread.join(5)


def outcome(send: Callable[[Any], Coroutine[Any, Any, None]], within: int = 10) -> NotSent | None:
    """What came of `send(reactor)`; None: it arrived."""
    from twisted.internet import reactor as installed

    reactor: Any = installed

    def sending() -> Deferred[Any]:
        return Deferred.fromCoroutine(send(reactor)).addTimeout(within, reactor)

    try:
        blockingCallFromThread(reactor, sending)
    except NotSent as problem:
        return problem
    return None


# --- mail ----------------------------------------------------------------------------------------------------------


@dataclass
class Mailbox:
    """What a mail server got, and what it answers."""

    rcpt: str = "250 OK"
    data: str = "250 OK"
    mails: list[Any] = field(default_factory=list)

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, _options: Any) -> str:  # noqa: N802  aiosmtpd's name
        if self.rcpt.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802  aiosmtpd's name
        if self.data.startswith("250"):
            self.mails.append(
                (envelope.mail_from, envelope.rcpt_tos, email.message_from_bytes(envelope.content, policy=default))
            )
        return self.data


@contextmanager
def mail_server(box: Mailbox, **options: Any) -> Iterator[int]:
    """aiosmtpd in a thread of its own; its port."""
    controller = Controller(box, hostname="127.0.0.1", port=0, **options)
    # A free port is chosen by the kernel, which the controller's own check of its port does not expect.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        controller.port = probe.getsockname()[1]
    controller.start()
    try:
        yield controller.port
    finally:
        controller.stop()
        # A client that leaves during the handshake leaves aiosmtpd with a socket that it forgets to close.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            gc.collect()


def mail_settings(port: int, **changes: Any) -> Mail:
    settings = Mail(
        "127.0.0.1", "Example ISP <noreply@example.net>", port, "none", None, None, "noc@example.net", ALL, 10
    )
    return replace(settings, **changes)


def test_a_letter_arrives() -> None:
    box = Mailbox()
    with mail_server(box) as port:
        assert outcome(lambda reactor: MailWay(reactor, mail_settings(port), None).send(LETTER, SAID, NOW)) is None
    ((sender, to, message),) = box.mails
    assert (sender, to) == ("noreply@example.net", ["alice@example.net"])
    assert (message["From"], message["Subject"]) == ("Example ISP <noreply@example.net>", SAID.subject)
    assert message.get_content().replace("\r\n", "\n") == SAID.text


def test_the_operator_s_business_goes_to_the_operator() -> None:
    box = Mailbox()
    with mail_server(box) as port:
        letter = replace(LETTER, username=None, email=None)
        assert outcome(lambda reactor: MailWay(reactor, mail_settings(port), None).send(letter, SAID, NOW)) is None
    assert box.mails[0][1] == ["noc@example.net"]


REFUSALS = [
    (Mailbox(rcpt="550 5.1.1 no such user"), "550 5.1.1 no such user", True, False),
    (Mailbox(rcpt="450 4.2.1 mailbox busy"), "450 4.2.1 mailbox busy", False, False),
    (Mailbox(data="452 4.3.1 disk full"), "452 4.3.1 disk full", False, False),
    (Mailbox(data="554 5.7.1 looks like spam"), "554 5.7.1 looks like spam", True, False),
]


@pytest.mark.parametrize(("box", "words", "final", "about_way"), REFUSALS)
def test_a_refusal_is_told_in_the_server_s_words(box: Mailbox, words: str, final: bool, about_way: bool) -> None:
    with mail_server(box) as port:
        problem = outcome(lambda reactor: MailWay(reactor, mail_settings(port), None).send(LETTER, SAID, NOW))
    assert problem is not None
    assert (str(problem), problem.final, problem.about_way) == (words, final, about_way)
    assert box.mails == []


def test_a_mail_server_that_is_not_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    problem = outcome(lambda reactor: MailWay(reactor, mail_settings(port), None).send(LETTER, SAID, NOW))
    assert problem is not None
    assert (problem.final, problem.about_way) == (False, True)
    assert "refused" in str(problem)


def test_a_reader_who_has_no_address_any_more() -> None:
    letter = replace(LETTER, email=None)
    problem = outcome(lambda reactor: MailWay(reactor, mail_settings(1), None).send(letter, SAID, NOW))
    assert problem is not None
    assert (str(problem), problem.final) == ("has no e-mail address any more", True)


@pytest.fixture
def tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ssl.SSLContext:
    """TLS of a server called localhost, by a CA that this machine believes."""
    now = datetime.now(UTC)
    authority = Authority.create(tmp_path / "ca", "test CA", now)
    authority.write_server(authority.issue("localhost", "server", 1, now))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca" / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "ca" / "server.pem", tmp_path / "ca" / "server.key")
    return context


def authenticator(password: bytes) -> Any:
    def check(_server: Any, _session: Any, _envelope: Any, _mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"aaa", password), handled=False)

    return check


# aiosmtpd's words to itself; its TLS from the beginning does not count as TLS to it.
@pytest.mark.filterwarnings("ignore:Session.login_data is deprecated", "ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_mail_over_tls_with_a_password(tls: ssl.SSLContext, mode: str) -> None:
    box = Mailbox()
    how = {"tls_context": tls, "require_starttls": True} if mode == "starttls" else {"ssl_context": tls}
    auth = {"authenticator": authenticator(b"pw"), "auth_required": True, "auth_require_tls": mode == "starttls"}
    with mail_server(box, **how, **auth) as port:
        settings = mail_settings(port, host="localhost", tls=mode, username="aaa")
        wrong = outcome(lambda reactor: MailWay(reactor, settings, b"wrong").send(LETTER, SAID, NOW))
        right = outcome(lambda reactor: MailWay(reactor, settings, b"pw").send(LETTER, SAID, NOW))
    assert wrong is not None
    # Somebody mends the password; nobody's letter is lost to it.
    assert (wrong.final, wrong.about_way) == (False, True)
    assert "535" in str(wrong)
    assert right is None
    assert len(box.mails) == 1


@pytest.mark.parametrize("mode", ["starttls", "tls"])
def test_mail_is_not_given_to_a_stranger(tls: ssl.SSLContext, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    box = Mailbox()
    how = {"tls_context": tls} if mode == "starttls" else {"ssl_context": tls}
    with mail_server(box, **how) as port:
        settings = mail_settings(port, host="localhost", tls=mode)
        problem = outcome(lambda reactor: MailWay(reactor, settings, None).send(LETTER, SAID, NOW))
    assert problem is not None
    assert problem.about_way
    assert "certificate" in str(problem)
    assert box.mails == []


def test_mail_is_not_sent_in_the_clear_where_tls_was_asked_for() -> None:
    box = Mailbox()
    with mail_server(box) as port:
        settings = mail_settings(port, tls="starttls")
        problem = outcome(lambda reactor: MailWay(reactor, settings, None).send(LETTER, SAID, NOW))
    assert problem is not None
    assert "TLS" in str(problem)
    assert box.mails == []


def test_a_mail_server_that_hangs_is_left(free_tcp: socket.socket) -> None:
    """It takes the connection and says nothing; who gives up closes it."""

    async def send(reactor: Any) -> None:
        way = MailWay(reactor, mail_settings(free_tcp.getsockname()[1]), None)
        await Deferred.fromCoroutine(way.send(LETTER, SAID, NOW)).addTimeout(0.2, reactor, _gave_up)

    problem = outcome(send)
    assert str(problem) == "gave up"
    taken, _ = free_tcp.accept()
    taken.settimeout(2)
    assert taken.recv(100) == b""
    taken.close()


def _gave_up(_value: object, _seconds: float) -> None:
    raise NotSent("gave up")


@pytest.fixture
def free_tcp() -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        yield listening


# --- webhooks ------------------------------------------------------------------------------------------------------


@dataclass
class Site:
    """What a web server got, and what it answers."""

    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@contextmanager
def web_server(site: Site, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Python's own, in a thread; its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            site.requests.append((self.path, {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length)))
            self.send_response(site.status)
            for name, value in site.headers.items():
                self.send_header(name, value)
            if site.status != 204:
                self.send_header("content-length", str(len(site.body)))
            self.end_headers()
            self.wfile.write(site.body)

        def log_message(self, *_args: Any) -> None:
            """Silence."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"{'http://127.0.0.1' if tls is None else 'https://localhost'}:{server.server_port}/sms?to=all"
        finally:
            server.shutdown()
            thread.join()


def hook(url: str) -> Webhook:
    return Webhook("sms", url, Path("unused"), "everyone", ALL, 5)


def posted(url: str) -> NotSent | None:
    return outcome(lambda reactor: WebhookWay(reactor, hook(url), SECRET).send(LETTER, SAID, NOW))


def test_a_webhook_is_posted_and_signed() -> None:
    site = Site()
    with web_server(site) as url:
        assert posted(url) is None
    ((path, headers, body),) = site.requests
    assert path == "/sms?to=all"
    assert headers["content-type"] == "application/json"
    expected = signature(SECRET, headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == expected
    assert json.loads(body)["data"]["subscriber"]["phone"] == "+4915112345678"


ANSWERS = [
    (Site(500, b"out of\n order"), "HTTP 500 out of order", False, True),
    (Site(503), "HTTP 503", False, True),
    (Site(429, b"slower"), "HTTP 429 slower", False, True),
    (Site(400, b"no such number"), "HTTP 400 no such number", False, False),
    (Site(410), "HTTP 410", True, False),
    # Whoever is told elsewhere may not be whom the operator trusts.
    (Site(307, headers={"location": "http://127.0.0.1:9/"}), "HTTP 307", False, False),
]


@pytest.mark.parametrize(("site", "words", "final", "about_way"), ANSWERS)
def test_an_answer_that_is_no_thanks(site: Site, words: str, final: bool, about_way: bool) -> None:
    with web_server(site) as url:
        problem = posted(url)
    assert problem is not None
    assert (str(problem), problem.final, problem.about_way) == (words, final, about_way)


def test_an_endless_answer_is_not_read_to_its_end() -> None:
    with web_server(Site(200, b"x" * 5_000_000)) as url:
        assert posted(url) is None


def test_a_webhook_over_tls(tls: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    with web_server(site, tls) as url:
        assert posted(url) is None
        monkeypatch.delenv("SSL_CERT_FILE")
        problem = posted(url)
    assert problem is not None
    assert problem.about_way
    assert "certificate" in str(problem)
    assert len(site.requests) == 1


def test_a_web_server_that_is_not_there() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    problem = posted(f"http://127.0.0.1:{port}/")
    assert problem is not None
    assert problem.about_way
    assert "refused" in str(problem)
