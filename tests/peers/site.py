"""The real server on a machine of its own, furnished by the operator's own commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from tests.outside import SECRET, environment
from tests.peers.machines import Network
from tests.stories.conftest import SERVER_ROLE, START_WITHIN_SECONDS, Aaa

SERVER: Final = "10.9.0.1"
NAS: Final = "10.9.0.2"


class Site:
    """`aaa serve` at 10.9.0.1, a cable away from a NAS at 10.9.0.2 that is called `nas`. `more`: lines for aaa.toml."""

    def __init__(self, folder: Path, database_url: str, network: Network, *more: str, dialect: str, plans: str) -> None:
        self.folder = folder
        self.aaa = Aaa(database_url, folder)
        self.certificates = folder / "certificates"
        self.log_file = folder / "serve.log"
        self.machine = network.machine("server")
        self.nas = network.machine("nas")
        network.cable((self.machine, "a0", f"{SERVER}/24"), (self.nas, "n0", f"{NAS}/24"))
        said = self.aaa("certificate", "init", "radius.example.net", "--folder", str(self.certificates))
        config = folder / "aaa.toml"
        lines = [line for line in said.splitlines() if line.startswith("eap_")]
        config.write_text("\n".join([*lines, *more]) + "\n", encoding="utf-8")
        self.aaa.options[:0] = ["--config", str(config)]
        self.aaa("nas", "add", "nas", "--address", NAS, "--dialect", dialect, "--secret-stdin", stdin=SECRET)
        plan_file = folder / "plans.toml"
        plan_file.write_text(plans, encoding="utf-8")
        self.aaa("plan", "load", str(plan_file))

    def serve(self, eventually: Callable[..., None]) -> subprocess.Popen[bytes]:
        """Start the server, and wait until its ports are open."""
        server = self.machine.start(
            sys.executable, "-m", "cli.main", *self.aaa.options, "serve", "--listen", SERVER,
            log=self.log_file, environment=environment() | SERVER_ROLE, folder=self.folder,
        )  # fmt: skip
        eventually(lambda: server.poll() is not None or self.events("serving"), within=START_WITHIN_SECONDS)
        assert server.poll() is None, self.log_file.read_text()
        return server

    def events(self, event: str, **having: object) -> list[dict[str, Any]]:
        """What the server has logged under this name, with these values."""
        lines = [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event and having.items() <= line.items()]

    def told(self, *command: str) -> Any:
        """What `aaa … --json` prints."""
        return json.loads(self.aaa(*command, "--json"))
