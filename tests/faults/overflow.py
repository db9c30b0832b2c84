"""What feeds lose while the journal takes nothing: counted by themselves, and as the database was told of it."""

from __future__ import annotations

import psycopg

from faults.rig import Rig


def lost_records(rig: Rig) -> list[int]:
    """By each feed since it was started."""
    reports = [rig.report(name) for name in rig.names if name.startswith("feed-")]
    return [report.counters.get("lost_records", 0) if report is not None else 0 for report in reports]


def counted_overflow(rig: Rig) -> int:
    """Rows that an overflow lost, as the gaps in the database say."""
    query = "SELECT coalesce(sum(count), 0) FROM data_gaps WHERE cause = 'overflow' AND to_ns IS NOT NULL"
    with psycopg.connect(rig.server.conninfo(rig.database.dbname)) as connection:
        row = connection.execute(query).fetchone()
    assert row is not None
    return int(row[0])
