"""The screen of `tickbay top`: tabs of tables, driven by keys, refreshed each second.

In: what `tickbay status` reads, the rings, the files of events. Out: a terminal. It is a reader: nobody waits for it,
and killing it changes nothing. Where no engine runs it says so and waits.
"""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Footer, Input, Static, TabbedContent, TabPane

from tickbay.config import Config
from tickbay.health import read_reports
from tickbay.status.snapshot import collect
from tickbay.terminal import printable
from tickbay.top.gaps import Gaps
from tickbay.top.instruments import Instruments
from tickbay.top.logs import Logs
from tickbay.top.overview import overview, verdict_line
from tickbay.top.panel import Panel
from tickbay.top.processes import Processes
from tickbay.top.table import Table

REFRESH_S = 1.0
HELP = """\
 1 … 5        Overview, Processes, Instruments, Gaps, Logs
 [ and ]      the tab before, the next one

 ↑ ↓ PgUp PgDn Home End   move;  also j k g G
 ← →          what is too wide for the screen
 Enter        all that is known of the line
 /            filter by text; Enter takes it, Esc drops it
 o            only what needs attention: not live, stale, open
              or missing, warnings and errors
 s  r         sort by the next column, the other way round
 p            pause: the screen stands still, capture goes on

 ?  q         this page, quit (also Ctrl-C)

A stale instrument (no quote for 10 s) has a ! at its age.
tickbay top only reads: the engine does not notice it.
"""


class Page(ModalScreen[None]):
    """Some text over the rest, until a key."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,enter,question_mark", "app.pop_screen", "Close")]
    DEFAULT_CSS = """
    Page { align: center middle; }
    Page > Vertical { width: 66; max-width: 100%; height: auto; max-height: 100%;
      padding: 0 1; border: round $primary; }
    Page > Vertical > VerticalScroll { height: auto; max-height: 100%; }
    """

    def __init__(self, title: str, text: Text) -> None:
        super().__init__()
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with Vertical() as box:
            box.border_title = printable(self._title)
            box.border_subtitle = "Esc: close"
            with VerticalScroll():
                yield Static(self._text)


class Top(App[None]):
    """`look`: how to learn the status; for tests."""

    ENABLE_COMMAND_PALETTE = False
    TITLE = "tickbay"
    CSS = """
    #verdict, #told { height: 1; text-wrap: nowrap; text-overflow: ellipsis; }
    #verdict { background: $surface; }
    #told { color: $text-muted; }
    #filter { display: none; height: 1; border: none; padding: 0 1; background: $surface; }
    #filter.shown { display: block; }
    TabbedContent { height: 1fr; }
    TabPane { padding: 0; }
    #overview { padding: 0 1; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        *(Binding(str(number), f"tab({number - 1})", show=False) for number in range(1, 6)),
        Binding("left_square_bracket", "step(-1)", show=False),
        Binding("right_square_bracket", "step(1)", show=False),
        Binding("slash", "filter", "Filter", key_display="/"),
        Binding("escape", "unfilter", show=False),
        Binding("o", "only", "Only trouble"),
        Binding("s", "sort", "Sort"),
        Binding("r", "reverse", "Reverse"),
        Binding("p", "pause", "Pause"),
        Binding("question_mark", "help", "Help", key_display="?"),
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, config: Config) -> None:
        super().__init__()
        self._config = config
        self._panels: dict[str, Panel] = {
            panel.name.lower(): panel for panel in (Processes(config), Instruments(config), Gaps(config), Logs(config))
        }
        self._paused = False
        # Held, not looked up: a refresh may come while the screen is taken down, when nothing is found any more.
        self._verdict, self._told = Static(id="verdict"), Static(id="told")
        self._tabs = TabbedContent(initial="overview-tab")
        self._overview, self._scroll = Static(id="overview"), VerticalScroll(id="scroll")
        self._tables = {name: Table(panel.columns, panel.cells, id=name) for name, panel in self._panels.items()}
        self._filter = Input(id="filter", placeholder="filter", max_length=64, compact=True)

    def compose(self) -> ComposeResult:
        yield self._verdict
        with self._tabs:
            with TabPane("1 Overview", id="overview-tab"), self._scroll:
                yield self._overview
            for number, (name, panel) in enumerate(self._panels.items(), start=2):
                with TabPane(f"{number} {panel.name}", id=f"{name}-tab"):
                    yield self._tables[name]
        yield self._told
        yield self._filter
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        self.theme = "textual-dark"
        self.set_interval(REFRESH_S, self._tick)
        self._tick()
        self._scroll.focus()

    def _tick(self) -> None:
        if not self._paused:
            self._look()

    def _look(self) -> None:
        """Read the engine, and show what is on the tab that is seen."""
        status = collect(self._config)
        self._verdict.update(verdict_line(status))
        panel = self._panel()
        if panel is None:
            self._overview.update(overview(status, read_reports(self._config.run_dir)))
            self._tell("")
        else:
            panel.look(status)
            self._show(panel)

    def _panel(self) -> Panel | None:
        """Of the tab that is seen; None of the overview."""
        return self._panels.get(self._tabs.active.removesuffix("-tab"))

    def _show(self, panel: Panel) -> None:
        table = self._tables[panel.name.lower()]
        table.show(len(panel), order=panel.order, descending=panel.descending)
        parts = [f"filter: {panel.text}"] if panel.text else []
        if panel.only:
            parts.append(f"only {panel.attention}")
        parts += [panel.summary(), *(["← → more columns"] if table.is_cut else [])]
        self._tell("; ".join(parts))

    def _tell(self, sentence: str) -> None:
        paused = "PAUSED  " if self._paused else ""
        self._told.update(Text(f" {paused}{printable(sentence)}"))

    # -------- what the keys do

    def action_tab(self, number: int) -> None:
        self._tabs.active = self._tab_names()[number]

    def action_step(self, by: int) -> None:
        tabs = self._tab_names()
        self.action_tab((tabs.index(self._tabs.active) + by) % len(tabs))

    def _tab_names(self) -> list[str]:
        return ["overview-tab", *(f"{name}-tab" for name in self._panels)]

    def on_tabbed_content_tab_activated(self) -> None:
        self._close_filter()
        self._focus()
        self._look()

    def _focus(self) -> None:
        """Keys go to what is seen."""
        panel = self._panel()
        (self._scroll if panel is None else self._tables[panel.name.lower()]).focus()

    def action_filter(self) -> None:
        if (panel := self._panel()) is not None:
            self._filter.value = panel.text
            self._filter.add_class("shown")
            self._filter.focus()

    def action_unfilter(self) -> None:
        if (panel := self._panel()) is not None:
            panel.text, panel.only = "", False
            self._close_filter()
            self._look()

    def on_input_changed(self, event: Input.Changed) -> None:
        if (panel := self._panel()) is not None and event.input.has_class("shown"):
            panel.text = event.value
            self._look()

    def on_input_submitted(self) -> None:
        self._close_filter()

    def _close_filter(self) -> None:
        if self._filter.has_class("shown"):
            self._filter.remove_class("shown")
            self._focus()

    def action_only(self) -> None:
        if (panel := self._panel()) is not None:
            panel.only = not panel.only
            self._look()

    def action_sort(self) -> None:
        if (panel := self._panel()) is not None:
            panel.sort_next()
            self._look()

    def action_reverse(self) -> None:
        if (panel := self._panel()) is not None and panel.order:
            panel.sort(panel.order)
            self._look()

    def on_table_head_clicked(self, event: Table.HeadClicked) -> None:
        if (panel := self._panel()) is not None and event.column.order:
            panel.sort(event.column.order)
            self._look()

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._look()

    def on_table_opened(self, event: Table.Opened) -> None:
        if (panel := self._panel()) is not None and event.row < len(panel):
            found = panel.detail(event.row)
            width = max(map(len, found))
            lines = [Text.assemble((f"{name:>{width}}  ", "dim"), printable(text)) for name, text in found.items()]
            self.push_screen(Page(panel.name, Text("\n").join(lines)))

    def action_help(self) -> None:
        self.push_screen(Page("Keys", Text(HELP)))
