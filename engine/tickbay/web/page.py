"""The status page: one file with its style and script in it, and nothing from elsewhere.

What is shown comes from the API and is put in as text, never as HTML: names are the venue's. The browser is told by
hash which style and which script are ours, and to run no other.
"""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from http import HTTPStatus
from importlib import resources

from tickbay.metrics.answer import Answer, Page, Request

ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Cpath d='M1 11l4-4 3 3 7-7' "
    "fill='none' stroke='%232f81c7' stroke-width='2'/%3E%3C/svg%3E"
)


def page_answers() -> dict[str, Page]:
    """`/`."""
    style, script, body = (_file(name) for name in ("page.css", "page.js", "page.html"))
    html = (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>tickbay</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="{ICON}"><style>{style}</style></head>\n'
        f"<body>\n{body}<script>{script}</script></body></html>\n"
    )
    policy = (
        f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "Content-Type": "text/html; charset=utf-8",
        "Content-Security-Policy": policy,
        "Cross-Origin-Resource-Policy": "same-origin",
        "Referrer-Policy": "no-referrer",
    }
    answer = Answer(HTTPStatus.OK, html.encode(), headers)

    def page(_request: Request) -> Answer:
        return answer

    return {"/": page}


def _file(name: str) -> str:
    return resources.files("tickbay.web").joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return "sha256-" + b64encode(sha256(text.encode()).digest()).decode()
