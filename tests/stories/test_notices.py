"""A server tells a subscriber: a real mail server, a real web server, `aaa serve` as a process of its own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from charging.database import open_engine
from charging.notices.letter import secret_of, signature
from cli.clock import now
from tests.charging.notices.test_ways import Mailbox, Site, mail_server, web_server
from tests.outside import SECRET
from tests.store.shop import Shop
from tests.stories.conftest import PLANS, Aaa, ServerProcess

pytestmark = pytest.mark.proof

SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
# Quiet for all of the day but a minute: what is not urgent does not go.
CONFIG = """\
[notices]
language = "es"
time_zone = "UTC"
{quiet}

[notices.email]
host = "127.0.0.1"
port = {mail}
tls = "none"
from = "Example ISP <noreply@example.net>"

[notices.webhook.sms]
url = "{url}"
secret_file = "{folder}/sms.secret"
to = "phone"
kinds = ["exhausted", "restored", "test"]
"""


@dataclass
class Told:
    """What the subscriber's side got, and the server that told it."""

    mail: Mailbox
    sms: Site
    server: ServerProcess


@pytest.fixture
def told(aaa: Aaa, tmp_path: Path, free_udp_ports: Callable[[int], list[int]]) -> Iterator[Told]:
    mail, sms = Mailbox(), Site()
    with mail_server(mail) as port, web_server(sms) as url:
        (tmp_path / "sms.secret").write_text(SIGNING + "\n")
        config = tmp_path / "aaa.toml"
        config.write_text(CONFIG.format(quiet="", mail=port, url=url, folder=tmp_path))
        plans = tmp_path / "plans.toml"
        plans.write_text(PLANS.replace('profile = "home-20"\n[[', 'profile = "home-20"\nthresholds = ["80%"]\n[['))
        aaa.options = ["--config", str(config), *aaa.options]
        aaa("nas", "add", "here", "--address", "127.0.0.1", "--secret-stdin", stdin=SECRET)
        aaa("plan", "load", str(plans))
        aaa(
            "subscriber", "add", "alice", "--plan", "prepaid-50", "--email", "alice@example.net", "--phone", "+4915112345678",
            "--language", "de",
        )  # fmt: skip
        running = ServerProcess(aaa, tmp_path, *free_udp_ports(2))
        running.start()
        try:
            yield Told(mail, sms, running)
        finally:
            running.kill()


def test_what_happens_is_told_and_can_be_looked_up(
    told: Told, aaa: Aaa, database_url: str, eventually: Callable[..., None]
) -> None:
    # Another process books a session that uses 41 of 50 GB, as a second node would.
    engine = open_engine(database_url)
    shop = Shop(engine, now=now() - 20_000_000)
    with engine.connect() as connection:
        (row,) = connection.exec_driver_sql(
            "SELECT s.account_id, s.subscriber_id, p.plan_version_id FROM subscriber AS s JOIN plan AS p ON p.name = s.plan_name"
        ).all()
    session_id = shop.login(row[0], row[1], "alice", row[2])
    shop.report(row[0], session_id, "start")
    shop.now = now()
    shop.report(row[0], session_id, "interim", down=41_000_000_000, seconds=20_000)
    engine.dispose()

    eventually(lambda: told.mail.mails, within=10)
    ((sender, to, message),) = told.mail.mails
    assert (sender, to) == ("noreply@example.net", ["alice@example.net"])
    assert message["Subject"] == "Noch 9 GB von data"
    assert "von Ihren 50 GB (data) sind noch 9 GB übrig" in message.get_content()
    # It is one of the kinds that the gateway did not ask for.
    assert told.sms.requests == []

    (listed,) = json.loads(aaa("notice", "list", "--account", "alice", "--json"))
    eventually(lambda: json.loads(aaa("notice", "list", "--json"))[0]["sent"] == 1)
    assert (listed["kind"], listed["username"]) == ("threshold", "alice")
    shown = json.loads(aaa("notice", "show", str(listed["notice_id"]), "--json"))
    assert shown["subject"] == "Noch 9 GB von data"
    assert [(d["channel"], d["address"], d["state"]) for d in shown["deliveries"]] == [
        ("email", "alice@example.net", "sent")
    ]


def test_an_operator_tries_the_delivery(told: Told, aaa: Aaa) -> None:
    tried = json.loads(aaa("notice", "test", "alice", "--json"))
    assert {d["channel"]: d["state"] for d in tried["deliveries"]} == {"email": "sent", "sms": "sent"}
    ((_, headers, body),) = told.sms.requests
    signed = signature(secret_of(SIGNING), headers["webhook-id"], int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == signed
    data = json.loads(body)["data"]
    assert (data["kind"], data["subscriber"]["phone"]) == ("test", "+4915112345678")
    assert data["text"].startswith("Guten Tag alice")
