"""What the venue listed last, on disk."""

from __future__ import annotations

from pathlib import Path

from listing_case import ETH, listed, made
from tickbay.universe.catalogue import Catalogue, read_catalogue, write_catalogue


def test_a_catalogue_reads_back_as_written_and_a_damaged_one_is_empty(tmp_path: Path) -> None:
    catalogue = Catalogue(listed(made("A"), A=2.5), 77, {"A": made("A")})
    write_catalogue(tmp_path / "c.json", catalogue)
    read = read_catalogue(tmp_path / "c.json")
    assert read.listing is not None and list(read.listing.instruments[ETH]) == [made("A")]
    assert (read.listing.open_interest, read.fetched_ns, read.recorded) == ({"A": 2.5}, 77, {"A": made("A")})
    (tmp_path / "c.json").write_bytes((tmp_path / "c.json").read_bytes()[:-5])
    assert read_catalogue(tmp_path / "c.json") == Catalogue()
