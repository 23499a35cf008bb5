"""strongSwan: a gateway that asks us by RADIUS, and the devices that come to it.

ESP is done by the daemon itself (kernel-libipsec), because not every kernel has it. The daemon is charon-systemd, which
Debian never starts by itself where there is no systemd; it needs none.
"""

from __future__ import annotations

import os
import re
import time
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from tests.outside import SECRET
from tests.peers.machines import Failed, Machine, Network, needs
from tests.peers.site import NAS, SERVER, Site

DAEMON: Final = "charon-systemd"
CONTROL: Final = "swanctl"
PLUGINS: Final = Path("/usr/lib/ipsec/plugins")
#: Which of the packages has what, as far as it is not in libstrongswan.
PLUGIN_PACKAGES: Final = {
    "openssl": "libstrongswan-standard-plugins",
    "eap-radius": "libcharon-extra-plugins",
    "eap-mschapv2": "libcharon-extauth-plugins",
}
TUN: Final = Path("/dev/net/tun")
IDENTITY: Final = "vpn.example.net"
PRESHARED: Final = "gateway-and-devices-share-this"
#: What is behind the gateway, and the addresses that it gives.
INSIDE: Final = "10.7.0.0/24"
INSIDE_HOST: Final = "10.7.0.1"
POOL: Final = "10.7.1.0/24"

STARTS_WITHIN_SECONDS: Final = 10
LOGS_IN_WITHIN_SECONDS: Final = 15
TRIES: Final = 3
SILENCE: Final = re.compile("peer not responding")
#: What a device says that is not let in; EAP-MSCHAPv2 says it before RADIUS does.
REFUSED: Final = re.compile("received EAP_FAILURE|failed with error ERROR_AUTHENTICATION_FAILURE")

_DAEMON_CONFIG: Final = """\
charon-systemd {{
  load = random nonce aes sha1 sha2 hmac kdf md5 openssl pem kernel-libipsec kernel-netlink socket-default vici {plugins}
  retransmit_timeout = 1.5
  retransmit_base = 1
  retransmit_tries = 2
  filelog {{
    log {{
      path = {folder}/charon.log
      default = 1
      flush_line = yes
    }}
  }}
  plugins {{
    vici {{
      socket = unix://{folder}/vici
    }}
{settings}
  }}
}}
swanctl {{
  load = random openssl pem
}}
"""

#: As docs/nas/strongswan.md has it.
_EAP_RADIUS: Final = """\
    eap-radius {{
      accounting = yes
      accounting_interval = 60
      accounting_send_class = yes
      accounting_close_on_timeout = yes
      nas_identifier = vpn-1
      servers {{
        aaa {{
          address = {server}
          secret = {secret}
          auth_port = 1812
          acct_port = 1813
        }}
      }}
      dae {{
        enable = yes
        listen = {nas}
        port = 3799
        secret = {secret}
      }}
    }}
"""

_GATEWAY: Final = """\
connections {
  subscribers {
    version = 2
    unique = never
    pools = inside
    send_cert = never
    local {
      auth = psk
      id = IDENTITY
    }
    remote {
      auth = eap-radius
      eap_id = %any
    }
    children {
      net {
        local_ts = INSIDE
        esp_proposals = aes128-sha256
      }
    }
  }
}
pools {
  inside {
    addrs = POOL
  }
}
secrets {
  ike-gateway {
    id = IDENTITY
    secret = PRESHARED
  }
}
"""

_DEVICE: Final = """\
connections {
  home {
    version = 2
    remote_addrs = GATEWAY
    vips = 0.0.0.0
    local {
      auth = METHOD
      eap_id = USER
    }
    remote {
      auth = psk
      id = IDENTITY
    }
    children {
      net {
        remote_ts = INSIDE
        esp_proposals = aes128-sha256
      }
    }
  }
}
secrets {
  eap-own {
    id = USER
    secret = "PASSWORD"
  }
  ike-gateway {
    id = IDENTITY
    secret = PRESHARED
  }
}
"""


def _filled(template: str, **words: str) -> str:
    words |= {"IDENTITY": IDENTITY, "PRESHARED": PRESHARED, "INSIDE": INSIDE, "POOL": POOL}
    return re.sub("|".join(words), lambda found: words[found[0]], template)


class Charon:
    """A running daemon with its connections, whose files are all in `folder`."""

    def __init__(self, machine: Machine, folder: Path, plugins: str, settings: str, connections: str) -> None:
        folder.mkdir()
        self.machine = machine
        self.folder = folder
        self._environment = {"STRONGSWAN_CONF": str(folder / "strongswan.conf"), "SWANCTL_DIR": str(folder)}
        daemon = _DAEMON_CONFIG.format(folder=folder, plugins=plugins, settings=settings)
        (folder / "strongswan.conf").write_text(daemon, encoding="utf-8")
        (folder / "swanctl.conf").write_text(connections, encoding="utf-8")
        process = machine.start(
            DAEMON, log=folder / "charon.out", environment={**os.environ, **self._environment}, folder=folder
        )
        deadline = time.monotonic() + STARTS_WITHIN_SECONDS
        while not (folder / "vici").exists():
            if process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"{DAEMON} on {machine.name} does not run ({process.poll()}):\n{self.log}")
            time.sleep(0.02)
        self.control("--load-all")

    @property
    def log(self) -> str:
        """What it has said so far."""
        files = [self.folder / name for name in ("charon.out", "charon.log")]
        return "".join(file.read_text(encoding="utf-8") for file in files if file.exists())

    def control(self, *command: str, within: float = 10) -> str:
        """What `swanctl` says; Failed where it fails."""
        names = [f"{name}={value}" for name, value in self._environment.items()]
        return self.machine.run("env", *names, CONTROL, *command, "--uri", f"unix://{self.folder}/vici", within=within)

    @property
    def tunnels(self) -> int:
        """How many there are."""
        return self.control("--list-sas", "--raw").count("state=ESTABLISHED")


class Octets(NamedTuple):
    """What has passed the tunnels' end, seen from the subscribers."""

    up: int
    down: int


class Gateway(Charon):
    """The site's NAS. It counts in its own way; what its interface for tunnels has seen is another witness."""

    def __init__(self, site: Site) -> None:
        site.nas.run("ip", "address", "add", f"{INSIDE_HOST}/32", "dev", "lo")
        settings = _EAP_RADIUS.format(server=SERVER, nas=NAS, secret=SECRET)
        super().__init__(site.nas, site.folder / "gateway", "eap-identity eap-radius", settings, _filled(_GATEWAY))

    @property
    def octets(self) -> Octets:
        """Of all tunnels since it began."""
        shown = self.machine.run("cat", "/proc/net/dev")
        (counters,) = re.findall(r"^ *ipsec0: *(.+)$", shown, re.MULTILINE)
        numbers = counters.split()
        # What it hands to the kernel has come from the subscribers.
        return Octets(int(numbers[0]), int(numbers[8]))


class Device(Charon):
    """A subscriber's device on a line of its own: it comes when it is told to, and is whoever it is told to be."""

    def __init__(self, site: Site, network: Network, number: int) -> None:
        machine = network.machine(f"device-{number}")
        self._gateway = f"10.8.{number}.1"
        network.cable((site.nas, f"d{number}", f"{self._gateway}/24"), (machine, "d", f"10.8.{number}.2/24"))
        super().__init__(machine, site.folder / machine.name, "eap-identity eap-md5 eap-mschapv2", "", "")

    def become(self, user: str, password: str, method: str = "eap-md5") -> None:
        """With these credentials it comes next."""
        connections = _filled(_DEVICE, GATEWAY=self._gateway, METHOD=method, USER=user, PASSWORD=password)
        (self.folder / "swanctl.conf").write_text(connections, encoding="utf-8")
        self.control("--load-all", "--clear")

    def log_in(self) -> bool:
        """Is it let in? Anything else than yes and no is a failure, but for silence now and then: a Disconnect ends
        everybody's handshakes that have come to no user name yet, and the gateway says nothing to them."""
        for tries_left in reversed(range(TRIES)):
            try:
                self.control("--initiate", "--child", "net", within=LOGS_IN_WITHIN_SECONDS)
            except Failed as error:
                said = str(error)
                if REFUSED.search(said):
                    return False
                if not (tries_left and SILENCE.search(said)):
                    raise
            else:
                return True
        raise AssertionError

    def log_out(self) -> None:
        """It goes."""
        self.control("--terminate", "--ike", "home")


def needs_strongswan() -> list[pytest.MarkDecorator]:
    """Tests with it: skipped, with the reason, where a part of it or tunnels are missing."""
    missing = [
        package for name, package in PLUGIN_PACKAGES.items() if not (PLUGINS / f"libstrongswan-{name}.so").exists()
    ]
    reason = f"{', '.join(missing)} not installed; .ci/run installs them" if missing else ""
    if not TUN.exists():
        reason = f"no {TUN}: the kernel has no tunnel interfaces, or the container may not use them"
    return [
        needs(DAEMON, CONTROL, package="charon-systemd and strongswan-swanctl"),
        pytest.mark.skipif(bool(reason), reason=reason),
    ]
