"""What the simulated venue refuses, with the real one's codes."""

from __future__ import annotations


class RpcError(Exception):
    """What the venue refuses, with its own code."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code, self.data = code, data

    def body(self) -> dict[str, object]:
        return {"code": self.code, "message": str(self)} | ({"data": self.data} if self.data else {})


def invalid(param: str, reason: str) -> RpcError:
    return RpcError(-32602, "Invalid params", {"reason": reason, "param": param})
