"""What the simulated venue gives for `public/auth`: tokens that end, and new ones for them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tickbay.sim.refusal import RpcError, invalid

TOKEN_S = 900.0
WRONG = ("", "wrong")  # secrets that are refused; any other one will do


class Logins:
    def __init__(self, token_s: float) -> None:
        self._token_s = token_s
        self._count = 0
        self._renewable: dict[str, float] = {}  # refresh token → until when

    def grant(self, params: Mapping[str, Any], now_s: float) -> tuple[float, dict[str, object]]:
        """Until when the connection is logged in, and the answer. RpcError with the venue's own code."""
        match params.get("grant_type"):
            case "client_credentials":
                if params.get("client_secret", "") in WRONG or not params.get("client_id"):
                    raise RpcError(13004, "invalid_credentials")
            case "refresh_token":
                if self._renewable.pop(str(params.get("refresh_token")), 0.0) <= now_s:
                    raise RpcError(13009, "unauthorized", {"reason": "invalid_token"})
            case _:
                raise invalid("grant_type", "client_credentials or refresh_token")
        self._count += 1
        token = f"refresh-{self._count}"
        self._renewable[token] = now_s + self._token_s
        return now_s + self._token_s, {
            "access_token": f"access-{self._count}",
            "refresh_token": token,
            "expires_in": max(1, int(self._token_s)),
            "scope": "connection",
            "token_type": "bearer",
        }
