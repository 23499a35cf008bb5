"""`aaa import freeradius` from MySQL: the same tables in a real MariaDB give the same as in SQLite."""

from __future__ import annotations

import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import pymysql
import pytest

from tests.cli.conftest import Aaa
from tests.cli.test_freeradius import ACCT, DEBIAN, OPTIONS, PLAIN, ROWS

MARIADB: Final = shutil.which("mariadbd", path="/usr/local/sbin:/usr/sbin:/usr/bin") or shutil.which("mariadbd")
SCHEMA: Final = DEBIAN / "mysql" / "schema.sql"

needs_mariadb = pytest.mark.skipif(MARIADB is None, reason="the Debian package mariadb-server-core is not installed")
#: All are about what is read; our own database is the small one.
ours = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A MariaDB of its own, on no network, that ends with this process."""
    assert MARIADB is not None
    folder = tmp_path_factory.mktemp("mariadb")
    # What MariaDB calls a path may have some hundred characters only.
    path = Path("/tmp") / f"aaa-mariadb-{folder.parent.name}-{id(folder)}.sock"  # noqa: S108  where only its owner may write
    setpriv = shutil.which("setpriv")
    log = (folder / "log").open("w")
    server = subprocess.Popen(
        [
            *([setpriv, "--pdeathsig", "KILL"] if setpriv else []), MARIADB, "--no-defaults", "--user=root", f"--datadir={folder}",
            "--skip-networking", "--skip-grant-tables", f"--socket={path}", f"--pid-file={folder / 'pid'}",
            "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=8M",
        ],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log,
    )  # fmt: skip
    try:
        yield path
    finally:
        log.close()
        server.terminate()
        server.wait(timeout=20)
        path.unlink(missing_ok=True)


@pytest.fixture(params=["debian", "plain"])
def mysql(request: pytest.FixtureRequest, socket: Path, eventually: Callable[..., None]) -> str:
    """The URL of FreeRADIUS's tables with the same rows as elsewhere; its times are written without a time zone."""
    if request.param == "plain":
        schema = PLAIN.format(id="INTEGER PRIMARY KEY AUTO_INCREMENT", time="datetime", address="text")
    elif SCHEMA.exists():
        schema = re.sub(r"^\s*(#|--).*$", "", SCHEMA.read_text(), flags=re.MULTILINE)
    else:
        pytest.skip("Debian's freeradius-config is not installed")
    eventually(socket.exists, within=20)
    berlin = ZoneInfo("Europe/Berlin")

    def local(found: re.Match[str]) -> str:
        return f"'{datetime.fromisoformat(found[1]).astimezone(berlin):%Y-%m-%d %H:%M:%S}'"

    rows = re.sub(r"'(\d{4}-\d\d-\d\d [\d:]{8}\+\d\d)'", local, ROWS + ACCT)
    with closing(pymysql.connect(unix_socket=str(socket), user="root", autocommit=True)) as connection:
        cursor = connection.cursor()
        cursor.execute("CREATE OR REPLACE DATABASE radius")
        cursor.execute("USE radius")
        for statement in (schema + rows).split(";"):
            if statement.strip():
                cursor.execute(statement)
    return f"mysql://root@localhost/radius?unix_socket={socket}"


@pytest.fixture
def sqlite(tmp_path: Path) -> str:
    with closing(sqlite3.connect(tmp_path / "radius.db")) as source:
        source.executescript(PLAIN.format(id="INTEGER PRIMARY KEY", time="datetime", address="text") + ROWS + ACCT)
    return f"sqlite:///{tmp_path / 'radius.db'}"


@needs_mariadb
@ours
def test_mysql_gives_what_sqlite_gives(shop: Aaa, mysql: str, sqlite: str) -> None:
    everything = (*OPTIONS, "--radacct")
    dry = [shop.json("import", "freeradius", url, *everything, "--dry-run") for url in (mysql, sqlite)]
    assert dry[0] == dry[1]
    assert dry[0]["past"]["sessions"] == 3
    shop.ok("import", "freeradius", mysql, *everything)
    again = shop.json("import", "freeradius", sqlite, *everything)
    assert (again["subscribers"], again["past"]) == ([], {"sessions": 0, "octets": 0, "already": 3})
    (line,) = shop.json("usage", "alice", "--by", "line")
    assert (line["octets_down"], line["last_at"]) == (5_000_000_000, "2026-01-01T11:00:00.000Z")


@needs_mariadb
@ours
def test_a_database_of_mysql_that_is_not_there(shop: Aaa, mysql: str) -> None:
    wrong = mysql.replace("/radius?", "/other?")
    assert shop.fails("import", "freeradius", wrong, *OPTIONS) == (
        "cannot read FreeRADIUS's database: (1049, \"Unknown database 'other'\")"
    )


@ours
def test_a_mysql_server_that_is_not_there(shop: Aaa) -> None:
    message = shop.fails("import", "freeradius", "mysql://radius@127.0.0.1:1/radius", *OPTIONS)
    assert message.startswith("cannot read FreeRADIUS's database: (2003, ")


@ours
def test_without_the_driver_it_says_what_to_install(shop: Aaa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymysql", None)
    assert shop.fails("import", "freeradius", "mysql://radius@127.0.0.1:1/radius", *OPTIONS) == (
        "the driver for MySQL is not installed: pip install 'prepaid-aaa[mysql]'"
    )
