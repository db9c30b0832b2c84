"""Names of instruments that want to be something else, all the way: from a venue that sends them, through a real feed,
into both databases. They are data: each is stored letter by letter, or refused whole, kept and counted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg
import pytest

from feed_case import TRADES, FeedCase, ScriptedVenue, trade_frame
from servers.postgres import fresh_database
from servers.questdb import QuestdbServer
from test_questdb import Keeper
from tickbay.config import Timescale
from tickbay.embedded import EmbeddedServer
from tickbay.feed.quarantine import read_entries
from tickbay.gap import Cause
from tickbay.record import Kind, Records, stream_name
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.sink import Chunk
from tickbay.sinks.timescale import TimescaleSink

pytestmark = pytest.mark.slow

STREAM = stream_name("feed-1", Kind.TRADE)
HARMLESS = "ETH-1JAN27-3000-C"
STORED = (
    "'; DROP TABLE option_trades; --",
    '"; DROP TABLE option_trades; --',
    "\u202egpj.C-0003-HTE",  # right to left
    "<script>alert(1)</script>",
    "a,stream=evil seq=1i 1\nquarantine,a=b c=1",  # QuestDB's lines
    "%s %(x)s {} \\N\t\\",
    "../../etc/passwd",
    "${jndi:ldap://x}",
)
REFUSED = ("ETH\x00-1JAN27-3000-C", "\x00", "A" * 10_000, "ü" * 5_000, "A" * 65)


def frame(trade_seq: int, name: str) -> bytes:
    """A trade of now."""
    message = json.loads(trade_frame(trade_seq, name))
    message["params"]["data"][0]["timestamp"] = time.time_ns() // 1_000_000
    return json.dumps(message).encode()


@pytest.fixture
def case(shm_dir: Path, tmp_path: Path) -> Iterator[FeedCase]:
    with closing(FeedCase(shm_dir, tmp_path / "data")) as case:
        yield case


@pytest.fixture
def recorded(case: FeedCase) -> Records:
    """What a feed made of them, each followed by a harmless one."""
    names = [name for hostile in (*STORED, *REFUSED) for name in (hostile, HARMLESS)]
    wanted = len(STORED) + len(STORED) + len(REFUSED)
    with ScriptedVenue().running() as venue:
        case.configure(venue.ws_url)
        case.assign(TRADES)
        case.start()
        case.until_live(1)
        venue.send(*(frame(number, name) for number, name in enumerate(names, 1)))
        case.until(lambda: len(case.records(Kind.TRADE)) == wanted, "all that can be recorded")
        case.until(lambda: case.gaps(Cause.UNDECODABLE)["count"].sum() == len(REFUSED), "the others to be counted")
    return case.records(Kind.TRADE)


def test_a_hostile_name_is_stored_to_the_letter_or_its_frame_is_kept(
    recorded: Records, case: FeedCase, tmp_path: Path, postgres_server: EmbeddedServer, questdb: QuestdbServer
) -> None:
    kept = list(read_entries(case.data_dir / "quarantine" / "feed-1.frames"))
    told = [json.loads(entry.frame)["params"]["data"][0]["instrument_name"] for entry in kept]
    assert told == list(REFUSED), "what no record has room for is kept byte for byte"
    names = [name.decode() for name in recorded["instrument"].tolist()]
    assert [name for name in names if name != HARMLESS] == list(STORED)
    settings = fresh_database(postgres_server)
    chunk = Chunk(stream=STREAM, kind=Kind.TRADE, epoch=7, records=recorded)
    with closing(TimescaleSink(settings)) as timescale:
        timescale.open([STREAM])
        assert timescale.commit([chunk]).quarantined == 0
    assert in_postgres(settings) == names
    with ExitStack() as stack:
        keeper = Keeper(tmp_path, stack, questdb)
        sink = keeper.sink()
        sink.open([STREAM])
        assert sink.commit([chunk]).quarantined == 0
        keeper.settle(sink)
        assert in_questdb(questdb) == names


def in_postgres(settings: Timescale) -> list[str]:
    """The names of all trades, in order; the tables are all there still."""
    with psycopg.connect(conninfo_of(settings)) as connection:
        rows = connection.execute(
            "SELECT instrument FROM (SELECT seq, instrument FROM option_trades"
            " UNION ALL SELECT seq, instrument FROM delta_one_trades) AS trades ORDER BY seq"
        ).fetchall()
        assert connection.execute("SELECT count(*) FROM quarantine").fetchone() == (0,)
    return [name for (name,) in rows]


def in_questdb(server: QuestdbServer) -> list[str]:
    tables = {name for (name,) in server.query("SELECT table_name FROM tables()")}
    assert {"option_trades", "quarantine"} <= tables and "evil" not in tables
    assert server.query("SELECT count() FROM quarantine") == [[0]]
    asked = [server.query(f"SELECT seq, instrument FROM {table}") for table in ("option_trades", "delta_one_trades")]
    return [name for _, name in sorted(asked[0] + asked[1])]
