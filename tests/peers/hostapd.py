"""hostapd as an 802.1X switch with one port, and wpa_supplicant at the other end of its cable.

The port is a Linux bridge's, locked: only addresses that hostapd has let in pass it, as `hostapd_cli` tells the bridge.
So what hostapd decides can be felt: on the wire there is real traffic, or there is none.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.outside import SECRET
from tests.peers.machines import Failed, Machine, Network
from tests.peers.site import NAS, SERVER, Site

PORT: Final = "n1"
#: Where the wire leads to, once the port is open.
BEHIND: Final = "10.8.0.1"
DAS_PORT: Final = 3799

SWITCH: Final = f"""\
interface={PORT}
driver=wired
ctrl_interface=/run/hostapd
logger_stdout=-1
logger_stdout_level=0
ieee8021x=1
use_pae_group_addr=1
own_ip_addr={NAS}
nas_identifier=switch-1
auth_server_addr={SERVER}
auth_server_port=1812
auth_server_shared_secret={SECRET}
acct_server_addr={SERVER}
acct_server_port=1813
acct_server_shared_secret={SECRET}
radius_das_port={DAS_PORT}
radius_das_client={SERVER} {SECRET}
radius_das_time_window=300
"""

GATE: Final = """\
#!/bin/sh
case "$2" in
AP-STA-CONNECTED) bridge fdb replace "$3" dev "$1" master static ;;
AP-STA-DISCONNECTED) bridge fdb del "$3" dev "$1" master ;;
esac
"""

#: Echoes what comes.
ECHO: Final = f"""
import socket
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.bind(("{BEHIND}", 7))
print("open", flush=True)
while True:
    words, caller = door.recvfrom(2048)
    door.sendto(words, caller)
"""

#: Calls every 50 ms; prints when it was answered, in seconds since the epoch.
CALLS: Final = f"""
import socket, time
line = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
line.settimeout(0.05)
number = 0
while True:
    number += 1
    try:
        line.sendto(b"%d" % number + bytes(1000), ("{BEHIND}", 7))
        line.recv(2048)
        print(time.time(), flush=True)
    except OSError:
        pass
    time.sleep(0.05)
"""


class Switch:
    """hostapd on the site's NAS, and the machine of a subscriber at its port. `more`: lines for hostapd.conf."""

    def __init__(self, site: Site, network: Network, eventually: Callable[..., None], *more: str) -> None:
        self._eventually = eventually
        self.log_file = site.folder / "hostapd.log"
        self.nas = site.nas
        self.device = network.machine("device")
        network.cable((self.nas, PORT, None), (self.device, "c0", "10.8.0.2/24"))
        for command in (
            "ip link add name br0 type bridge",
            f"ip address add {BEHIND}/24 dev br0",
            f"ip link set dev {PORT} master br0",
            f"bridge link set dev {PORT} locked on learning off",
            "ip link set dev br0 up",
        ):
            self.nas.run(*command.split())
        config, gate = site.folder / "hostapd.conf", site.folder / "gate"
        config.write_text(SWITCH + "\n".join(more) + "\n", encoding="utf-8")
        gate.write_text(GATE, encoding="utf-8")
        gate.chmod(0o755)
        self.nas.start("hostapd", "-d", config, log=self.log_file)
        eventually(lambda: "AP-ENABLED" in self.log_file.read_text())
        self.nas.start("hostapd_cli", "-p", "/run/hostapd", "-i", PORT, "-a", gate, log=site.folder / "gate.log")
        self.nas.start(sys.executable, "-c", ECHO, log=site.folder / "echo.log")
        eventually((site.folder / "echo.log").read_bytes)
        self._calls = site.folder / "calls.log"
        self.device.start(sys.executable, "-c", CALLS, log=self._calls)

    def sessions(self) -> str:
        """What hostapd says of whoever is at its port; empty where nobody is let in."""
        return self.nas.run("hostapd_cli", "-p", "/run/hostapd", "-i", PORT, "all_sta")

    def answers(self) -> list[float]:
        """When the device's calls through the port were answered."""
        return [float(line) for line in self._calls.read_text().splitlines()]

    def await_open(self, within: int = 15) -> None:
        """Until traffic gets through."""
        heard = len(self.answers())
        self._eventually(lambda: len(self.answers()) > heard, within=within)

    def await_shut(self, within: int = 15) -> None:
        """Until there was none for half a second."""
        self._eventually(lambda: time.time() - self.answers()[-1] > 0.5, within=within)


class Supplicant:
    """wpa_supplicant on the subscriber's machine. `lines`: its network block."""

    def __init__(self, machine: Machine, folder: Path, eventually: Callable[..., None], *lines: str) -> None:
        self._machine = machine
        self._eventually = eventually
        config = folder / "wpa_supplicant.conf"
        block = "\n".join(("key_mgmt=IEEE8021X", "eapol_flags=0", *lines))
        config.write_text(f"ctrl_interface=/run/wpa\nap_scan=0\nnetwork={{\n{block}\n}}\n", encoding="utf-8")
        machine.start("wpa_supplicant", "-d", "-Dwired", "-ic0", "-c", config, log=folder / "wpa_supplicant.log")

    def says(self, word: str) -> str:
        """What `wpa_cli WORD` prints: `logon`, `logoff`, `reassociate`, `status`."""
        return self._machine.run("wpa_cli", "-p", "/run/wpa", "-i", "c0", word)

    def status(self) -> dict[str, str]:
        """Of its own; empty while it is starting."""
        try:
            lines = self.says("status").splitlines()
        except Failed:
            return {}
        return {key: value for key, _, value in (line.partition("=") for line in lines)}

    def await_port(self, status: str, within: int = 15) -> None:
        """Until it takes the port for `Authorized` or `Unauthorized`."""
        self._eventually(lambda: self.status().get("suppPortStatus") == status, within=within)
