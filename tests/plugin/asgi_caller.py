"""Calls an ASGI application as a server does, one message after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

SECRET = "a-secret-of-the-first-kind"


@dataclass
class Call:
    """One request; `run` gives the status. `chunks` is the body as it arrives; None: the caller hangs up."""

    method: str = "POST"
    tail: str = SECRET
    headers: Sequence[tuple[bytes, bytes]] = ()
    chunks: Sequence[bytes | None] = (b"{}",)
    client: tuple[str, int] | None = ("203.0.113.7", 40000)
    scope: dict[str, Any] = field(default_factory=dict)
    answer: list[dict[str, Any]] = field(default_factory=list)

    async def run(self, app: Any) -> int:
        path = f"/sms-flow/callbacks/{self.tail}"
        self.scope |= {
            "type": "http",
            "method": self.method,
            "path": path,
            "raw_path": path.encode("utf-8", "replace"),
            "root_path": "/sms-flow/callbacks",
            "query_string": b"",
            "headers": list(self.headers),
            "client": self.client,
        }
        left = list(self.chunks)

        async def receive() -> dict[str, Any]:
            if not left:
                await asyncio.Event().wait()  # a caller that never goes on
            chunk = left.pop(0)
            if chunk is None:
                return {"type": "http.disconnect"}
            return {"type": "http.request", "body": chunk, "more_body": bool(left)}

        async def send(message: dict[str, Any]) -> None:
            self.answer.append(message)

        await app(self.scope, receive, send)
        return int(self.answer[0]["status"])
