"""Vibes calling back, from many connections at once: lean, so that little of the machine goes to it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

#: As the vendor prints it (facts B.3).
_SAMPLE: dict[str, Any] = {
    "callback_type": "subscription_added",
    "event_type": "subscription_added",
    "event_date": "2026-01-02T03:04:05Z",
    "subscription": {
        "person": {
            "id": "111",
            "external_person_id": "42",
            "person_key": "aaaa-bbbb",
            "url": "/companies/acme/mobiledb/persons/111",
        },
        "subscription_list": {"id": "1201", "url": "/companies/acme/mobiledb/subscription_lists/1201"},
        "opt_in_date": "2026-01-02T03:04:00Z",
    },
}


def _body(number: int) -> bytes:
    """A callback of its own, about a person of their own."""
    person = _SAMPLE["subscription"]["person"] | {"mobile_phone": {"mdn": f"+1202{number % 10_000_000:07d}"}}
    subscription = _SAMPLE["subscription"] | {"person": person}
    return json.dumps(_SAMPLE | {"event_id": number, "subscription": subscription}).encode()


@dataclass
class Tally:
    """What was answered. `kept`: the ids that were told to be on disk."""

    kept: set[int] = field(default_factory=set)
    later: int = 0
    others: int = 0
    seconds: list[float] = field(default_factory=list)

    def latency_ms(self, share: float) -> float:
        ordered = sorted(self.seconds) or [0.0]
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000


async def call_for(address: str, first: int, seconds: float, connections: int) -> Tally:
    """Keep so many requests under way for so long, each callback a new one."""
    tally, numbers = Tally(), iter(range(first, first + 10_000_000))
    until = time.monotonic() + seconds
    await asyncio.gather(*(_caller(address, numbers, until, tally) for _ in range(connections)))
    return tally


async def deliver_all(address: str, count: int, per_second: float, connections: int) -> Tally:
    """These callbacks at this pace, each repeated every half second until it is told to be kept."""
    tally, numbers, began = Tally(), iter(range(count)), time.monotonic()

    async def caller() -> None:
        for number in numbers:
            await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
            while number not in tally.kept:
                line = await _Line.open(address)
                await line.deliver(number, tally)
                line.close()
                if number not in tally.kept:
                    await asyncio.sleep(0.5)

    await asyncio.gather(*(caller() for _ in range(connections)))
    return tally


async def _caller(address: str, numbers: Iterator[int], until: float, tally: Tally) -> None:
    line = await _Line.open(address)
    while time.monotonic() < until:
        await line.deliver(next(numbers), tally)
    line.close()


@dataclass(frozen=True)
class _Line:
    """One connection that is kept open."""

    path: str
    host: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, address: str) -> _Line:
        parts = urlsplit(address)
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        return cls(parts.path, parts.netloc, reader, writer)

    def close(self) -> None:
        self.writer.close()

    async def deliver(self, number: int, tally: Tally) -> None:
        body = _body(number)
        head = f"POST {self.path} HTTP/1.1\r\nHost: {self.host}\r\nContent-Type: application/json\r\n"
        began = time.monotonic()
        self.writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        answer = await self.reader.readuntil(b"\r\n\r\n")
        tally.seconds.append(time.monotonic() - began)
        match int(answer[9:12]):
            case 204:
                tally.kept.add(number)
            case 503:
                tally.later += 1
            case _:
                tally.others += 1
