"""A venue to record from without the venue: `tickbay sim`.

Read in this order; each file is one noun:

    instruments.py   what is listed
    market.py        the values: one cycle of quotes, books and trades of one instrument
    rows.py          those values, as the ledger has them
    frames.py        values → JSON, spelled as the venue spells it
    strip.py         one channel's frames of one cycle
    tape.py          one connection's strips in order of time, ready to send
    ledger.py        what was sent, for the audit
    capture.py       recorded frames instead of made ones
    faults.py        misbehaviour on request
    venue.py         the state that connections share
    link.py          one client's socket
    player.py        what one client is sent
    rpc.py           the methods that answer at once, over either transport
    connection.py    one client's requests and heartbeats
    rest.py          the same venue over HTTP, and its controls
    server.py        ports and clock
    cli.py           `tickbay sim`

The market repeats: each instrument has one cycle of values, and what grows for ever (times, change ids, trade numbers)
is a linear function of the cycle's number. So any frame of any moment can be had without playing up to it, the frames
of a cycle are made once and only their digits are patched, and the ledger of a million frames is a few lines.
"""
