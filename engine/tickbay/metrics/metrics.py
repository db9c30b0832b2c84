"""METRICS: what the engine does, for Prometheus (metrics.port), whether it is well (health.port), and both for a person
(web.port). The process `metrics`.

In: run/health, the rings' headers, the cursors, as `tickbay status` reads them, when it is asked. Out: HTTP. It holds
nothing that another process waits for, so whatever befalls it, capture goes on; the supervisor replaces it, and waits
for it in nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tickbay.config import Config, HealthPort, Metrics, Web
from tickbay.events import Event
from tickbay.metrics.answer import Page, health_pages, metrics_pages
from tickbay.metrics.server import Server
from tickbay.process import ProcessContext
from tickbay.web.api import web_pages

BEAT_S = 0.5
RETRY_BEATS = 10  # a port that is taken is tried again so often

Endpoint = Metrics | HealthPort | Web


@dataclass(slots=True)
class Door:
    """One of the ports."""

    name: str  # of its table in the configuration
    settings: Endpoint
    pages: Mapping[str, Page]
    server: Server | None = None
    complaint: str = ""  # why it does not listen

    def open(self) -> None:
        settings = self.settings
        try:
            self.server = Server(settings.host, settings.port, self.pages, settings.hosts)
            self.complaint = ""
        except OSError as error:
            why = error.strerror or str(error)
            self.complaint = f"{settings.host}:{settings.port}: {why}: free it, or set {self.name}.port or .host"


def run(context: ProcessContext) -> None:
    """Serve until told to stop. A port that cannot be had is reported and tried again: no reason to end."""
    doors = _doors(context.config)
    beats = 0
    while not context.stopping.is_set():
        for door in doors:
            if door.server is None and beats % RETRY_BEATS == 0:
                door.open()
                if door.complaint:
                    context.events.emit(Event.PORT_TAKEN, error=door.complaint)
            if door.server is not None:
                door.server.end_overdue()
                if door.server.failure is not None:
                    raise door.server.failure
        _report(doors, context)
        beats += 1
        context.stopping.wait(BEAT_S)


def _doors(config: Config) -> list[Door]:
    wanted: tuple[tuple[str, Endpoint, Callable[[Config], dict[str, Page]]], ...] = (
        ("metrics", config.metrics, metrics_pages),
        ("health", config.health, health_pages),
        ("web", config.web, web_pages),
    )
    return [Door(name, settings, pages(config)) for name, settings, pages in wanted if settings.enabled]


def _report(doors: list[Door], context: ProcessContext) -> None:
    health = context.health
    health.gauges = {f"{door.name}_port": float(door.server.port) for door in doors if door.server is not None}
    complaints = "; ".join(door.complaint for door in doors if door.complaint)
    if not context.stopping.is_set():
        health.state, health.detail = ("degraded", complaints) if complaints else ("live", "")
    health.beat()
