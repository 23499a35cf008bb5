"""This server with subscribers of two kinds: those who have plenty, and behind them those whose first report uses up what there is."""

from pathlib import Path

from bench import ours
from bench.cluster import Cluster
from bench.nases import Nases, Packet
from bench.ours import Ours
from bench.packets import CLASS, NASES, Sessions, first_of, logins
from bench.subject import Unusable

#: One report uses up the megabyte; after it only money helps.
PLAN = (
    ours.PLAN
    + """
[plan.poor]
profile = "line-20"
[[plan.poor.allowance]]
name = "taste"
unit = "octets"
direction = "total"
amount = "1MB"
[[plan.poor.rate]]
unit = "octets"
price = "0.02"
per = "1MB"
step = "100kB"
[plan.poor.exhausted]
action = "throttle"
profile = "slow"
"""
)


class PoorServer(Ours):
    """The first `rich` subscribers have plenty, `poor` others next to nothing. CoA goes to `coa_port` of each NAS."""

    name = "poor"

    def __init__(self, cluster: Cluster, folder: Path, rich: int, poor: int, secret: str, coa_port: int) -> None:
        self.rich, self.poor, self.coa_port = rich, poor, coa_port
        super().__init__(cluster, folder, rich + poor, secret, PLAN)

    def plan_of(self, number: int) -> str:
        """The last ones are poor."""
        return "bench" if number < self.rich else "poor"

    def nas_options(self) -> tuple[str, ...]:
        """Where they take CoA."""
        return "--coa-port", str(self.coa_port)

    def log_in(self, nases: Nases, count: int) -> Sessions:
        """Everybody, each on the NAS of that number in turn of `count`, a multiple of NASES; and their Starts."""
        assert count % NASES == 0  # or two of a NAS's packets would have one identifier
        secret = self.secret.encode()
        packets = logins(0, self.subscribers, self.subscribers, secret)
        accepts = nases.exchange([Packet(n % count, self.auth_port, p) for n, p in enumerate(packets)], 128)
        classes = [first_of(accept, CLASS) for accept in accepts]
        if not all(classes):
            raise Unusable(f"{classes.count(b'')} of {len(classes)} logins were not accepted")
        sessions = Sessions(classes, secret)
        nases.exchange([Packet(n % count, self.acct_port, p) for n, p in enumerate(sessions.starts())], 128)
        return sessions


def session_of(n: int) -> bytes:
    """The Acct-Session-Id of subscriber n, as `Sessions` writes it."""
    return b"8%07X" % n
