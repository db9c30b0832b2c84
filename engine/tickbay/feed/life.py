"""The life of one connection as a table: state and event → state and steps. session.py lives it. Pure."""

from __future__ import annotations

from enum import Enum, auto

from tickbay.record import FeedState


class Event(Enum):
    """What happens to a connection."""

    DUE = auto()  # it is time to connect
    CONNECTED = auto()
    LOST = auto()  # it could not be made, or ended
    FAULT = auto()  # it stands, but is of no use: silent, or the venue will not serve us
    SETTLED = auto()  # every channel is live or known to be refused
    RECONNECT = auto()  # we want a new one
    STOP = auto()


class Step(Enum):
    """What a session does on an event, in order."""

    CONNECT = auto()
    GREET = auto()  # ask for heartbeats; the subscriptions follow by themselves
    CLOSE = auto()
    OPEN_HOLE = auto()
    FORGET = auto()  # every request and every answer of this connection
    WAIT = auto()  # longer each time
    HURRY = auto()
    REJOICE = auto()


_END = (Step.OPEN_HOLE, Step.FORGET, Step.WAIT)
_GIVE_UP = (Step.CLOSE, *_END)
_AGAIN = (Step.CLOSE, Step.OPEN_HOLE, Step.FORGET, Step.HURRY)

# What is not listed cannot happen in that state, and would be our mistake.
TABLE: dict[tuple[FeedState, Event], tuple[FeedState, tuple[Step, ...]]] = {
    (FeedState.WAITING, Event.DUE): (FeedState.CONNECTING, (Step.CONNECT,)),
    (FeedState.WAITING, Event.LOST): (FeedState.WAITING, ()),  # the end of a connection that we gave up
    (FeedState.WAITING, Event.RECONNECT): (FeedState.WAITING, (Step.HURRY,)),
    (FeedState.WAITING, Event.STOP): (FeedState.STOPPING, ()),
    (FeedState.CONNECTING, Event.CONNECTED): (FeedState.SUBSCRIBING, (Step.GREET,)),
    (FeedState.CONNECTING, Event.LOST): (FeedState.WAITING, _END),
    (FeedState.CONNECTING, Event.RECONNECT): (FeedState.CONNECTING, ()),
    (FeedState.CONNECTING, Event.STOP): (FeedState.STOPPING, (Step.CLOSE,)),
    (FeedState.SUBSCRIBING, Event.SETTLED): (FeedState.LIVE, (Step.REJOICE,)),
    (FeedState.SUBSCRIBING, Event.LOST): (FeedState.WAITING, _END),
    (FeedState.SUBSCRIBING, Event.FAULT): (FeedState.WAITING, _GIVE_UP),
    (FeedState.SUBSCRIBING, Event.RECONNECT): (FeedState.WAITING, _AGAIN),
    (FeedState.SUBSCRIBING, Event.STOP): (FeedState.STOPPING, (Step.CLOSE,)),
    (FeedState.LIVE, Event.LOST): (FeedState.WAITING, _END),
    (FeedState.LIVE, Event.FAULT): (FeedState.WAITING, _GIVE_UP),
    (FeedState.LIVE, Event.RECONNECT): (FeedState.WAITING, _AGAIN),
    (FeedState.LIVE, Event.STOP): (FeedState.STOPPING, (Step.CLOSE,)),
    (FeedState.STOPPING, Event.CONNECTED): (FeedState.STOPPING, (Step.CLOSE,)),
    (FeedState.STOPPING, Event.LOST): (FeedState.STOPPING, ()),
    (FeedState.STOPPING, Event.RECONNECT): (FeedState.STOPPING, ()),
    (FeedState.STOPPING, Event.STOP): (FeedState.STOPPING, ()),
}
