from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from aaa import registry
from aaa.directory import NasDirectory
from aaa.keyring import load as load_keys
from charging.database import open_engine, reading
from tests.cli.conftest import Aaa, words

SECRET = "correct horse battery staple"


@pytest.fixture
def at(aaa: Aaa) -> Callable[[str], Any]:
    """`at("192.0.2.1")`: what a running server knows of the NAS at that address."""
    engines = []

    def look(address: str) -> Any:
        engine = open_engine(aaa.database_url)
        engines.append(engine)
        directory = NasDirectory(engine, load_keys(aaa.keys_file))
        directory.refresh()
        engine.dispose()
        return directory.at(address)

    return look


def test_a_new_nas_gets_a_secret_that_is_shown_once(aaa: Aaa, at: Callable[[str], Any]) -> None:
    added = aaa.json("nas", "add", "bras-1", "--address", "192.0.2.1", "--dialect", "mikrotik")
    secret = added.pop("secret")
    assert len(secret) == 32
    assert secret.isalnum()
    shown = aaa.json("nas", "show", "bras-1")
    assert shown == added
    assert shown == {
        "name": "bras-1",
        "network": "192.0.2.1",
        "certificate": None,
        "dialect": "mikrotik",
        "coa_address": None,
        "coa_port": 3799,
        "require_message_authenticator": "yes",
        "limit_proxy_state": True,
        "counters_reversed": False,
        "counter_unit": "octets",
        "counters_delta": False,
        "counter_bits": None,
        "counter_level": "session",
        "enforcement_class": "A",
        "enforcement_means": "volume",
        "class_because": ["dialect mikrotik"],
        "coa_message_authenticator": "yes",
        "coa_event_timestamp": "no",
        "on_database_down": "spool",
        "mac_authentication": False,
        "group": None,
        "previous_secret_accepted": False,
        "live_sessions": 0,
        "created_at": shown["created_at"],
        "revised_at": shown["revised_at"],
    }
    assert at("192.0.2.1").secrets == (secret.encode(),)


def test_a_nas_may_be_in_a_group_that_zones_of_plans_name(aaa: Aaa, at: Callable[[str], Any]) -> None:
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--group", "hotspots")
    assert at("192.0.2.1").nas_group == aaa.json("nas", "show", "bras-1")["group"] == "hotspots"
    assert aaa.json("nas", "set", "bras-1", "--group", "none")["group"] is None
    assert not at("192.0.2.1").nas_group


def test_the_secret_is_printed_for_people_too(aaa: Aaa) -> None:
    result = aaa("nas", "add", "bras-1", "--address", "192.0.2.1")
    last = result.stdout.splitlines()[-1].split()
    assert last[0] == "secret"
    assert len(last[1]) == 32
    assert result.stderr.endswith("the secret is shown this once; write it into the NAS\n")
    assert last[1] not in aaa.ok("nas", "show", "bras-1") + aaa.ok("nas", "list")


@pytest.mark.parametrize(("option", "stdin"), [(["--secret", SECRET], None), (["--secret-stdin"], f"{SECRET}\n")])
def test_a_chosen_secret_is_kept_and_not_printed(
    aaa: Aaa, at: Callable[[str], Any], option: list[str], stdin: str | None
) -> None:
    printed = aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1", *option, stdin=stdin)
    assert SECRET not in printed
    assert at("192.0.2.1").secrets == (SECRET.encode(),)


def test_everything_said_reaches_the_server(aaa: Aaa, at: Callable[[str], Any]) -> None:
    aaa.ok(
        "nas", "add", "ap", "--address", "2001:DB8:0::/48", "--secret", SECRET, "--dialect", "chillispot",
        "--coa-port", "1700", "--coa-address", "2001:db8::5", "--require-message-authenticator", "learn",
        "--no-limit-proxy-state", "--counters-reversed", "no",
    )  # fmt: skip
    nas = at("2001:db8:0:1::9")
    assert nas.network == "2001:db8::/48"
    assert (nas.dialect, nas.coa_port, nas.coa_address) == ("chillispot", 1700, "2001:db8::5")
    assert (nas.require_message_authenticator, nas.limit_proxy_state, nas.counters_reversed) == ("learn", False, False)


NETWORKS = [
    ("192.0.2.1", "192.0.2.1"),
    ("192.0.2.1/32", "192.0.2.1"),
    ("192.0.2.0/24", "192.0.2.0/24"),
    ("192.0.2.0/255.255.255.0", "192.0.2.0/24"),
    ("2001:DB8::0:1", "2001:db8::1"),
    ("2001:db8::1/128", "2001:db8::1"),
    ("2001:db8::/32", "2001:db8::/32"),
]


@pytest.mark.parametrize(("text", "canonical"), NETWORKS)
def test_a_network_has_one_spelling(text: str, canonical: str) -> None:
    assert registry.canonical_network(text) == canonical


EXAMPLE = "write for example 192.0.2.1, 192.0.2.0/24 or 2001:db8::/48"
BAD_NETWORKS = [
    ("bras-1.example", f"'bras-1.example' is not an address; {EXAMPLE}"),
    ("", f"'' is not an address; {EXAMPLE}"),
    ("192.0.2.1/33", f"'192.0.2.1/33' has no such prefix length; {EXAMPLE}"),
    ("192.0.2.1/24", "'192.0.2.1/24' has bits beyond its prefix; write 192.0.2.0/24, or 192.0.2.1 for one machine"),
    ("fe80::1%eth0", "'fe80::1%eth0' names an interface; write the address without '%eth0'"),
    ("::ffff:192.0.2.1", "'::ffff:192.0.2.1' is an IPv4 address in IPv6 clothes; write 192.0.2.1"),
]


@pytest.mark.parametrize(("text", "problem"), BAD_NETWORKS)
def test_what_is_no_network_is_refused(text: str, problem: str) -> None:
    with pytest.raises(registry.RegistryError) as caught:
        registry.canonical_network(text)
    assert str(caught.value) == problem


WEAK = [
    ("testing123", "a known default"),
    ("RADIUS", "a known default"),
    ("short-1", "only 7 characters, fewer than 16"),
    ("aaaaaaaaaaaaaaaaaaaaaaaa", "only 1 different characters"),
    (SECRET, None),
]


@pytest.mark.parametrize(("secret", "weakness"), WEAK)
def test_the_weakness_of_a_secret(secret: str, weakness: str | None) -> None:
    assert registry.secret_weakness(secret) == weakness


def test_a_known_default_is_refused_unless_asked_for(aaa: Aaa) -> None:
    arguments = ("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", "testing123")
    assert aaa.fails(*arguments) == (
        "that secret is a known default that every attacker tries first; leave --secret out and one is made, "
        "or add --allow-weak-secret"
    )
    result = aaa(*arguments, "--allow-weak-secret")
    assert result.exit_code == 0
    assert "warning: a weak secret, a known default; " in result.stderr


def test_a_short_secret_is_warned_about(aaa: Aaa) -> None:
    result = aaa("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", "short-1")
    assert result.exit_code == 0
    assert "warning: a weak secret, only 7 characters, fewer than 16; " in result.stderr


REFUSED = [
    (
        ["add", "bras-1", "--address", "192.0.2.9"],
        "there is a NAS 'bras-1' already; change it with: aaa nas set bras-1",
    ),
    (
        ["add", "bras-9", "--address", "192.0.2.1"],
        "192.0.2.1 is the network of NAS 'bras-1' already; a packet can be from one only",
    ),
    (
        ["set", "bras-2", "--address", "192.0.2.1/32"],
        "192.0.2.1 is the network of NAS 'bras-1' already; a packet can be from one only",
    ),
    (["show", "bras-11"], "there is no NAS 'bras-11'; did you mean 'bras-1'?"),
    (["remove", "zzz"], "there is no NAS 'zzz'; see: aaa nas list"),
    (["set", "bras-1", "--coa-address", "192.0.2.0/24"], "'192.0.2.0/24' is a prefix; write one address"),
    (["set", "bras-1", "--secret", ""], "the secret must be 1 to 128 printable characters"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=words)
def test_what_can_not_be(aaa: Aaa, arguments: list[str], message: str) -> None:
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1")
    aaa.ok("nas", "add", "bras-2", "--address", "192.0.2.2")
    assert aaa.fails("nas", *arguments) == message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing to change; give at least one option"),
        (["--secret", "x", "--secret-stdin"], "give --secret or --secret-stdin, not both"),
        (
            ["--coa-port", "65536"],
            "Invalid value for '--coa-port': '65536' is not a port; write 0 to 65535, or dialect",
        ),
        (["--dialect", "cisco"], "Invalid value for '--dialect': 'cisco' is not one of 'generic', 'mikrotik',"),
        (
            ["--secret", SECRET, "--forget-previous-secret"],
            "--forget-previous-secret together with a new secret would cut the NAS off",
        ),
    ],
)
def test_a_wrong_set(aaa: Aaa, options: list[str], message: str) -> None:
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1")
    assert aaa.fails("nas", "set", "bras-1", *options, code=2).startswith(message)


def test_a_new_secret_keeps_the_previous_one_until_it_is_forgotten(aaa: Aaa, at: Callable[[str], Any]) -> None:
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", SECRET)
    changed = aaa.json("nas", "set", "bras-1", "--secret-stdin", stdin="another horse, another staple\n")
    assert changed["previous_secret_accepted"] is True
    assert at("192.0.2.1").secrets == (b"another horse, another staple", SECRET.encode())
    changed = aaa.json("nas", "set", "bras-1", "--forget-previous-secret")
    assert changed["previous_secret_accepted"] is False
    assert at("192.0.2.1").secrets == (b"another horse, another staple",)


def test_a_secret_is_rotated_with_an_overlap(aaa: Aaa, at: Callable[[str], Any]) -> None:
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", SECRET)
    new = aaa.json("nas", "rotate-secret", "bras-1")["secret"]
    assert len(new) == 32
    assert at("192.0.2.1").secrets == (new.encode(), SECRET.encode())
    assert "two secrets already" in aaa.fails("nas", "rotate-secret", "bras-1")
    assert new not in aaa.ok("nas", "rotate-secret", "bras-1", "--finish")
    assert at("192.0.2.1").secrets == (new.encode(),)
    assert "has one secret" in aaa.fails("nas", "rotate-secret", "bras-1", "--finish")


def test_a_rotation_can_be_called_off(aaa: Aaa, at: Callable[[str], Any]) -> None:
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", SECRET)
    assert "shown only now" in aaa.ok("nas", "rotate-secret", "bras-1")
    aaa.ok("nas", "rotate-secret", "bras-1", "--cancel")
    assert at("192.0.2.1").secrets == (SECRET.encode(),)
    assert "has one secret" in aaa.fails("nas", "rotate-secret", "bras-1", "--cancel")
    assert "not both" in aaa.fails("nas", "rotate-secret", "bras-1", "--cancel", "--finish", code=2)
    assert "there is no NAS 'bras-2'" in aaa.fails("nas", "rotate-secret", "bras-2")


def test_set_changes_what_is_said_and_nothing_else(aaa: Aaa) -> None:
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--coa-port", "0", "--coa-address", "192.0.2.7")
    before = aaa.json("nas", "show", "bras-1")
    changed = aaa.json("nas", "set", "bras-1", "--require-message-authenticator", "no")
    assert changed == before | {"require_message_authenticator": "no", "revised_at": changed["revised_at"]}
    changed = aaa.json("nas", "set", "bras-1", "--coa-port", "dialect", "--coa-address", "source")
    assert (changed["coa_port"], changed["coa_address"]) == (3799, None)


def test_every_change_is_a_later_revision(aaa: Aaa, monkeypatch: pytest.MonkeyPatch) -> None:
    """Servers watch the newest, so it must move on even where a clock stands still or runs behind."""
    monkeypatch.setattr("cli.nas.now", lambda: 1_000)
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1")
    aaa.ok("nas", "add", "bras-2", "--address", "192.0.2.2")
    aaa.ok("nas", "set", "bras-1", "--coa-port", "1700")
    revisions = [each["revised_at"] for each in aaa.json("nas", "list")]
    assert revisions == ["1970-01-01T00:00:01.002Z", "1970-01-01T00:00:01.001Z"]


def test_list_and_remove(aaa: Aaa) -> None:
    assert aaa.json("nas", "list") == []
    assert aaa.ok("nas", "list") == "no NAS yet; run: aaa nas add NAME --address ADDR\n"
    aaa.ok("nas", "add", "bras-2", "--address", "192.0.2.0/24")
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--coa-port", "0")
    table = [line.split() for line in aaa.ok("nas", "list").splitlines()]
    assert table[2] == ["bras-1", "192.0.2.1", "generic", "none", "D", "yes", "0"]
    assert table[3] == ["bras-2", "192.0.2.0/24", "generic", "source", "port", "3799", "B", "yes", "0"]
    assert aaa.ok("nas", "remove", "bras-2") == "removed NAS bras-2\n"
    assert [each["name"] for each in aaa.json("nas", "list")] == ["bras-1"]


def test_audit_says_what_to_mend_and_how(aaa: Aaa) -> None:
    aaa.ok("nas", "add", "good", "--address", "192.0.2.1")
    assert aaa.ok("nas", "audit") == "1 NASes, nothing found\n"
    aaa.ok(
        "nas", "add", "old", "--address", "192.0.2.2", "--require-message-authenticator", "no",
        "--no-limit-proxy-state", "--secret", "radius", "--allow-weak-secret",
    )  # fmt: skip
    aaa.ok("nas", "add", "new", "--address", "192.0.2.3", "--require-message-authenticator", "learn")
    aaa.ok("nas", "set", "new", "--secret", SECRET)
    findings = {each["name"]: each["findings"] for each in aaa.json("nas", "audit")}
    assert findings == {
        "good": [],
        "old": [
            "Message-Authenticator is not required; run: aaa nas set old --require-message-authenticator learn",
            "Proxy-State is taken without a Message-Authenticator; run: aaa nas set old --limit-proxy-state",
            "the secret is weak: a known default; run: aaa nas set old --secret-stdin",
        ],
        "new": [
            (
                "Message-Authenticator has not been seen yet; when the NAS sends it, it is required from then on, "
                "or run: aaa nas set new --require-message-authenticator yes"
            ),
            "the previous secret is still accepted; run: aaa nas rotate-secret new --finish",
        ],
    }
    assert aaa.ok("nas", "audit").count("aaa nas set old") == 3


def test_a_nas_with_live_sessions_stays_unless_forced(shop: Aaa, log_in: Callable[[str], Any]) -> None:
    shop.ok("nas", "add", "bras-1", "--address", "192.0.2.1")
    shop.ok("subscriber", "add", "alice", "--plan", "prepaid-50")
    log_in("alice")
    assert shop.fails("nas", "remove", "bras-1") == (
        "NAS 'bras-1' has 1 live sessions; wait for their end, or add --force"
    )
    shop.ok("nas", "remove", "bras-1", "--force")


def test_secrets_are_sealed_in_the_database(aaa: Aaa) -> None:
    aaa.ok("nas", "add", "bras-1", "--address", "192.0.2.1", "--secret", SECRET)
    engine = open_engine(aaa.database_url)
    with reading(engine) as connection:
        line = registry.nas_named(connection, "bras-1")
    engine.dispose()
    assert SECRET.encode() not in line.secret_sealed
    assert registry.open_secret(load_keys(aaa.keys_file), line) == SECRET


# --- over TLS ------------------------------------------------------------------------------------------------------


def test_a_nas_known_by_its_certificate(aaa: Aaa, at: Callable[[str], Any]) -> None:
    shown = aaa.json("nas", "add", "bras-1", "--certificate", "dns:BRAS-1.example.net")
    assert (shown["network"], shown["certificate"]) == (None, "dns:bras-1.example.net")
    assert "secret" not in shown, "over TLS there is none"
    nas = at("radsec:bras-1")
    assert (nas.secrets, nas.require_message_authenticator, nas.limit_proxy_state) == ((b"radsec",), "no", False)
    assert "any, over TLS" in aaa.ok("nas", "list")
    assert aaa.json("nas", "audit")[0]["findings"] == []
    assert aaa.fails("nas", "set", "bras-1", "--address", "192.0.2.1") == (
        "over TLS 'bras-1' needed no secret, from an address it does; add --secret-stdin or --secret"
    )
    aaa.ok("nas", "set", "bras-1", "--address", "192.0.2.1", "--secret", SECRET)
    aaa.ok("nas", "set", "bras-1", "--certificate", "none")
    assert at("radsec:bras-1") is None
    assert aaa.json("nas", "show", "bras-1")["certificate"] is None


def test_a_nas_must_be_known_by_something_of_its_own(aaa: Aaa) -> None:
    aaa.ok("nas", "add", "bras-1", "--certificate", "dns:bras-1.example.net")
    assert aaa.fails("nas", "add", "bras-2", "--certificate", "dns:bras-1.example.net") == (
        "dns:bras-1.example.net is the certificate of NAS 'bras-1' already; each needs its own"
    )
    assert aaa.fails("nas", "set", "bras-1", "--certificate", "none") == (
        "NAS 'bras-1' needs an address, or a certificate to know it by; give one of them"
    )
    for wrong in ((), ("--certificate", "none"), ("--certificate", "bras-3"), ("--certificate", "nothing.pem")):
        result = aaa("nas", "add", "bras-3", *wrong)
        assert result.exit_code == 2
        assert "--certificate" in result.stderr


def test_the_simulator_speaks_udp_only(aaa: Aaa) -> None:
    aaa.ok("nas", "add", "bras-1", "--certificate", "dns:bras-1.example.net")
    result = aaa("nas", "simulate", "bras-1", "alice", "--password", "x")
    assert result.exit_code == 2
    assert "speaks over TLS only" in result.stderr
