"""What a reader of the log may rely on: one line per event, no secret in it, nothing that steers a terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from twisted.logger import Logger

from cli import log


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    log.forget_hidden()
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], force=True)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_a_line_of_json_that_begins_with_time_and_level(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    structlog.get_logger("aaa.handlers").info("access", username="alice", session_id=7, known=True)
    text = capsys.readouterr().err
    assert text.startswith('{"timestamp": "20')
    event = json.loads(text)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "level": "info",
        "logger": "aaa.handlers",
        "event": "access",
        "username": "alice",
        "session_id": 7,
        "known": True,
    }


def test_less_than_the_level_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("warning", "json")
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [event["event"] for event in lines(capsys)] == ["loud"]


@pytest.mark.parametrize("name", ["password", "User-Password", "nas_secret", "authenticator", "token", "keys", "Class"])
def test_what_has_a_secrets_name_is_dropped(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    structlog.get_logger().info("access", **{name: "hunter22"}, attributes={name: b"hunter22"})
    (event,) = lines(capsys)
    assert (event[name], event["attributes"][name]) == (log.HIDDEN, log.HIDDEN)


def test_names_that_only_sound_like_it_stay(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    structlog.get_logger().info("access", session_key="k", account="a", monkey="m", nas_count=3)
    (event,) = lines(capsys)
    assert (event["session_key"], event["account"], event["monkey"], event["nas_count"]) == ("k", "a", "m", 3)


def test_a_known_secret_is_scrubbed_wherever_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    log.hide("hunter22")
    log.hide(b"s3cr\xff3t")
    log.hide("abc")  # too short: it stands in ordinary words
    try:
        raise ValueError("can not use hunter22")
    except ValueError:
        structlog.get_logger().exception(
            "bug", text="xhunter22x", raw=b"s3cr\xff3t", deep=[{"a": "hunter22"}], plain="abc"
        )
    (text,) = capsys.readouterr().err.splitlines()
    assert "hunter22" not in text
    assert "s3cr" not in text
    event = json.loads(text)
    assert event["text"] == "x[hidden]x"
    assert event["plain"] == "abc"
    assert "ValueError: can not use [hidden]" in event["exception"]


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nothing_steers_a_terminal_or_forges_a_line(log_format: Any, capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", log_format)
    structlog.get_logger().info("access", username="a\x1b[31m\r\nlevel=critical\x7f\x9b\u202e", **{"k\n": 1})
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text[:-1].isprintable()


def test_long_values_and_long_lines_are_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    structlog.get_logger().info("one", big="x" * 100_000)
    structlog.get_logger().info("many", big=["y" * 2000] * 100)
    one, many = capsys.readouterr().err.splitlines()
    assert len(one) < 2 * log.MOST_CHARACTERS_IN_VALUE
    assert json.loads(one)["big"].endswith("… (100000 characters)")
    assert len(many) < log.MOST_CHARACTERS_IN_LINE
    assert json.loads(many)["event"] == "many"
    assert "shortened" in json.loads(many)


def test_what_twisted_and_libraries_log_comes_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "json")
    log.hide("hunter22")
    observer = log.FromTwisted()
    twisted = Logger(namespace="twisted.test", observer=observer)
    twisted.warn("port {port} hunter22", port=1812)
    twisted.info("not of interest")
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        twisted.failure("Unhandled error")
    logging.getLogger("alembic").warning("drift in %s", "nas")
    warned, failed, library = lines(capsys)
    assert (warned["level"], warned["logger"], warned["message"]) == ("warning", "twisted.test", "port 1812 [hidden]")
    assert failed["level"] == "critical"
    assert "ZeroDivisionError: by nothing" in failed["exception"]
    assert (library["logger"], library["message"]) == ("alembic", "drift in nas")


def test_text_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    log.configure("info", "text")
    try:
        raise ZeroDivisionError("by nothing")
    except ZeroDivisionError:
        structlog.get_logger("aaa").exception("bug", nas="bras-1")
    text = capsys.readouterr().err.splitlines()
    assert text[0].split()[1:] == ["error", "bug", "nas=bras-1", "logger=aaa"]
    assert text[1] == "Traceback (most recent call last):"
    assert text[-1] == "ZeroDivisionError: by nothing"


def test_serving_goes_on_when_nobody_reads_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _text: str) -> None:
            raise OSError(28, "No space left on device")

        def isatty(self) -> bool:
            return False

    log.configure("info", "json")
    monkeypatch.setattr("sys.stderr", Full())
    structlog.get_logger().info("access")
