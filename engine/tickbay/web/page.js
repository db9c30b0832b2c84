"use strict";
// Everything from the API is put into the page as text (textContent), never as HTML: names are the venue's.
const REFRESH_MS = 2000, PAGE = 100, NOTHING = "–";
const at = (id) => document.getElementById(id);
const view = { sort: "instrument", descending: false, offset: 0, matching: 0, processes: new Map() };

const number = (value, digits = 0) => value === null || value === undefined ? NOTHING
  : value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const price = (value) => value === null ? NOTHING
  : value.toLocaleString("en-US", { maximumSignificantDigits: Math.abs(value) < 1000 ? 5 : 9 });
const megabytes = (value) => value === null ? NOTHING : `${number(value / 1e6)} MB`;
const bytes = (value) => value === null ? NOTHING : value < 1e9 ? `${number(value / 1e6)} MB` : `${number(value / 1e9, 1)} GB`;
function duration(seconds) {
  if (seconds === null || seconds === undefined) return NOTHING;
  if (seconds < 60) return `${number(seconds, 1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  if (seconds < 172800) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;
}

function element(name, text, classes) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (classes) made.className = classes;
  return made;
}

// columns: [heading, classes, (item) => text or [text, classes], order to sort by]
function fill(table, columns, items, classes = () => "") {
  const head = element("tr");
  for (const [heading, kind, , order] of columns) {
    const cell = element("th", order ? undefined : heading, kind);
    if (order) {
      const arrow = view.sort === order ? (view.descending ? " ▼" : " ▲") : "";
      const button = element("button", heading + arrow);
      button.type = "button";
      button.dataset.order = order;
      cell.append(button);
    }
    head.append(cell);
  }
  const rows = items.map((item) => {
    const row = element("tr", undefined, classes(item));
    for (const [, kind, text] of columns) {
      const found = text(item);
      row.append(Array.isArray(found) ? element("td", found[0], `${kind} ${found[1]}`) : element("td", found, kind));
    }
    return row;
  });
  if (!rows.length) {
    const cell = element("td", "none", "dim");
    cell.colSpan = columns.length;
    rows.push(element("tr"));
    rows[0].append(cell);
  }
  const focused = document.activeElement?.dataset?.order;
  const thead = element("thead"), tbody = element("tbody");
  thead.append(head);
  tbody.append(...rows);
  table.replaceChildren(thead, tbody);
  if (focused && table === at("instruments")) table.querySelector(`button[data-order="${focused}"]`)?.focus();
}

const STATES = { live: "good", down: "bad", hung: "bad", failed: "bad" };
const PROCESSES = [
  ["Process", "", (p) => p.name],
  ["State", "", (p) => [p.state, STATES[p.state] ?? "warn"]],
  ["PID", "n", (p) => p.pid ?? NOTHING],
  ["Up", "n", (p) => duration(p.uptime_s)],
  ["Restarts", "n", (p) => [number(p.restarts), p.restarts ? "warn" : ""]],
  ["Frames/s", "n", (p) => number(p.frames_per_s)],
  ["Rows/s", "n", (p) => number(p.rows_per_s)],
  ["Ring", "n", (p) => p.ring_fill === null ? NOTHING : `${number(p.ring_fill * 100, 1)} %`],
  ["Lag, rows", "n", (p) => number(p.lag_rows)],
  ["Lag", "n", (p) => duration(p.lag_s)],
  ["Gaps", "n", (p) => number(p.gaps)],
  ["Memory", "n", (p) => megabytes(p.memory_bytes)],
  ["CPU", "n", (p) => p.cpu === undefined ? NOTHING : `${number(p.cpu, 1)} %`],
  ["Detail or last error", "wide", (p) => p.detail || (p.last_error ? `${duration(p.last_error_s)} ago: ${p.last_error}` : "")],
];
const GAPS = [
  ["State", "", (g) => [g.state, { open: "bad", missing: "warn", healed: "good" }[g.state] ?? ""]],
  ["From (UTC)", "", (g) => g.from ? g.from.slice(0, 23).replace("T", " ") : "unknown"],
  ["Lasted", "n", (g) => g.seconds === null ? "lasts" : duration(g.seconds)],
  ["Cause", "", (g) => g.cause],
  ["Feed", "", (g) => g.feed],
  ["Kind", "", (g) => g.kind ?? "all"],
  ["Instrument", "", (g) => g.instrument ?? "all"],
  ["Missing", "n", (g) => number(g.count)],
  ["Detail", "wide", (g) => g.detail],
];
const INSTRUMENTS = [
  ["Instrument", "", (i) => i.instrument, "instrument"],
  ["Bid", "n", (i) => price(i.bid_price), "bid_price"],
  ["Ask", "n", (i) => price(i.ask_price), "ask_price"],
  ["Mark", "n", (i) => price(i.mark_price), "mark_price"],
  ["IV %", "n", (i) => number(i.mark_iv, 2), "mark_iv"],
  ["Delta", "n", (i) => number(i.delta, 3), "delta"],
  ["Underlying", "n", (i) => number(i.underlying_price, 2), "underlying_price"],
  ["Open interest", "n", (i) => number(i.open_interest), "open_interest"],
  ["Age", "n", (i) => i.stale ? [i.age_s === null ? "no quote yet" : `${duration(i.age_s)} stale`, "warn"] : duration(i.age_s), "age_s"],
];

function showHealth(health) {
  const totals = health.totals;
  at("version").textContent = health.version;
  at("verdict").textContent = health.verdict.toUpperCase();
  at("verdict").className = `verdict ${health.verdict}`;
  at("time").textContent = `${health.time.slice(0, 19).replace("T", " ")} UTC`;
  at("reasons").replaceChildren(...health.reasons.map((reason) => element("li", reason)));
  document.title = `${health.verdict === "healthy" ? "" : "! "}tickbay ${health.verdict}`;
  const stored = health.stages.filter((stage) => stage.stage === "receive_to_commit" && stage.p99_ms !== null);
  const figures = [
    [number(totals.frames_per_s), "frames a second"],
    [number(totals.rows_per_s), "rows a second"],
    [number(totals.instruments), "instruments"],
    [number(totals.gaps), "gaps since the processes started"],
    [bytes(totals.journal_bytes), `journal; ${bytes(totals.journal_free_bytes)} free on its disk`],
    [totals.hold_hours === null ? NOTHING : duration(totals.hold_hours * 3600), "of database outage it can hold"],
    ...stored.map((stage) => [`${number(stage.p99_ms)} ms`, `p99 until stored in ${stage.subject}`]),
    [health.clock ? `${number(health.clock.offset_ms, 1)} ms` : NOTHING, "venue's clock less ours"],
  ];
  at("figures").replaceChildren(...figures.map(([figure, what]) => {
    const box = element("div");
    box.append(element("b", figure), element("span", what));
    return box;
  }));
}

function showProcesses(found) {
  const now = Date.parse(found.time) / 1000;
  for (const process of found.processes) {
    const before = view.processes.get(process.name);
    if (before && before.pid === process.pid && process.cpu_s !== null && now > before.now)
      process.cpu = Math.max(0, 100 * (process.cpu_s - before.cpu_s) / (now - before.now));
    view.processes.set(process.name, { pid: process.pid, cpu_s: process.cpu_s, now });
  }
  fill(at("processes"), PROCESSES, found.processes);
}

function showGaps(found) {
  at("gapcount").textContent = Object.entries(found.states).map(([state, count]) => `${number(count)} ${state}`).join(", ");
  fill(at("gaps"), GAPS, found.gaps);
}

function showInstruments(found) {
  view.matching = found.matching;
  const last = Math.min(view.offset + PAGE, found.matching), first = last ? view.offset + 1 : 0;
  at("instrumentcount").textContent = `${number(first)} to ${number(last)} of ${number(found.matching)}; `
    + `${number(found.total)} in all, ${number(found.stale)} stale`;
  at("earlier").disabled = view.offset === 0;
  at("later").disabled = last >= found.matching;
  fill(at("instruments"), INSTRUMENTS, found.instruments, (i) => i.stale ? "stale" : "");
}

async function ask(path, query = {}) {
  const answer = await fetch(`${path}?${new URLSearchParams(query)}`, { signal: AbortSignal.timeout(10000) });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

async function instruments() {
  showInstruments(await ask("/api/instruments", { filter: at("filter").value, stale: at("stale").checked, sort: view.sort,
    descending: view.descending, limit: PAGE, offset: view.offset }));
}

async function refresh() {
  if (!document.hidden) {
    try {
      showHealth(await ask("/api/health"));
      showProcesses(await ask("/api/processes"));
      showGaps(await ask("/api/gaps", { state: at("state").value, limit: 50 }));
      await instruments();
    } catch (error) {
      at("verdict").textContent = "NO ANSWER";
      at("verdict").className = "verdict lost";
      at("reasons").replaceChildren(element("li", `what is below is old: ${error.message}`));
      document.title = "! tickbay does not answer";
    }
  }
  setTimeout(refresh, REFRESH_MS);
}

function turn(change) {
  change();
  view.offset = Math.max(0, Math.min(view.offset, Math.floor(Math.max(0, view.matching - 1) / PAGE) * PAGE));
  instruments().catch(() => {}); // the next refresh says so
}
at("filter").addEventListener("input", () => turn(() => { view.offset = 0; }));
at("stale").addEventListener("change", () => turn(() => { view.offset = 0; }));
at("earlier").addEventListener("click", () => turn(() => { view.offset -= PAGE; }));
at("later").addEventListener("click", () => turn(() => { view.offset += PAGE; }));
at("state").addEventListener("change", async () => showGaps(await ask("/api/gaps", { state: at("state").value, limit: 50 })));
at("instruments").addEventListener("click", (event) => {
  const order = event.target.dataset?.order;
  if (order) turn(() => { view.descending = view.sort === order && !view.descending; view.sort = order; view.offset = 0; });
});
refresh();
