"""Writes ../dashboards/*.json from the modules beside this one: `python deploy/monitoring/grafana/source/make.py`."""

from __future__ import annotations

import json
from pathlib import Path

import quality
import system
import volatility
import volatility_questdb
from grafana import Dashboard

FOLDER = Path(__file__).parent.parent / "dashboards"


def texts() -> dict[str, str]:
    """File name → content."""
    dashboards = [module.DASHBOARD for module in (system, quality, volatility, volatility_questdb)]
    return {f"{each.uid.removeprefix('tickbay-')}.json": text(each) for each in dashboards}


def text(dashboard: Dashboard) -> str:
    return json.dumps(dashboard.json(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for name, content in texts().items():
        (FOLDER / name).write_text(content)
