"""The systemd unit: what it takes away, that systemd understands it, and that the server runs with what is left."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from cli.main import aaa as command


def unit(*options: str) -> str:
    done = CliRunner().invoke(command, ["service", *options])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize(
    "line",
    [
        "User=aaa", "NoNewPrivileges=true", "CapabilityBoundingSet=", "ProtectSystem=strict", "ProtectHome=true", "PrivateTmp=true",
        "PrivateDevices=true", "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX", "UMask=0077",
        "SystemCallFilter=@system-service", "StateDirectoryMode=0700", "Restart=on-failure", "WorkingDirectory=/var/lib/aaa",
        "Environment=AAA_CONFIG=/etc/aaa/aaa.toml",
    ],
)  # fmt: skip
def test_what_the_unit_says(line: str) -> None:
    assert line in unit().splitlines()


def test_every_setting_stands_there_once_and_nothing_is_left_open() -> None:
    text = unit()
    assert not re.search(r"[{}]", text)
    keys = [line.split("=")[0] for line in text.splitlines() if "=" in line and not line.startswith("#")]
    assert {key for key in keys if keys.count(key) > 1} == {"SystemCallFilter"}


def test_tls_is_left_what_it_needs() -> None:
    """pyOpenSSL makes its callbacks in memory that is written and run: without it neither EAP nor RadSec has TLS."""
    assert not [line for line in unit().splitlines() if line.startswith("MemoryDenyWriteExecute")]


def test_names_of_ones_own() -> None:
    text = unit("--user", "radius", "--config-file", "/srv/aaa.toml")
    assert "User=radius\nGroup=radius\nEnvironment=AAA_CONFIG=/srv/aaa.toml\n" in text
    for bad in (["--user", "x\nExecStartPre=/bin/sh"], ["--config-file", "aaa.toml"], ["--user", "a b"]):
        assert CliRunner().invoke(command, ["service", *bad]).exit_code == 2


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not on this machine")
def test_systemd_understands_it_and_calls_it_safe(tmp_path: Path) -> None:
    text = unit()
    path = tmp_path / "aaa.service"
    # Who it runs as need not be there, and its program is not installed on this machine.
    path.write_text(
        re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text).replace(
            "=aaa\n", f"={os.environ.get('USER', 'root')}\n", 2
        )
    )
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60, check=False
    )
    ours = [line for line in verified.stderr.splitlines() if "aaa.service" in line and "WorkingDirectory" not in line]
    assert ours == []
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", path],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if "--offline" in rated.stderr:
        pytest.skip("this systemd-analyze can not rate a file")
    found = re.search(r"Overall exposure level for \S+ (\d+\.\d)", rated.stdout)
    assert found is not None, rated.stdout + rated.stderr
    assert float(found[1]) <= 2.0, rated.stdout
