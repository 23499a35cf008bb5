"""What the operator decided once: the configuration file, the environment, the options; and what follows from them."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, get_args

import click

from charging.amounts import parse_octets, parse_seconds
from charging.retention import Retention
from charging.retention import read as read_retention
from charging.tomlfile import BadValueError, Table, TomlFileError, parse

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from aaa.dialects import Dialect
    from aaa.keyring import KeyRing
    from charging.notices.settings import Settings as Notices

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["auto", "json", "text"]
TraceMode = Literal["off", "refused", "all"]
MOST_COUNT: Final = 1_000
MOST_TRACE_ROWS: Final = 10_000_000

DEFAULT_RETENTION: Final = Retention()
DEFAULT_DATABASE: Final = "sqlite:///aaa.db"
DEFAULT_KEYS_FILE: Final = Path("aaa.keys")
DEFAULT_SPOOL: Final = "aaa"
LEAST_SPOOL_OCTETS: Final = 2**20


class ConfigError(TomlFileError):
    """A configuration file with faults."""


@dataclass(frozen=True, slots=True)
class Config:
    """The keys of the configuration file, by their own names."""

    database: str = DEFAULT_DATABASE
    """sqlite:///FILE or postgresql://…"""
    keys_file: Path | None = None
    """None: beside a SQLite database, else ./aaa.keys."""
    listen: tuple[str, ...] = ("0.0.0.0",)  # noqa: S104  NASes are other machines
    auth_port: int = 1812
    acct_port: int = 1813
    node: str = ""
    """This server's name among several on one database; empty: the machine's."""
    processes: int = 1
    """How many share the ports, so that more than one processor works. More than one needs PostgreSQL."""
    log_level: LogLevel = "info"
    log_format: LogFormat = "auto"
    """auto: text on a terminal, else JSON."""
    spool_dir: Path | None = None
    """Where reports are kept while the database is away. None: beside a SQLite database, else ./aaa.spool."""
    spool_octets: int = 2**30
    """No more than this is kept; then reports get silence."""
    spool_seconds: int = 3 * 86_400
    """While a report has waited for longer than this, no more are taken."""
    answer_deadline_seconds: int = 2
    """A database that has not answered by then is taken to be away."""
    cached_accepts: bool = False
    """Without the database: let in again, for a short time, who was let in lately with the same password."""
    cached_session_seconds: int = 300
    eap_methods: tuple[str, ...] = ("peap", "ttls", "tls", "mschapv2")
    """The first is proposed, the others are there for clients that want them. md5 and gtc are not for use without a tunnel."""
    eap_certificate: Path | None = None
    """The server's certificate and what is between it and its CA, PEM. None: nothing over TLS is offered."""
    eap_key: Path | None = None
    """The certificate's key, PEM, without a password."""
    eap_ca: Path | None = None
    """Whose client certificates are believed, PEM. None: EAP-TLS is not offered."""
    eap_crl: Path | None = None
    """What that CA has revoked, PEM. None: nothing."""
    radsec_port: int | None = None
    """Where NASes speak over TLS (RFC 6614: 2083). None: nowhere."""
    radsec_certificate: Path | None = None
    """The server's certificate and what is between it and its CA, PEM. None: EAP's certificates serve here too."""
    radsec_key: Path | None = None
    """The certificate's key, PEM, without a password."""
    radsec_ca: Path | None = None
    """Whose NAS certificates are believed, PEM."""
    radsec_crl: Path | None = None
    """What that CA has revoked, PEM. None: nothing."""
    radsec_versions: tuple[str, ...] = ("1.1", "1.0")
    """What is offered by ALPN, the better one first (RFC 9765)."""
    radsec_connections: int = 8
    """The most of one NAS at a time; one more, and the one that was silent for longest is closed."""
    radsec_idle_seconds: int = 900
    """A connection that is silent for so long is closed."""
    trace: TraceMode = "refused"
    """What is written into the history that `aaa trace` shows: off, refused, all. Whoever watches sees everything."""
    trace_rows: int = 100_000
    trace_seconds: int = 7 * 86_400
    realms: tuple[tuple[str, str | None], ...] = ()
    """[realm.NAME]: what takes the place of a realm in user names; None: it is taken off."""
    dialects: tuple[Dialect, ...] = ()
    """[dialect.NAME]: equipment that this site describes itself, or knows better."""
    remind_ahead_seconds: int = 3 * 86_400
    """How long before its end a subscriber hears that something ends: the notice expiry-soon."""
    notices: Notices | None = None
    """[notices]: who is told what, and how. None: nobody."""
    retention: Retention = DEFAULT_RETENTION
    """[retention]: for how long what is no money is kept."""

    @property
    def node_name(self) -> str:
        """The configured name of this node, or the machine's."""
        return self.node or socket.gethostname()


def load(text: str, name: str) -> Config:
    """The configuration that a TOML text gives. ConfigError lists every fault with its line and what would be right."""
    try:
        top = parse(text, name)
    except TomlFileError as error:
        raise ConfigError(error.problems) from None
    default = Config()
    config = Config(
        database=top.take("database", _text("sqlite:///aaa.db"), default.database),
        keys_file=top.take("keys_file", _path, None),
        listen=top.take("listen", _addresses, default.listen),
        auth_port=top.take("auth_port", _port, default.auth_port),
        acct_port=top.take("acct_port", _port, default.acct_port),
        node=top.take("node", _text("radius-1"), default.node),
        processes=top.take("processes", _count, default.processes),
        log_level=top.take("log_level", _one_of(get_args(LogLevel)), default.log_level),  # type: ignore[arg-type]  # one of its own
        log_format=top.take("log_format", _one_of(get_args(LogFormat)), default.log_format),  # type: ignore[arg-type]  # one of its own
        spool_dir=top.take("spool_dir", _path, None),
        spool_octets=top.take("spool_size", _octets, default.spool_octets),
        spool_seconds=top.take("spool_age", _seconds("3 days"), default.spool_seconds),
        answer_deadline_seconds=top.take("answer_deadline", _seconds("2s"), default.answer_deadline_seconds),
        cached_accepts=top.take("cached_accepts", _bool, default.cached_accepts),
        cached_session_seconds=top.take("cached_session", _seconds("5m"), default.cached_session_seconds),
        eap_methods=top.take("eap_methods", _eap_methods, default.eap_methods),
        eap_certificate=top.take("eap_certificate", _path, None),
        eap_key=top.take("eap_key", _path, None),
        eap_ca=top.take("eap_ca", _path, None),
        eap_crl=top.take("eap_crl", _path, None),
        radsec_port=top.take("radsec_port", _port, None),
        radsec_certificate=top.take("radsec_certificate", _path, None),
        radsec_key=top.take("radsec_key", _path, None),
        radsec_ca=top.take("radsec_ca", _path, None),
        radsec_crl=top.take("radsec_crl", _path, None),
        radsec_versions=top.take("radsec_versions", _radsec_versions, default.radsec_versions),
        radsec_connections=top.take("radsec_connections", _count, default.radsec_connections),
        radsec_idle_seconds=top.take("radsec_idle", _seconds("15m"), default.radsec_idle_seconds),
        trace=top.take("trace", _one_of(get_args(TraceMode)), default.trace),  # type: ignore[arg-type]  # one of its own
        trace_rows=top.take("trace_rows", _rows, default.trace_rows),
        remind_ahead_seconds=top.take("remind_ahead", _seconds("3 days"), default.remind_ahead_seconds),
        trace_seconds=top.take("trace_age", _seconds("7 days"), default.trace_seconds),
        realms=_realms(top),
        dialects=_dialects(top),
        notices=_notices(top),
    )
    if (config.eap_certificate is None) != (config.eap_key is None):
        top.fault("eap_certificate", "eap_certificate and eap_key go together; write both")
    for key in ("eap_ca", "eap_crl"):
        if getattr(config, key) is not None and config.eap_certificate is None:
            top.fault(key, f"{key} is of no use without eap_certificate and eap_key")
    own = [key for key in ("radsec_certificate", "radsec_key", "radsec_ca") if getattr(config, key) is not None]
    if 0 < len(own) < 3 or (config.radsec_crl is not None and not own):
        top.fault(
            [*own, "radsec_crl"][0],
            "radsec_certificate, radsec_key and radsec_ca go together; write all, or EAP's are used",
        )
    kept = top.table("retention")
    if kept is not None:
        ahead, spooled = config.remind_ahead_seconds, config.spool_seconds
        config = replace(config, retention=read_retention(kept, remind_ahead_seconds=ahead, spool_seconds=spooled))
    top.finish()
    if top.faults.found:
        raise ConfigError(tuple(top.faults.in_file_order()))
    return config


def _realms(top: Table) -> tuple[tuple[str, str | None], ...]:
    found: list[tuple[str, str | None]] = []
    for name, table in top.tables("realm").items():
        strip = table.take("strip", _bool, default=False)
        other = table.take("map", _text("example.org"), None)
        table.finish()
        if strip == (other is not None) and not table.faults.under(("realm", name)):
            table.fault(None, 'write strip = true, to take the realm off, or map = "example.org", for another one')
        found.append((name, other))
    return tuple(found)


def _dialects(top: Table) -> tuple[Dialect, ...]:
    tables = top.tables("dialect")
    if not tables:
        return ()
    # Slow to import, and most sites have none.
    from aaa.dialects import SHIPPED
    from aaa.dialects.site import read

    return read(tables, SHIPPED)


def _notices(top: Table) -> Notices | None:
    table = top.table("notices")
    if table is None:
        return None
    from charging.notices.settings import read

    return read(table)


def _text(example: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not value or not value.isprintable():
            raise BadValueError(f'{value!r} is not a text; write for example "{example}"')
        return value

    return read


def _path(value: object) -> Path:
    return Path(_text("/etc/aaa/aaa.keys")(value)).expanduser()


def _port(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= 65535:
        raise BadValueError(f"{value!r} is not a port; write a number from 1 to 65535, without quotes")
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_COUNT:
        raise BadValueError(f"{value!r} is no number from 1 to {MOST_COUNT}, without quotes")
    return value


def _radsec_versions(value: object) -> tuple[str, ...]:
    known = ("1.1", "1.0")
    if not isinstance(value, list) or not value or not all(version in known for version in value):
        raise BadValueError(f'{value!r} is no list of versions; write ["1.1", "1.0"], or one of the two')
    return tuple(version for version in known if version in value)


def _rows(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_TRACE_ROWS:
        raise BadValueError(f"{value!r} is no number of rows; write 1 to {MOST_TRACE_ROWS}, without quotes")
    return value


def _bool(value: object) -> bool:
    if not isinstance(value, bool):
        raise BadValueError(f"{value!r} is neither true nor false, without quotes")
    return value


def _octets(value: object) -> int:
    try:
        octets = parse_octets(_text("1GB")(value))
    except ValueError as error:
        raise BadValueError(f'{error}; write for example "1GB"') from None
    if octets < LEAST_SPOOL_OCTETS:
        raise BadValueError(f'{value!r} is too small to be of use; write for example "1GB"')
    return octets


def _seconds(example: str) -> Callable[[object], int]:
    def read(value: object) -> int:
        try:
            seconds = parse_seconds(_text(example)(value))
        except ValueError as error:
            raise BadValueError(f'{error}; write for example "{example}"') from None
        if seconds < 1:
            raise BadValueError(f'{value!r} is no time; write for example "{example}"')
        return seconds

    return read


def _one_of(known: tuple[str, ...]) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or value not in known:
            raise BadValueError(f"{value!r} is unknown; write one of {', '.join(known)}")
        return value

    return read


def _eap_methods(value: object) -> tuple[str, ...]:
    from aaa.eap import METHOD_NAMES

    example = 'write for example ["peap", "tls"]'
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise BadValueError(f"{value!r} is no list of EAP methods; {example}")
    for name in value:
        if name not in METHOD_NAMES or value.count(name) > 1:
            problem = "stands there twice" if name in METHOD_NAMES else "is unknown"
            raise BadValueError(f"{name!r} {problem}; there are {', '.join(METHOD_NAMES)}; {example}")
    return tuple(value)


def _addresses(value: object) -> tuple[str, ...]:
    from ipaddress import ip_address

    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found:
        raise BadValueError(f'{value!r} is no address; write "0.0.0.0", or ["0.0.0.0", "::"]')
    try:
        return tuple(str(ip_address(_text("::")(address))) for address in found)
    except ValueError as error:
        raise BadValueError(f'{error}; write "0.0.0.0", or ["0.0.0.0", "::"]') from None


@dataclass(frozen=True)
class Setup:
    """What a command stands on: the configuration, and what is opened from it when it is first asked for."""

    config: Config

    @cached_property
    def _engine(self) -> Engine:
        from charging.database import open_engine

        return open_engine(self.config.database)

    def unchecked_engine(self) -> Engine:
        """The database as it is, for `aaa db`. DatabaseUrlError where the URL names nothing we can open."""
        return self._engine

    def engine(self) -> Engine:
        """The database, up to date: NotUpToDate says which command to run where it is not."""
        return self._current_engine

    @cached_property
    def _current_engine(self) -> Engine:
        import migrations
        from charging.database import file_of

        file = file_of(self._engine)
        if file and file != ":memory:" and not Path(file).exists():
            # Looking into it would make it.
            raise migrations.NotUpToDate(f"there is no database {file} yet; run: aaa db upgrade")
        migrations.require_current(self._engine)
        return self._engine

    def keys_file(self) -> Path:
        """Where the keys are: as configured, else beside the SQLite database, else in the working folder."""
        from charging.database import file_of

        if self.config.keys_file is not None:
            return self.config.keys_file
        file = file_of(self._engine)
        return Path(f"{file}.keys") if file else DEFAULT_KEYS_FILE

    def spool_folder(self, node: str) -> Path:
        """Where reports are kept while the database is away: as configured, else beside the SQLite database, else in
        the working folder; by `node` where one was named, because two servers can not share one."""
        from charging.database import file_of

        if self.config.spool_dir is not None:
            return self.config.spool_dir
        suffix = "".join(c if c.isalnum() or c in "._-" else "_" for c in node)
        name = file_of(self._engine) or DEFAULT_SPOOL
        return Path(f"{name}-{suffix}.spool" if suffix else f"{name}.spool")

    def key_ring(self) -> KeyRing:
        """The keys that secrets are sealed with. The first one is made where nothing is sealed yet; KeyRingError says
        which file is missing otherwise."""
        return self._key_ring

    @cached_property
    def _key_ring(self) -> KeyRing:
        from aaa import keyring, sealed
        from charging.database import reading

        path = self.keys_file()
        if path.exists():
            return keyring.load(path)
        with reading(self.engine()) as connection:
            if sealed.anything_sealed(connection):
                raise keyring.KeyRingError(
                    f"the key file {path} is missing, and this database holds secrets sealed with it; "
                    "put it back, or name it: keys_file in the configuration, or AAA_KEYS"
                )
        keys = keyring.create(path)
        click.echo(f"made the key file {path}: keep a copy, nothing sealed can be read without it", err=True)
        return keys

    @property
    def actor(self) -> str:
        """Who gave this command, for the ledger: `operator:` and the name of the user on this machine."""
        import getpass

        try:
            return f"operator:{getpass.getuser()}"
        except (OSError, KeyError):
            return "operator:unknown"

    def close(self) -> None:
        """Give back the database's connections."""
        if "_engine" in self.__dict__:
            self._engine.dispose()


pass_setup = click.make_pass_decorator(Setup)
