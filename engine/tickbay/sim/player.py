"""What one client is sent: its channels' frames in order of time, with the misbehaviour that was asked for.

In: accepted subscriptions, and calls of pump(). Out: bytes into the Link, and their entries in the ledger.

A position (cycle, key) says that everything due before it has been sent; see venue.py.
"""

from __future__ import annotations

import asyncio
import bisect
import heapq
import math
from collections.abc import Iterable
from dataclasses import dataclass

import orjson

from tickbay.sim import ledger, rows
from tickbay.sim.faults import CONNECTION_ACTIONS, Fault
from tickbay.sim.link import Link
from tickbay.sim.strip import payload_of, websocket_frame
from tickbay.sim.tape import Tape
from tickbay.sim.venue import Channel, Message, Venue

SLICE_BYTES = 256 * 1024  # handed to the socket at once: some 400 frames
CLOSE_CODE_TOO_SLOW = 1008


@dataclass(slots=True)
class Live:
    """A channel that is being sent."""

    channel: Channel
    ahead: int  # cycles
    still_from: tuple[int, int] | None = None  # the position from which on it stands still


class Player:
    """Of the connection that was opened as number `number`."""

    def __init__(self, venue: Venue, link: Link, number: int) -> None:
        self.number = number
        self.frames_sent = 0
        self._venue, self._link = venue, link
        self._loop = asyncio.get_running_loop()
        self._live: dict[str, Live] = {}
        # Accepted but not begun, with the first ticker where that was sent already.
        self._pending: dict[str, Message | None] = {}
        self._settling: asyncio.TimerHandle | None = None
        self._pump_is_due = False
        self._tape = Tape(0, [], 0)
        self._cycle, self._key = venue.loop, venue.key
        self._held: list[tuple[int, int]] = []  # reordered, sorted: (send behind this frame of the tape, frame)
        self._late_s = 0.0
        self._recorded: list[int] = []  # heap: places in the capture that are still to be sent

    # --- channels -----------------------------------------------------------------------------------------------------

    @property
    def channels(self) -> int:
        """Of data."""
        return sum(bool(live.channel.kind) for live in self._live.values())

    @property
    def announcements(self) -> int:
        """Channels without data of an instrument."""
        return len(self._live) - self.channels

    @property
    def idle(self) -> bool:
        return not self._live and not self._pending

    @property
    def tape_frames(self) -> int:
        """Frames of one cycle."""
        return len(self._tape)

    def has(self, name: str) -> bool:
        return name in self._live or name in self._pending

    def names(self) -> list[str]:
        return [*self._live, *self._pending]

    def add(self, names: list[str], repeated: int) -> None:
        """Begin these channels soon; those that are there already go on as they were. Of the first `repeated` tickers
        the first frame is sent at once, so before the reply, and once more when they begin."""
        for name in names:
            if name not in self._live and name not in self._pending:
                self._pending[name] = None
        if not self._venue.capture:
            for name in [name for name in names if name in self._pending and name.startswith("ticker.")][:repeated]:
                self._pending[name] = self._pending[name] or self._first(name)
        # The tape is made anew once nothing more has come for a while, not at every call.
        if self._settling:
            self._settling.cancel()
        self._settling = self._loop.call_later(self._venue.settings.settle_s, self._begin)

    def remove(self, names: list[str]) -> list[str]:
        """End channels at once; returns those that were there."""
        gone = [name for name in dict.fromkeys(names) if name in self._live or name in self._pending]
        for name in gone:
            self._pending.pop(name, None)
            self._leave(name)
        self._make_tape()
        return gone

    def relist(self) -> None:
        """Instruments were listed or have expired: look up again what the channels stand for."""
        for name in list(self._live):
            channel = self._venue.channel(name)
            if channel is None:
                self._leave(name)
            else:
                self._live[name].channel = channel
        self._make_tape()

    def send_last_ticker(self, instrument: str) -> None:
        """The instrument is delivered: say so on the ticker channels that have it."""
        for name, live in self._live.items():
            if live.channel.kind == rows.QUOTE and live.channel.instruments[0].name == instrument:
                clock_ms = self._venue.clock_ms()
                loop = self._cycle + live.ahead
                self._send_message(self._venue.last_ticker(live.channel.instruments[0], name, loop, clock_ms))

    def stop(self) -> None:
        """Forget everything: the connection ends."""
        if self._settling:
            self._settling.cancel()
        for name in list(self._live):
            self._leave(name)
        self._pending.clear()
        self._held.clear()
        self._recorded.clear()
        self._tape = Tape(0, [], 0)

    def _leave(self, name: str) -> None:
        live = self._live.pop(name, None)
        if live:
            self._venue.leave(name, self._cycle + live.ahead, self._key)

    def _begin(self) -> None:
        self._settling = None
        if not self._link.up:
            return
        pending, self._pending = self._pending, {}
        if not self._live and not self._venue.settings.flat_out:
            self._cycle, self._key = self._venue.due(self._late_s)
        for name, sent in pending.items():
            channel = self._venue.channel(name)
            if channel is None:  # expired meanwhile
                continue
            if self._venue.capture:
                for place in self._venue.capture.by_channel.get(name, ()):
                    heapq.heappush(self._recorded, place)
            elif sent and not self._venue.stopped:
                self._send_message(sent)
            else:
                self._first(name)
            self._live[name] = Live(channel, self._venue.ahead(name, self._cycle, self._key))
        self._make_tape()

    def _first(self, name: str) -> Message | None:
        """Send the message with which a channel begins, unless data have ended."""
        if self._venue.stopped:
            return None
        channel = self._venue.channel(name)
        assert channel is not None, "only channels that the venue has are accepted"
        cycle = self._cycle + self._venue.ahead(name, self._cycle, self._key)
        message = self._venue.first_message(channel, cycle, self._key, self._venue.clock_ms())
        if message:
            self._send_message(message)
        return message

    def _make_tape(self) -> None:
        self._release_held()
        self._catch_up()
        self._tape = self._tape_of(live for live in self._live.values() if live.still_from is None)
        self.pump()

    def _tape_of(self, channels: Iterable[Live]) -> Tape:
        strips = [
            (self._venue.strip(live.channel), live.ahead)
            for live in channels
            if live.channel.kind and not self._venue.capture
        ]
        tape = Tape(self._venue.next_tape(), strips, self._venue.cycle_ms)
        self._venue.ledger.add_tape(tape)
        return tape

    def _catch_up(self) -> None:
        """Channels whose index stands still from now on wait. Those that may go on are sent what they waited with, all
        at once; nothing of them is lost. Paced data only."""
        here = (self._cycle, self._key)
        waited: dict[tuple[int, int], list[Live]] = {}
        for live in self._live.values():
            still = not self._venue.settings.flat_out and self._venue.stands_still(live.channel)
            if still and live.still_from is None:
                live.still_from = here
            elif not still and live.still_from is not None:
                waited.setdefault(live.still_from, []).append(live)
                live.still_from = None
        for (cycle, key), channels in sorted(waited.items(), key=lambda each: each[0]):
            self._tape = self._tape_of(channels)
            for self._cycle in range(cycle, here[0] + 1):
                end = self._tape.position(here[1]) if self._cycle == here[0] else len(self._tape)
                first = self._tape.position(key) if self._cycle == cycle else 0
                while first < end:
                    until = min(end, self._tape.end_of_slice(first, SLICE_BYTES))
                    self._send_frames(first, until)
                    first = until
        self._cycle, self._key = here

    # --- playing ------------------------------------------------------------------------------------------------------

    def pump(self) -> None:
        """Send what is due, as long as the client takes it. Flat out everything is due, but the other connections'
        slices come before our next one."""
        if not self._may_send():
            return
        if self._venue.capture:
            self._play_recorded()
        elif self._venue.settings.flat_out:
            self._play(len(self._tape))
            if len(self._tape) and not self._pump_is_due:
                self._pump_is_due = True
                self._loop.call_soon(self._pump_again)
        else:
            self._play_due()

    def _pump_again(self) -> None:
        self._pump_is_due = False
        self.pump()

    def _may_send(self) -> bool:
        return self._venue.running and self._venue.frames_left > 0 and self._link.free

    def _play_due(self) -> None:
        """Paced: up to the venue's time, whole cycles included if we fell behind."""
        due_cycle, due_key = self._venue.due(self._late_s)
        while (self._cycle, self._key) < (due_cycle, due_key) and self._may_send():
            behind = self._cycle < due_cycle
            last = len(self._tape) if behind else self._tape.position(due_key)
            if self._tape.position(self._key) < last:
                self._play(last)
            elif behind:
                self._cycle, self._key = self._cycle + 1, 0
            else:
                self._key = due_key

    def _play(self, last: int) -> None:
        """One slice of the tape, not beyond frame `last`."""
        first = self._tape.position(self._key)
        if first >= last:
            return
        end = min(last, self._tape.end_of_slice(first, SLICE_BYTES), first + self._venue.frames_left)
        if self._held:
            end = min(end, self._held[0][0] + 1)
        end, fault = self._before_fault(first, end)
        if end > first:
            self._send_frames(first, end)
        elif fault and fault.action in CONNECTION_ACTIONS:
            self.misbehave(fault)
        elif fault:
            end = self._misbehave_with(fault, first)
        if len(self._tape):  # the connection may have ended
            self._release_held(end)
            self._move(end)

    def _move(self, frame: int) -> None:
        """Everything before `frame` of the tape is dealt with."""
        if frame < len(self._tape):
            self._key = int(self._tape.key[frame])
        elif self._venue.settings.flat_out:
            self._cycle, self._key = self._cycle + 1, 0
        else:
            self._key = int(self._tape.key[-1]) + 1
        self._venue.reached(self._cycle, self._key)

    def _send_frames(self, first: int, end: int, clock_ms: int = 0) -> None:
        clock_ms = clock_ms or self._venue.clock_ms()
        self._link.write(self._tape.render(first, end, self._cycle, clock_ms))
        self._log(ledger.RUN, self._tape.number, first, end - first, self._cycle, clock_ms)
        self._venue.print_trades(self._tape, first, end, self._cycle, clock_ms)
        self._count(end - first)

    def _send_message(self, message: Message) -> None:
        self._link.write(message.frame)
        self._log(ledger.MESSAGE, message.kind, message.first_row, message.row_count, message.loop, message.clock_ms)
        self._count(1)

    def _count(self, frames: int) -> None:
        self.frames_sent += frames
        self._venue.frames_sent += frames

    def _log(self, what: int, source: int, first: int, count: int, loop: int, clock_ms: int) -> None:
        self._venue.ledger.add(self.number, what, source, first, count, loop, clock_ms)

    def _play_recorded(self) -> None:
        """A capture: the next messages in recorded order, at the asked rate or all at once."""
        capture = self._venue.capture
        assert capture
        while self._recorded and self._may_send() and self._venue.take_recorded():
            recorded = capture.messages[heapq.heappop(self._recorded)]
            if recorded.channel in self._live:
                first_row = self._venue.ledger.store(recorded.kind, recorded.values)
                self._send_message(Message(recorded.frame, recorded.kind, first_row, len(recorded.values), 0, 0))

    # --- misbehaviour -------------------------------------------------------------------------------------------------

    def _before_fault(self, first: int, end: int) -> tuple[int, Fault | None]:
        """How far the slice may go before a fault that was asked for, and the fault if that is at its very
        beginning."""
        found: Fault | None = None
        for fault in self._venue.faults:
            if fault.connection not in (0, self.number) or self._venue.seconds() < fault.at:
                continue
            earliest = first + max(0, fault.after - self.frames_sent)
            if fault.action in CONNECTION_ACTIONS and earliest < end:
                end, found = earliest, fault
            elif fault.of_frame:
                for frame in range(earliest, end):
                    if fault.covers(self._tape.channels[self._tape.channel[frame]]):
                        end, found = frame, fault
                        break
        return end, found

    def _misbehave_with(self, fault: Fault, frame: int) -> int:
        """Do to one frame what was asked; returns the frame to go on with."""
        if fault.action == "reorder":
            same = (self._tape.channel[frame + 1 :] == self._tape.channel[frame]).nonzero()[0]
            if not len(same):  # its next frame is in the next cycle: ask again there
                self._send_frames(frame, frame + 1)
                return frame + 1
            bisect.insort(self._held, (frame + 1 + int(same[0]), frame))
        elif fault.action == "duplicate":
            clock_ms = self._venue.clock_ms()  # once: a duplicate has the same bytes
            self._send_frames(frame, frame + 1, clock_ms)
            self._send_frames(frame, frame + 1, clock_ms)
        elif fault.action == "older":
            self._send_frames(frame, frame + 1, self._venue.clock_ms() - round(fault.seconds * 1000))
        elif fault.action == "hollow":
            self._send_hollow(frame)
        else:
            self._spoil(fault.action, frame)
        channel = self._tape.channels[self._tape.channel[frame]]
        message = self.frames_sent  # the number of the next one that can be read
        self._venue.ledger.event(fault.action, connection=self.number, channel=channel, message=message)
        self._venue.used(fault)
        return frame + 1

    def _spoil(self, action: str, frame: int) -> None:
        """A frame that nobody will be able to read, or that is not sent at all."""
        clock_ms = self._venue.clock_ms()
        if action != "drop":
            payload = payload_of(self._tape.render(frame, frame + 1, self._cycle, clock_ms))
            half = payload[: len(payload) // 2]
            spoilt = half + b"}\x00{#" + payload[len(half) + 4 :] if action == "malformed" else half
            self._link.write(websocket_frame(spoilt))
        entry = self._tape.frames[frame]
        what = ledger.DROPPED if action == "drop" else ledger.MALFORMED
        cycle = self._cycle + int(entry["ahead"])
        self._log(what, int(entry["kind"]), int(entry["first_row"]), int(entry["row_count"]), cycle, clock_ms)
        self._venue.print_trades(self._tape, frame, frame + 1, self._cycle, clock_ms)

    def _send_hollow(self, frame: int) -> None:
        """A book's change as if nothing had changed. The ledger has it as it is sent: nothing of it is missing."""
        clock_ms, entry = self._venue.clock_ms(), self._tape.frames[frame]
        message = orjson.loads(payload_of(self._tape.render(frame, frame + 1, self._cycle, clock_ms)))
        message["params"]["data"] |= {"bids": [], "asks": []}
        channel = self._venue.channel(self._tape.channels[self._tape.channel[frame]])
        assert channel is not None, "it is being sent"
        first_of_all = int(self._venue.strip(channel).first_row.min())
        place = int(entry["first_row"]) - first_of_all
        row = self._venue.script(channel.instruments[0]).changes[place : place + 1].copy()
        row["price"] = row["amount"] = math.nan
        row["side"], row["action"], row["last"] = 0, 0, 1
        first_row, cycle = self._venue.ledger.store(rows.BOOK, row), self._cycle + int(entry["ahead"])
        text = websocket_frame(orjson.dumps(message))
        self._send_message(Message(text, rows.BOOK, first_row, 1, cycle, clock_ms))

    def _release_held(self, end: int = 1 << 62) -> None:
        """Send what was to follow a frame before `end`."""
        while self._held and self._held[0][0] < end:
            _, frame = self._held.pop(0)
            self._send_frames(frame, frame + 1)

    def misbehave(self, fault: Fault) -> None:
        """What a whole connection can be asked for."""
        self._venue.ledger.event(fault.action, connection=self.number)
        self._venue.used(fault)
        if fault.action == "oversized":
            self._send_oversized(fault.bytes)
        elif fault.action == "stall":
            self._link.stall(fault.seconds)
        elif fault.action == "late":
            self._late_s = fault.seconds
        elif fault.action == "half_open":
            self._link.freeze()
        elif fault.action == "kill":
            self.stop()
            self._link.kill("killed")
        elif fault.action == "close":
            self.stop()
            self._link.close(fault.code, fault.reason)
        else:
            assert fault.action == "too_slow"
            self.stop()
            self._link.close(CLOSE_CODE_TOO_SLOW, "connection_too_slow")

    def _send_oversized(self, size: int) -> None:
        head = b'{"jsonrpc":"2.0","method":"subscription","params":{"channel":"announcements","data":"'
        tail = b'"}}'
        self._link.write(websocket_frame(head + b"x" * max(0, size - len(head) - len(tail)) + tail))
