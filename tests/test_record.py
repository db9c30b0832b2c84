"""record.py: the dtypes, enumerations and names are those of native/record.h."""

from __future__ import annotations

import enum
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tickbay import _native, gap, record
from tickbay.record import CONTINUITY, DTYPES, LAYOUTS, TICKS, Kind

HEADER = (Path(__file__).parents[1] / "native" / "record.h").read_text()

C_TYPES = {
    "double": "<f8",
    "uint64_t": "<u8",
    "int64_t": "<i8",
    "uint32_t": "<u4",
    "uint8_t": "u1",
}


def without_comments(text: str) -> str:
    return re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL)


def fields_of(struct: str) -> list[tuple[str, str]]:
    """(name, type as numpy spells it) of a struct in record.h, read from its text, the head's fields first."""
    found = re.search(rf"^struct {struct} {{(.*?)^}};", without_comments(HEADER), re.DOTALL | re.MULTILINE)
    assert found is not None, struct
    fields: list[tuple[str, str]] = []
    for statement in found[1].split(";"):
        if not statement.strip():
            continue
        words = statement.replace("struct ", "").split(maxsplit=1)
        if words[0] == "record_head":
            fields += fields_of("record_head")
            continue
        for name in words[1].split(","):
            array = re.fullmatch(r"\s*(\w+)\[(\w+)\]\s*", name)
            if array is None:
                fields.append((name.strip(), C_TYPES[words[0]]))
            else:
                size = 48 if array[2] == "RECORD_INSTRUMENT_MAX" else int(array[2])
                fields.append((array[1], f"S{size}"))
    return fields


def constants_of(enumeration: str, prefix: str) -> dict[str, int]:
    found = re.search(rf"^enum {enumeration} {{(.*?)}};", without_comments(HEADER), re.DOTALL | re.MULTILINE)
    assert found is not None, enumeration
    values = {}
    for name, value in re.findall(rf"{prefix}(\w+) = ([^,\n]+)", found[1]):
        shift = re.fullmatch(r"1u << (\d+)", value.strip())
        values[name] = 1 << int(shift[1]) if shift else int(value)
    return values


@pytest.mark.parametrize("kind", Kind)
def test_every_dtype_is_the_struct_of_its_kind(kind: Kind) -> None:
    """Read from the header's text, so that record.c's field list and the compiler are checked too."""
    dtype = DTYPES[kind]
    size = re.search(rf"RECORD_LAYOUT\({kind.name.lower()}, (\d+)\)", HEADER)
    assert size is not None and dtype.itemsize == int(size[1])
    assert dtype.names is not None and dtype.fields is not None
    assert [(name, dtype.fields[name][0].str.lstrip("|")) for name in dtype.names] == fields_of(kind.name.lower())


@pytest.mark.parametrize(
    ("python", "enumeration", "prefix"),
    [
        (Kind, "record_kind", "RECORD_(?!KIND_COUNT)"),
        (record.Flag, "record_flag", "RECORD_"),
        (gap.Cause, "gap_cause", "GAP_"),
        (record.FeedState, "feed_state", "FEED_"),
    ],
)
def test_every_enumeration_is_that_of_the_header(python: type[enum.IntEnum], enumeration: str, prefix: str) -> None:
    assert {member.name: int(member) for member in python} == constants_of(enumeration, prefix)


def test_every_layout_has_its_own_hash() -> None:
    assert len(set(LAYOUTS.values())) == len(Kind) and 0 not in LAYOUTS.values()


def test_the_continuity_table_is_readable_as_an_array() -> None:
    heard = tuple(f"{kind.name.lower()}_ns" for kind in TICKS)
    assert CONTINUITY.names == ("instrument", "change_id", "trade_seq", *heard, "book_state")
    assert CONTINUITY.itemsize == 136


@given(feed=st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True), kind=st.sampled_from(Kind))
def test_a_stream_s_name_says_feed_and_kind(feed: str, kind: Kind) -> None:
    assert record.parse_stream(record.stream_name(feed, kind)) == (feed, kind)


@pytest.mark.parametrize("name", ["", "feed-1", "feed-1.", ".book", "feed-1.books", "feed-1.book.x", "f" * 29 + ".gap"])
def test_what_is_no_stream_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is not the name of a stream"):
        record.parse_stream(name)


@pytest.mark.parametrize("kind", Kind)
def test_a_blank_record_knows_nothing(kind: Kind) -> None:
    blank = record.blank(kind, 2)
    assert blank.dtype == DTYPES[kind] and len(blank) == 2
    for name in DTYPES[kind].names or ():
        values = blank[name]
        assert np.isnan(values).all() if values.dtype.kind == "f" else not values.any()


def test_a_text_is_stored_whole_or_refused() -> None:
    records = record.blank(Kind.QUOTE)
    record.set_text(records, "instrument", "Ω" * 24)
    assert records["instrument"][0] == ("Ω" * 24).encode()
    for text in ("Ω" * 24 + "!", "nul\0nul"):
        with pytest.raises(ValueError, match="does not fit instrument, 48 bytes"):
            record.set_text(records, "instrument", text)
    assert records["instrument"][0] == ("Ω" * 24).encode()


def test_the_binding_names_what_the_header_names() -> None:
    assert {table.name for table in _native.record_tables().values()} == {kind.name.lower() for kind in Kind}
