"""The schema: applied once however often and by however many, on every edition, and explained column by column."""

from servers.postgres import fresh_database, postgres_server
from servers.timescale import timescale_server
from tickbay import schema
from tickbay.sinks.connection import conninfo_of
from tickbay.sinks.partitions import Edition
import pytest


@pytest.mark.parametrize("which", ["postgres_server", "timescale_server"])
def test_apply(which, request):
    server = request.getfixturevalue(which)
    settings = fresh_database(server)
    print(schema.apply(conninfo_of(settings), settings))
    print(schema.apply(conninfo_of(settings), settings))
