"""All results together, `python -m bench.report`: a table of the goals and a plot of how far each is reached.

In: bench/results/*.json. Out: the table on the terminal and in results/README.md, the plot in goals.svg beside it.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from bench.result import RESULTS, Goal, show

WIDTH, LABEL, ROW, TOP = 900, 380, 26, 34
SPAN = 10.0  # the plot goes from a tenth of the goal to ten times the goal


def load(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def goals(documents: list[dict[str, Any]]) -> list[Goal]:
    return [Goal(**goal) for document in documents for goal in document["goals"]]


def table(documents: list[dict[str, Any]]) -> str:
    """Markdown: goal, reached, verdict; and where and when each was measured."""
    lines = ["| stage | what | goal | reached | verdict |", "|---|---|---|---|---|"]
    for goal in goals(documents):
        sense, verdict = "≤" if goal.most else "≥", "reached" if goal.met else "**missed**"
        limit, reached = f"{sense} {show(goal.limit)}{goal.unit}", f"{show(goal.reached)}{goal.unit}"
        lines.append(f"| {goal.stage} | {goal.what} | {limit} | {reached} | {verdict} |")
    lines += ["", "| bench | when | commit | seed | cores | load | checked |", "|---|---|---|---|---|---|---|"]
    for document in documents:
        machine, size = document["machine"], document["size"]
        where = f"{document['when']} | {document['commit']} | {size['seed']} | {machine['cores']} | {machine['load']}"
        lines.append(f"| {document['bench']} | {where} | {document['checked']} |")
    return "\n".join(lines)


def figures(documents: list[dict[str, Any]]) -> str:
    lines = []
    for document in documents:
        lines += [f"\n## {document['bench']}\n", "| figure | value | | |", "|---|---|---|---|"]
        for figure in document["figures"]:
            lines.append(f"| {figure['name']} | {show(figure['value'])} | {figure['unit']} | {figure['note']} |")
        lines += [f"\n{note}" for note in document["notes"]]
    return "\n".join(lines)


def plot(found: list[Goal]) -> str:
    """One bar for each goal: right of the line it is reached, and by how much; the scale is logarithmic."""
    height = TOP + ROW * len(found) + 10
    middle, scale = (LABEL + WIDTH) / 2, (WIDTH - LABEL) / 2 / math.log(SPAN) * 0.95
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif"',
        ' font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="{middle}" y="18" text-anchor="middle">missed ◄ goal ► reached (x, logarithmic)</text>',
    ]
    for place, goal in enumerate(found):
        ratio = goal.limit / goal.reached if goal.most else goal.reached / goal.limit
        length = scale * math.log(min(SPAN, max(1 / SPAN, ratio)))
        y, colour = TOP + ROW * place, "#2a7f4f" if goal.met else "#b5483a"
        beside, anchor = (middle + 8, "start") if length < 0 else (middle - 8, "end")
        name = escape(f"{goal.stage}: {goal.what}")
        parts += [
            f'<text x="{LABEL - 10}" y="{y + 15}" text-anchor="end">{name}</text>',
            f'<rect x="{min(middle, middle + length):.1f}" y="{y + 3}" width="{abs(length):.1f}" height="{ROW - 8}"'
            f' fill="{colour}"/>',
            f'<text x="{beside}" y="{y + 15}" text-anchor="{anchor}">{ratio:.2f}x</text>',
        ]
    parts += [f'<line x1="{middle}" y1="{TOP - 6}" x2="{middle}" y2="{height - 6}" stroke="#333333"/>', "</svg>"]
    return "\n".join(parts) + "\n"


def main() -> None:
    documents = load(RESULTS)
    text = table(documents)
    (RESULTS / "goals.svg").write_text(plot(goals(documents)))
    (RESULTS / "README.md").write_text(
        "# Results\n\nWritten by `make bench`; ../README.md says what is measured and how.\n\n"
        f"![how far each goal is reached](goals.svg)\n\n{text}\n{figures(documents)}\n"
    )
    print(text)


if __name__ == "__main__":
    main()
