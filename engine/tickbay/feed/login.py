"""The login of one connection, for which the venue gives unthrottled channels: asked for before anything else, renewed
before it ends, asked for again when it fails. Pure; session.py says what happened and when.

LOGIN-1: a key that the venue refuses is not tried again by this process: too many tries lock the account.
LOGIN-2: no secret leaves here but inside a request.
"""

from __future__ import annotations

from enum import Enum, auto

from tickbay import config
from tickbay.events import Event
from tickbay.feed.action import NS_PER_S, Moment, Outbox
from tickbay.feed.backoff import Backoff
from tickbay.feed.request import Ask, Requests
from tickbay.venues.venue import Grant, Venue

RENEW_AT = 0.8  # of a token's life: the rest is for trying again
RENEWALS_MAX = 2  # logins in a row that the venue forgot at once: then it is as if it had refused


class Standing(Enum):
    ANONYMOUS = auto()  # there is no key
    OUT = auto()  # not logged in; to be tried, or tried again
    ASKED = auto()  # the channels wait for the answer
    IN = auto()
    DENIED = auto()  # the venue does not know the key


class Login:
    def __init__(
        self, venue: Venue, limits: config.Venue, *, requests: Requests, backoff: Backoff, outbox: Outbox
    ) -> None:
        self.standing = Standing.OUT if limits.api_key else Standing.ANONYMOUS
        self.failures = 0  # in a row
        self.reason = ""  # why we are not logged in
        self._venue = venue
        self._key, self._secret = limits.api_key, limits.api_secret
        self._requests = requests
        self._backoff = backoff
        self._outbox = outbox
        self._token = ""  # to renew with
        self._renewing = False
        self._again = False  # the try under way is not the first
        self._renewals = 0  # in a row, because the venue had forgotten us
        self._due_ns = 0  # mono: to be renewed, or tried again

    @property
    def undecided(self) -> bool:
        """Must the channels wait? Not for one more try: they are throttled ones by then."""
        return self.standing is Standing.ASKED and not self._again

    @property
    def possible(self) -> bool:
        """Is there a key that the venue may take?"""
        return self.standing not in (Standing.ANONYMOUS, Standing.DENIED)

    def begin(self, at: Moment, *, again: bool = False) -> None:
        """A new connection, or one more try: with the key."""
        if self.possible:
            self._again = again
            self.standing = Standing.ASKED
            self._token, self._renewing = "", False
            self._requests.send(Ask.LOGIN, lambda id: self._venue.ask_login(id, self._key, self._secret), at)

    def forget(self) -> None:
        """The connection is gone, and its login with it."""
        self._renewals = 0
        if self.possible:
            self.standing = Standing.OUT
            self._due_ns = 0

    def watch(self, at: Moment) -> None:
        """To be called while connected."""
        if not 0 < self._due_ns <= at.mono_ns:
            return
        self._due_ns = 0
        if self.standing is Standing.OUT:
            self.begin(at, again=True)
        elif self.standing is Standing.IN and self._token:
            token = self._token
            self._renewing = True
            self._requests.send(Ask.LOGIN, lambda id: self._venue.ask_renewal(id, token), at)

    def granted(self, grant: Grant, at: Moment) -> None:
        if not self._renewing:
            self._outbox.tell(Event.LOGGED_IN, expires_s=grant.expires_s)
        self.standing = Standing.IN
        self.failures, self.reason = 0, ""
        self._token, self._renewing = grant.renewal, False
        self._due_ns = at.mono_ns + int(grant.expires_s * RENEW_AT * NS_PER_S)

    def denied(self, detail: str, at: Moment) -> None:
        """LOGIN-1. A token that is not taken is another thing: the key may still be."""
        if self._renewing:
            self.begin(at)
            return
        self.standing = Standing.DENIED
        self.reason = detail
        self._outbox.tell(Event.LOGIN_DENIED, reason=detail)

    def failed(self, detail: str, at: Moment) -> None:
        """No answer, or one that may be another one later."""
        if self._renewing:
            self.begin(at)
            return
        self.standing = Standing.OUT
        self.reason = detail
        wait_ns = self._backoff.wait_ns(self.failures)
        self.failures += 1
        self._due_ns = at.mono_ns + wait_ns
        self._outbox.tell(Event.LOGIN_FAILED, reason=detail, wait_s=round(wait_ns / NS_PER_S, 3))

    def forgotten(self, at: Moment) -> bool:
        """The venue takes us for a stranger: log in again. False where that has not helped, or cannot."""
        if self.standing is not Standing.IN or self._renewals >= RENEWALS_MAX:
            return False
        self._renewals += 1
        self.begin(at)
        return True

    def well(self) -> None:
        """A channel that needs the login is live."""
        self._renewals = 0
