"""tickbay._native: what the binding adds to the units: buffers, conversions, and a listener behind a real WebSocket."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import picows
import pytest
import uvloop

from tickbay import _native, ring
from tickbay.record import CONTINUITY, DTYPES, Kind, blank
from tickbay.sim.strip import websocket_frame

SLOTS = 512
PAUSE_S = 0.05  # the server's, between two parts of what it sends


# -------- conversions


def test_crc32c_goes_on_from_an_earlier_crc() -> None:
    assert _native.crc32c(b"123456789") == 0xE3069283
    assert _native.crc32c(b"6789", _native.crc32c(b"12345")) == 0xE3069283
    assert _native.crc32c(np.frombuffer(b"123456789", np.uint8)) == 0xE3069283


def test_a_batch_says_what_was_sealed() -> None:
    records = blank(Kind.BOOK, 3)
    sealed = _native.batch_seal(4, "feed-1.book", Kind.BOOK, 9, 17, 123, records)
    assert len(sealed) == _native.BATCH_HEADER_SIZE
    file = bytes(8) + sealed + records.tobytes()
    result, header = _native.batch_check(file, 4, 8)
    assert result == _native.BATCH_OK and header is not None
    assert (header.segment, header.stream, header.kind, header.epoch) == (4, "feed-1.book", Kind.BOOK, 9)
    assert (header.first_seq, header.records, header.written_ns) == (17, 3, 123)
    assert _native.batch_check(file, 5, 8) == (_native.BATCH_STOP, None)
    assert _native.batch_check(file[:-1], 4, 8) == (_native.BATCH_TORN, None)
    assert _native.batch_check(file, 4, len(file)) == (_native.BATCH_STOP, None)
    with pytest.raises(ValueError, match="behind the buffer"):
        _native.batch_check(file, 4, len(file) + 1)


def test_a_segment_has_a_header_batches_and_an_end() -> None:
    records = blank(Kind.BOOK, 3)
    batch = _native.batch_seal(4, "feed-1.book", Kind.BOOK, 9, 17, 123, records) + records.tobytes()
    header = _native.segment_seal(4, 9, 99)
    assert len(header) == _native.SEGMENT_HEADER_SIZE
    assert _native.segment_check(header) == (4, 9, 99)
    assert _native.segment_check(bytes(4096)) is None
    segment = header + batch + _native.batch_seal_end(4, 124)
    assert _native.batch_check(segment, 4, len(header))[0] == _native.BATCH_OK
    assert _native.batch_check(segment, 4, len(header) + len(batch)) == (_native.BATCH_END, None)
    assert _native.batch_check(segment[:-1], 4, len(header) + len(batch))[0] == _native.BATCH_TORN


def test_what_does_not_fit_is_refused_before_c_sees_it() -> None:
    records = blank(Kind.BOOK, 1)
    with pytest.raises(ValueError, match="longer than 32 bytes"):
        _native.batch_seal(1, "f" * 33, Kind.BOOK, 1, 1, 1, records)
    with pytest.raises(ValueError, match="are not whole records"):
        _native.batch_seal(1, "feed-1.book", Kind.QUOTE, 1, 1, 1, records)
    with pytest.raises(ValueError, match="are not whole records"):
        _native.batch_seal(1, "feed-1.book", 99, 1, 1, 1, records)
    with pytest.raises(ValueError, match="not C-contiguous"):
        _native.crc32c(blank(Kind.BOOK, 4)[::2])


def column(name: str, type: int, **more: Any) -> _native.PgcopyColumn:
    fields = DTYPES[Kind.BOOK].fields
    assert fields is not None
    dtype, offset = fields[name][:2]
    return _native.PgcopyColumn(type, offset, width=dtype.itemsize, **more)


def test_rows_are_postgresql_s_binary_rows() -> None:
    records = blank(Kind.BOOK, 2)
    records["seq"], records["side"] = [5, 6], [2, 9]
    records["price"], records["instrument"] = [0.5, np.nan], [b"ETH-1", b""]
    plan = _native.PgcopyPlan(
        Kind.BOOK,
        [
            column("seq", _native.PGCOPY_INT8_U64),
            column("price", _native.PGCOPY_FLOAT8),
            column("instrument", _native.PGCOPY_TEXT),
            column("side", _native.PGCOPY_ENUM_U8, words=(b"", b"bid", b"ask")),
            _native.PgcopyColumn(_native.PGCOPY_CONST_TEXT, constant=b"feed-1.book"),
        ],
    )
    data, rows = plan.encode(records)
    constant = struct.pack(">i", 11) + b"feed-1.book"
    null = struct.pack(">i", -1)
    first = struct.pack(">h iq id i5s i3s", 5, 8, 5, 8, 0.5, 5, b"ETH-1", 3, b"ask") + constant
    second = struct.pack(">h iq", 5, 8, 6) + null + null + null + constant
    assert (bytes(data), rows) == (first + second, 2)


def test_an_extent_tells_what_numpy_finds_in_all_records() -> None:
    records = blank(Kind.BOOK, 5)
    records["exch_ns"], records["flags"] = [7, -2, 11, 11, 3], [6, 7, 14, 4, 12]
    for part in (records, records[1:], records[2:3]):
        times, flags = part["exch_ns"], part["flags"]
        expected = (times.min(), times.max(), np.bitwise_or.reduce(flags), np.bitwise_and.reduce(flags))
        assert _native.record_extent(part, Kind.BOOK) == expected
    assert _native.record_extent(records[:0], Kind.BOOK).any_flags == 0
    with pytest.raises(ValueError, match="whole records"):
        _native.record_extent(records.tobytes()[1:], Kind.BOOK)


def test_a_plan_takes_only_the_records_with_its_flags() -> None:
    records = blank(Kind.BOOK, 4)
    records["flags"], records["seq"] = [1, 2, 3, 0], [1, 2, 3, 4]
    plan = _native.PgcopyPlan(Kind.BOOK, [column("seq", _native.PGCOPY_INT8_U64)])
    data, rows = plan.encode(records, 2, 2)
    assert rows == 2
    assert [values[2] for values in struct.iter_unpack(">hiq", data)] == [2, 3]


def test_an_encoded_batch_stays_readable_when_a_larger_one_follows() -> None:
    plan = _native.PgcopyPlan(Kind.BOOK, [column("seq", _native.PGCOPY_INT8_U64)])
    small, _ = plan.encode(blank(Kind.BOOK, 1))
    kept = bytes(small)
    plan.encode(blank(Kind.BOOK, 1000))
    assert bytes(small) == kept


@pytest.mark.parametrize(
    "wrong",
    [
        _native.PgcopyColumn(_native.PGCOPY_INT8_U64, 113),
        _native.PgcopyColumn(_native.PGCOPY_TEXT, 80, 41),
        _native.PgcopyColumn(_native.PGCOPY_INT2_U8, 120),
        _native.PgcopyColumn(99),
        _native.PgcopyColumn(-1),
    ],
)
def test_a_column_outside_the_record_is_refused(wrong: _native.PgcopyColumn) -> None:
    with pytest.raises(ValueError, match=r"reaches beyond a record of 120 bytes|is of no type"):
        _native.PgcopyPlan(Kind.BOOK, [wrong])


# -------- the listener


def quote(instrument: str, price: float = 0.01) -> bytes:
    return (
        b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.%s.100ms","data":{"timestamp":1700000000000,'
        b'"instrument_name":"%s","best_bid_price":%f,"best_bid_amount":5.0}}}'
        % (instrument.encode(), instrument.encode(), price)
    )


def book(instrument: str, change: int, previous: int = 0, levels: int = 1) -> bytes:
    bids = b",".join(b'["new",0.%04d,1.0]' % (level + 1) for level in range(levels))
    return (
        b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"book.%s.100ms","data":{"type":"%s",'
        b'"timestamp":1700000000000,"instrument_name":"%s",%s"change_id":%d,"bids":[%s],"asks":[]}}}'
        % (
            instrument.encode(),
            b"change" if previous else b"snapshot",
            instrument.encode(),
            b'"prev_change_id":%d,' % previous if previous else b"",
            change,
            bids,
        )
    )


HEARTBEAT = b'{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}'
REPLY = b'{"jsonrpc":"2.0","id":7,"result":["ticker.ETH-1.100ms"]}'


class Told:
    """A FeedHandler that writes down what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.fail = False
        self.gone = asyncio.Event()

    def on_connected(self, transport: picows.WSTransport) -> None:
        self.calls.append(("connected",))

    def on_disconnected(self, transport: picows.WSTransport) -> None:
        self.calls.append(("disconnected",))
        self.gone.set()

    def on_close(self, code: int, reason: str) -> None:
        self.calls.append(("close", code, reason))

    def on_message(self, message: int, payload: bytes, recv_ns: int) -> None:
        if self.fail:
            raise RuntimeError("the handler failed")
        self.calls.append(("message", message, payload))

    def on_undecodable(self, payload: bytes, recv_ns: int) -> None:
        self.calls.append(("undecodable", payload))

    def on_break(self, kind: int, instrument: bytes, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        self.calls.append(("break", kind, instrument, expected, got))

    def on_leap(self, instrument: bytes, expected: int, got: int, recv_ns: int, since_ns: int) -> None:
        self.calls.append(("leap", instrument, expected, got))

    def on_overflow_begin(self, kind: int, recv_ns: int) -> None:
        self.calls.append(("overflow", kind))

    def on_overflow_end(self, kind: int, records: int, from_ns: int, to_ns: int) -> None:
        assert from_ns <= to_ns
        self.calls.append(("overflowed", kind, records))


class Rig:
    """Three rings and those of `others`, a listener over them, and what it told."""

    def __init__(self, folder: Path, others: Sequence[Kind] = (), **options: int) -> None:
        self.rings = {}
        for kind in (Kind.QUOTE, Kind.TRADE, Kind.BOOK, *others):
            path = folder / kind.name
            ring.create(path, kind, SLOTS, stream=f"feed-1.{kind.name.lower()}", boot_id="boot", epoch=1, first_seq=1)
            self.rings[kind] = ring.Ring.attach(path, kind)
            self.rings[kind].produce(1, 1)
        self.told = Told()
        self.pongs: list[bytes] = []  # that the server heard
        natives = [self.rings[kind].native for kind in (Kind.QUOTE, Kind.TRADE, Kind.BOOK)]
        more = tuple(self.rings[kind].native for kind in others)
        self.listener = _native.FeedListener(self.told, *natives, others=more, **options)  # type: ignore[arg-type]  # no unpacking of three

    def play(self, *parts: Callable[[picows.WSTransport], None], conn: int = 5) -> list[tuple[Any, ...]]:
        """Connect to a server on loopback that sends `parts`, PAUSE_S between them, and closes with 1000; returns what
        was told."""
        self.listener.start(conn)
        uvloop.run(self._play(parts))
        return self.told.calls

    async def _play(self, parts: Sequence[Callable[[picows.WSTransport], None]]) -> None:
        pongs = self.pongs

        class Server(picows.WSListener):
            def on_ws_connected(self, transport: picows.WSTransport) -> None:
                self.send(transport, *parts)

            def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
                if frame.msg_type == picows.WSMsgType.PONG:
                    pongs.append(frame.get_payload_as_bytes())

            def send(self, transport: picows.WSTransport, *parts: Callable[[picows.WSTransport], None]) -> None:
                parts[0](transport)
                if len(parts) > 1:
                    asyncio.get_running_loop().call_later(PAUSE_S, self.send, transport, *parts[1:])
                else:
                    transport.send_close(picows.WSCloseCode.OK, b"done")

        server = await picows.ws_create_server(lambda _: Server(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        transport, _ = await picows.ws_connect(lambda: self.listener, f"ws://127.0.0.1:{port}/", enable_auto_pong=False)
        await asyncio.wait_for(self.told.gone.wait(), 10)
        transport.disconnect()
        server.close()
        await server.wait_closed()


def text(*payloads: bytes) -> Callable[[picows.WSTransport], None]:
    def send(transport: picows.WSTransport) -> None:
        for payload in payloads:
            transport.send(picows.WSMsgType.TEXT, payload)

    return send


ENDING = [("close", 1000, "done"), ("disconnected",)]


def test_frames_become_records_and_only_the_rest_becomes_objects(shm_dir: Path) -> None:
    rig = Rig(shm_dir)
    before = time.time_ns()
    frames = [quote("ETH-1"), REPLY, book("ETH-1", 10, levels=3), HEARTBEAT, quote("ETH-2")]
    told = rig.play(text(*frames))
    assert told == [
        ("connected",),
        ("message", _native.MESSAGE_REPLY, REPLY),
        ("message", _native.MESSAGE_TEST_REQUEST, HEARTBEAT),
        *ENDING,
    ]
    quotes = rig.rings[Kind.QUOTE].read(1)
    assert quotes["instrument"].tolist() == [b"ETH-1", b"ETH-2"]
    assert quotes["conn"].tolist() == [5, 5] and quotes["seq"].tolist() == [1, 2]
    assert before <= quotes["recv_ns"][0] <= quotes["recv_ns"][1] <= time.time_ns()
    assert rig.rings[Kind.BOOK].read(1)["price"].tolist() == [0.0001, 0.0002, 0.0003]
    counters = rig.listener.counters()
    assert (counters["frames"], counters["quotes"], counters["books"], counters["replies"]) == (5, 2, 3, 1)
    assert counters["bytes"] == sum(map(len, frames))


def test_frames_of_one_read_are_received_at_one_moment_in_their_order_and_pings_are_answered(shm_dir: Path) -> None:
    rig = Rig(shm_dir)

    def send(transport: picows.WSTransport) -> None:
        ping = b"\x89\x05there"
        written = websocket_frame(quote("ETH-1")) + ping + websocket_frame(quote("ETH-2")) + ping
        transport.underlying_transport.write(written)

    rig.play(send, send, text(quote("ETH-3")))
    received = rig.rings[Kind.QUOTE].read(1)["recv_ns"].tolist()
    assert received[1] == received[0] + 2 and received[3] == received[2] + 2  # a ping came between
    assert received[2] - received[1] > PAUSE_S * 0.9e9 and received[4] - received[3] > PAUSE_S * 0.9e9
    assert rig.pongs == [b"there"] * 4


def test_a_frame_that_cannot_be_decoded_is_handed_out_whole_and_the_next_ones_land(shm_dir: Path) -> None:
    """FEED-1."""
    rig = Rig(shm_dir)
    told = rig.play(text(quote("ETH-1"), quote("ETH-1")[:-9], b"\xff\x00", quote("ETH-1")))
    assert told[1:-2] == [("undecodable", quote("ETH-1")[:-9]), ("undecodable", b"\xff\x00")]
    assert len(rig.rings[Kind.QUOTE].read(1)) == 2
    assert rig.listener.counters()["undecodable"] == 2


def test_a_broken_book_and_a_snapshot_ahead_of_a_whole_one_are_told(shm_dir: Path) -> None:
    rig = Rig(shm_dir)
    frames = [book("ETH-1", 10), book("ETH-1", 14, 13), book("ETH-1", 15, 14), book("ETH-1", 20), book("ETH-1", 30)]
    told = rig.play(text(*frames))
    assert told[1:-2] == [("break", Kind.BOOK, b"ETH-1", 10, 13), ("leap", b"ETH-1", 20, 30)]
    assert rig.rings[Kind.BOOK].read(1)["change_id"].tolist() == [10, 14, 15, 20, 30]


def test_a_message_in_fragments_is_one_message(shm_dir: Path) -> None:
    rig = Rig(shm_dir)
    whole = quote("ETH-1")

    def send(transport: picows.WSTransport) -> None:
        transport.send(picows.WSMsgType.TEXT, whole[:50], fin=False)
        transport.send_ping(b"between")
        transport.send(picows.WSMsgType.CONTINUATION, whole[50:60], fin=False)
        transport.send(picows.WSMsgType.CONTINUATION, whole[60:])
        transport.send(picows.WSMsgType.TEXT, quote("ETH-2"))

    assert rig.play(send) == [("connected",), *ENDING]
    assert rig.rings[Kind.QUOTE].read(1)["instrument"].tolist() == [b"ETH-1", b"ETH-2"]


def test_a_message_in_fragments_is_bounded(shm_dir: Path) -> None:
    rig = Rig(shm_dir, frame_bytes_max=1000)

    def send(transport: picows.WSTransport) -> None:
        transport.send(picows.WSMsgType.TEXT, b"[" * 600, fin=False)
        for _ in range(5):
            transport.send(picows.WSMsgType.CONTINUATION, b"[" * 600, fin=False)
        transport.send(picows.WSMsgType.CONTINUATION, b"[")
        transport.send(picows.WSMsgType.TEXT, quote("ETH-1"))

    assert rig.play(send)[1:-2] == [("undecodable", b"[" * 1001)]
    assert len(rig.rings[Kind.QUOTE].read(1)) == 1


def test_a_full_ring_costs_one_wait_and_loses_what_it_tells(shm_dir: Path) -> None:
    """RING-2, FEED-1: nobody moves durable while 600 quotes come for 512 slots."""
    rig = Rig(shm_dir, full_wait_ms=20)
    told = rig.play(text(*[quote("ETH-1")] * 600, book("ETH-1", 1)))
    assert told[1:-2] == [("overflow", Kind.QUOTE)]
    counters = rig.listener.counters()
    assert (counters["frames"], counters["quotes"], counters["lost_records"]) == (601, SLOTS, 600 - SLOTS)
    assert (counters["waits"], counters["overflows"], counters["books"]) == (1, 1, 1)
    rig.listener.settle()
    assert told[1:] == [("overflow", Kind.QUOTE), *ENDING], "its ring is still full"
    rig.rings[Kind.QUOTE].set_durable(SLOTS)
    rig.listener.settle()
    assert told[-1] == ("overflowed", Kind.QUOTE, 600 - SLOTS)


def bbo(instrument: str) -> bytes:
    data = f'{{"timestamp":1,"instrument_name":"{instrument}","best_bid_price":1.5,"best_bid_amount":2.0}}'
    return notification(f"quote.{instrument}", data)


def notification(channel: str, data: str) -> bytes:
    head = '{"jsonrpc":"2.0","method":"subscription","params":{"channel":'
    return f'{head}"{channel}","data":{data}}}}}'.encode()


def test_other_kinds_come_into_their_rings_and_are_heard_under_their_own_names(shm_dir: Path) -> None:
    rig = Rig(shm_dir, (Kind.BBO, Kind.INDEX, Kind.MARK))
    marks = '[{"timestamp":1,"instrument_name":"ETH-1"},{"timestamp":1,"instrument_name":"ETH-2"}]'
    price = notification("deribit_price_index.eth_usd", '{"timestamp":1,"price":2.5}')
    rig.play(text(bbo("ETH-1"), notification("markprice.options.eth_usd", marks), price, bbo("ETH-2")))
    assert rig.rings[Kind.BBO].read(1)["instrument"].tolist() == [b"ETH-1", b"ETH-2"]
    assert rig.rings[Kind.MARK].read(1)["price_index"].tolist() == [b"eth_usd"] * 2
    counters = rig.listener.counters()
    assert (counters["bbos"], counters["marks"], counters["indices"], counters["unknown"]) == (2, 2, 1, 0)
    heard = np.frombuffer(rig.listener.instruments, CONTINUITY)
    times = {row["instrument"].decode(): row for row in heard if row["instrument"]}
    assert set(times) == {"ETH-1", "ETH-2", "eth_usd", "price.eth_usd"}
    assert times["ETH-1"]["bbo_ns"] > 0 and times["eth_usd"]["mark_ns"] > 0 and times["price.eth_usd"]["index_ns"] > 0


def test_a_kind_without_a_ring_counts_as_unknown(shm_dir: Path) -> None:
    rig = Rig(shm_dir)
    rig.play(text(bbo("ETH-1"), quote("ETH-1"), notification("markprice.options.eth_usd", "[]")))
    counters = rig.listener.counters()
    assert (counters["unknown"], counters["bbos"], counters["quotes"], counters["lost_records"]) == (2, 0, 1, 0)


def test_a_full_ring_of_another_kind_loses_what_it_tells_and_goes_on(shm_dir: Path) -> None:
    """RING-2, FEED-1."""
    rig = Rig(shm_dir, (Kind.BBO,), full_wait_ms=20)
    told = rig.play(text(*[bbo("ETH-1")] * 600, quote("ETH-1")))
    assert told[1:-2] == [("overflow", Kind.BBO)]
    counters = rig.listener.counters()
    assert (counters["bbos"], counters["lost_records"], counters["quotes"]) == (SLOTS, 600 - SLOTS, 1)
    rig.rings[Kind.BBO].set_durable(SLOTS)
    rig.listener.settle()
    assert told[-1] == ("overflowed", Kind.BBO, 600 - SLOTS)
    rig.play(text(bbo("ETH-2")), conn=6)
    assert rig.listener.counters()["bbos"] == SLOTS + 1


def test_a_handler_that_fails_ends_the_connection_and_nothing_more_is_taken(shm_dir: Path) -> None:
    rig = Rig(shm_dir)
    rig.told.fail = True
    told = rig.play(text(quote("ETH-1"), REPLY, quote("ETH-2")))
    assert told == [("connected",), ("disconnected",)]
    assert rig.rings[Kind.QUOTE].read(1)["instrument"].tolist() == [b"ETH-1"]


def test_the_last_time_heard_of_each_instrument_can_be_read(shm_dir: Path) -> None:
    rig = Rig(shm_dir)
    table = np.frombuffer(rig.listener.instruments, CONTINUITY)
    assert not table.flags.writeable and len(table) == 1 << 14
    rig.play(text(quote("ETH-1"), book("ETH-1", 10), quote("ETH-2")))
    heard = {bytes(entry["instrument"]): entry for entry in table if entry["instrument"]}
    assert set(heard) == {b"ETH-1", b"ETH-2"}
    assert heard[b"ETH-1"]["change_id"] == 10 and heard[b"ETH-1"]["book_state"] == _native.BOOK_CHAINED
    assert heard[b"ETH-2"]["quote_ns"] > 0 and heard[b"ETH-2"]["book_ns"] == 0


def test_a_connection_epoch_only_grows_and_reaches_the_ring(shm_dir: Path) -> None:
    rig = Rig(shm_dir)
    rig.play(text(quote("ETH-1")), conn=5)
    rig.told.gone.clear()
    rig.play(text(quote("ETH-1")), conn=9)
    assert rig.rings[Kind.QUOTE].read(1)["conn"].tolist() == [5, 9]
    assert rig.rings[Kind.BOOK].identity().conn == 9
    with pytest.raises(ValueError, match="connection epoch 9 does not follow 9"):
        rig.listener.start(9)


def test_rings_of_the_wrong_kind_are_refused(shm_dir: Path) -> None:
    rings = Rig(shm_dir).rings
    with pytest.raises(ValueError, match="quotes, trades and books, in this order"):
        _native.FeedListener(Told(), rings[Kind.BOOK].native, rings[Kind.TRADE].native, rings[Kind.QUOTE].native)


def test_the_rings_stay_mapped_as_long_as_the_listener(shm_dir: Path) -> None:
    rig = Rig(shm_dir)
    for mapped in rig.rings.values():
        mapped.close()
    rig.rings.clear()
    rig.play(text(quote("ETH-1")))
    assert rig.listener.counters()["quotes"] == 1
