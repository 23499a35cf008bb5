"""FreeRADIUS 3.2 with rlm_sql, as Debian packages it: a private copy of its configuration with the edits below, and no others."""

import os
import re
import shutil
import subprocess
from pathlib import Path

from bench import load
from bench.cluster import Cluster
from bench.packets import INTERIM_SECONDS, Sessions, Subscriber
from bench.subject import Unusable, end, run_until_it_answers

PACKAGED = Path("/etc/freeradius/3.0")
DATABASE = "radius"
# As many connections as threads, all of them there from the beginning: no thread waits for a connection, none is started
# under load. On two processors 8, 12, 16, 24, 32 and 64 were tried: 16 has the lowest cost per packet at 32 and 128
# outstanding and loses nothing at 512; 64 is a third slower.
THREADS = 16


def _edits(folder: Path, cluster: Cluster, ports: tuple[int, int], secret: str) -> dict[str, list[tuple[str, str]]]:
    """File → (pattern, replacement); each pattern must be found."""
    auth_port, acct_port = ports
    size = str(THREADS)
    # the kernel's default buffer holds fewer than 512 datagrams: FreeRADIUS would lose packets it never saw
    listen = "listen {{\n\ttype = {kind}\n\tipaddr = 127.0.0.1\n\tport = {port}\n\trecv_buff = 4194304\n}}\n"
    return {
        "radiusd.conf": [
            (r"^logdir = .*$", f"logdir = {folder}"),
            (r"^raddbdir = .*$", f"raddbdir = {folder}"),
            (r"^run_dir = .*$", f"run_dir = {folder}"),
            (r"^\t(user|group) = freerad$", ""),
            # who was answered counts for five seconds: at thousands a second it would drop the next ones
            (r"^max_requests = .*$", "max_requests = 131072"),
            # the pool of threads: see THREADS
            (r"^\tstart_servers = .*$", f"\tstart_servers = {size}"),
            (r"^\tmax_servers = .*$", f"\tmax_servers = {size}"),
            (r"^\tmin_spare_servers = .*$", "\tmin_spare_servers = 1"),
            (r"^\tmax_spare_servers = .*$", f"\tmax_spare_servers = {size}"),
        ],
        "mods-available/sql": [
            (r'^\tdialect = .*$', '\tdialect = "postgresql"'),
            (r'^\tdriver = .*$', '\tdriver = "rlm_sql_${dialect}"'),
            (r'^\tradius_db = .*$', f'\tradius_db = "host={cluster.socket_folder} dbname={DATABASE} user=postgres"'),
            (r"^\t\tstart = .*$", f"\t\tstart = {size}"),
            (r"^\t\tmin = .*$", f"\t\tmin = {size}"),
            (r"^\t\tmax = .*$", f"\t\tmax = {size}"),
            (r"^\t\tspare = .*$", f"\t\tspare = {size}"),
            (r"^\t\tidle_timeout = .*$", "\t\tidle_timeout = 0"),
        ],
        "sites-available/default": [
            # our ports on loopback in place of the four packaged listeners
            (r"^listen \{\n(?:.*\n)*?\}\n", ""),
            (
                r"^server default \{\n",
                "server default {\n"
                + listen.format(kind="auth", port=auth_port)
                + listen.format(kind="acct", port=acct_port),
            ),
            # no detail file, no wtmp file: only SQL
            (r"^\tdetail$", ""),
            (r"^\tunix$", ""),
            # `-sql` is the package's "if the module is enabled"; without the dash a missing module is an error
            (r"^(\t+)-sql$", r"\1sql"),
        ],
        "clients.conf": [(r"^\tsecret = .*$", f"\tsecret = {secret}")],
    }  # fmt: skip


def _configure(folder: Path, cluster: Cluster, ports: tuple[int, int], secret: str) -> None:
    try:
        shutil.copytree(PACKAGED, folder, symlinks=True)
    except (FileNotFoundError, PermissionError, shutil.Error) as error:
        raise Unusable(
            f"{PACKAGED} can not be read ({error}): install freeradius and freeradius-postgresql, and run as root"
        ) from None
    for name, edits in _edits(folder, cluster, ports, secret).items():
        path = folder / name
        text = path.read_text()
        for pattern, replacement in edits:
            text, found = re.subn(pattern, replacement, text, flags=re.MULTILINE)
            if not found:
                raise Unusable(
                    f"{PACKAGED / name} has no line like {pattern!r}: the bench knows the packages of FreeRADIUS 3.2"
                )
        path.write_text(text)
    (folder / "mods-enabled" / "sql").symlink_to("../mods-available/sql")
    (folder / "sites-enabled" / "inner-tunnel").unlink(missing_ok=True)  # it opens a fixed port


def version() -> str:
    """As `freeradius -v` says it."""
    try:
        said = subprocess.run(["freeradius", "-v"], capture_output=True, text=True, check=True).stdout
    except (FileNotFoundError, subprocess.CalledProcessError) as error:
        raise Unusable(f"freeradius -v: {error}: install the packages freeradius and freeradius-postgresql") from None
    found = re.search(r"Version (\S+?),", said)
    return found[1] if found else said.splitlines()[0]


class FreeRadius:
    """One FreeRADIUS process on its own database, configuration and ports."""

    name = "freeradius"

    def __init__(self, cluster: Cluster, folder: Path, subscribers: int, secret: str) -> None:
        self.cluster, self.folder, self.secret = cluster, folder / "freeradius", secret
        self.version = version()
        self.auth_port, self.acct_port = load.free_ports(2)
        self._process: subprocess.Popen[bytes] | None = None
        _configure(self.folder, cluster, (self.auth_port, self.acct_port), secret)
        self._fill(subscribers)

    def _fill(self, subscribers: int) -> None:
        """The packaged schema, and one clear-text password per subscriber: what PAP needs and nothing more."""
        self.cluster.create(DATABASE)
        schema = PACKAGED / "mods-config/sql/main/postgresql/schema.sql"
        with self.cluster.connect(DATABASE) as connection:
            connection.execute(schema.read_bytes())
            with connection.cursor().copy("COPY radcheck (username, attribute, op, value) FROM STDIN") as copy:
                for n in range(subscribers):
                    one = Subscriber(n)
                    copy.write_row((one.username, "Cleartext-Password", ":=", one.password))

    @property
    def pid(self) -> int:
        """Of the running process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it in the foreground and wait for its first answers."""
        command = ["freeradius", "-f", "-d", str(self.folder)]
        ports = (self.auth_port, self.acct_port)
        self._process = run_until_it_answers(command, ports, self.secret, self.folder / "radius.log", dict(os.environ))

    def stop(self) -> None:
        """End it, if it runs."""
        if self._process is not None:
            end(self._process)
            self._process = None

    def classes(self, sessions: int) -> list[bytes]:
        """FreeRADIUS wants no login; stand-ins keep the packets' size where our server does not run."""
        return [b"bench-class-%028d" % n for n in range(sessions)]

    def check_accounting(self, sessions: Sessions, sent: int) -> list[str]:
        """radacct has one row per session with the newest session time (an overtaken retransmission may set it back)."""
        count = len(sessions.classes)
        wrong = []
        rows = self.cluster.number(DATABASE, "SELECT count(*) FROM radacct")
        if rows != count:
            wrong.append(f"radacct has {rows} rows, {count} sessions were started")
        reported = sum(sessions.interims(n, sent) for n in range(count)) * INTERIM_SECONDS
        recorded = self.cluster.number(DATABASE, "SELECT sum(acctsessiontime) FROM radacct")
        if not reported * 0.99 <= recorded <= reported:
            wrong.append(f"radacct has {recorded} s of session time, {reported} s were reported")
        return wrong

    def check_logins(self, sent: int, subscribers: int) -> list[str]:
        """radpostauth has a row for each Accept."""
        rows = self.cluster.number(DATABASE, "SELECT count(*) FROM radpostauth WHERE reply = 'Access-Accept'")
        people = self.cluster.number(DATABASE, "SELECT count(DISTINCT username) FROM radpostauth")
        if rows >= sent and people == min(sent, subscribers):
            return []
        return [f"radpostauth has {rows} Accepts of {people} subscribers, {sent} were answered"]

    def check_end(self, sessions: Sessions) -> list[str]:
        """Every session has its Stop."""
        open_rows = self.cluster.number(DATABASE, "SELECT count(*) FROM radacct WHERE acctstoptime IS NULL")
        return [] if open_rows == 0 else [f"radacct: {open_rows} of {len(sessions.classes)} sessions are still open"]

    def describe(self) -> dict[str, object]:
        """What was measured, for the report."""
        return {"version": self.version, "threads": THREADS, "sql_connections": THREADS, "charging": False}
