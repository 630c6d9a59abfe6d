"""The readable account at the end of a demo: funnel, sent, refused with reasons, answers, texts, files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import requests

from airflow_sms_flow.core.phone import mask_phone


def funnel_lines(funnel: Mapping[str, int]) -> list[str]:
    """The preparation of an audience."""
    reasons = [(name, n) for name, n in funnel.items() if name not in ("extracted", "kept")]
    lines = [_line("people on the smart list", funnel["extracted"])]
    lines += [_line(f"  - {name.replace('_', ' ')}", -n) for name, n in reasons if n]
    return [*lines, _line("  = may be texted", funnel["kept"])]


def report_lines(report: Mapping[str, Any], done: str) -> list[str]:
    """One step's report."""
    lines = [_line("audience", report["rows"]), _line(f"  {done}", report["accepted"])]
    lines += [_line("  nothing left to do", report["already"])] if report["already"] else []
    for what in ("refused", "skipped"):
        lines += [_line(f"  {what}: {reason.replace('_', ' ')}", n) for reason, n in report[what].items()]
    lines += [
        _line(f"  {name.replace('_', ' ')}", report[name]) for name in ("in_doubt", "failed") if report[name]
    ]
    return lines


def answer_lines(counts: Mapping[str, int]) -> list[str]:
    """What the sensor saw."""
    return [
        _line("  said yes", counts["confirmed"]),
        _line("  said no", counts["declined"]),
        _line("  did not say yes in time", counts["expired"]),
    ]


def conversation_lines(sandbox_url: str, how_many: int) -> list[str]:
    """Some of the conversations as the phones show them; numbers masked, as everywhere."""
    phones = requests.get(f"{sandbox_url}/_sandbox/messages", timeout=30).json()["phones"]
    talked = [phone for phone in phones if phone["texts"]]
    talked.sort(key=lambda phone: -len(phone["texts"]))
    kinds: Counter[int] = Counter()
    lines: list[str] = []
    for phone in talked:
        kinds[len(phone["texts"])] += 1
        # Some of each length: long talks (asked, answered, welcomed) and single texts.
        if kinds[len(phone["texts"])] > how_many:
            continue
        lines.append(f"  {mask_phone(phone['phone'])}")
        lines += [
            f"      {'<-' if message['direction'] == 'out' else '->'} {message['text']}"
            for message in phone["texts"]
        ]
    return lines


def proof_lines(sandbox_url: str) -> list[str]:
    """What the vendors' side counted: nobody twice, never above the limit."""
    effects = requests.get(f"{sandbox_url}/_sandbox/effects", timeout=30).json()
    sent = Counter(
        (e["phone"], e.get("text"))
        for e in effects["effects"]
        if e["kind"] == "text_delivered" and e["text_kind"] == "event"
    )
    twice = sum(1 for n in sent.values() if n > 1)
    rings = requests.get(f"{sandbox_url}/_sandbox/stats", timeout=30).json()["rings"]
    lines = [_line("the same text twice to one phone", twice)]
    for name, ring in rings.items():
        most = f"at most {ring['highest_in_any_window']} in any {ring['window_seconds']:g} s"
        lines.append(f"  {name:<34} {most} (limit {ring['limit']})")
    return lines


def file_lines(folders: Sequence[Path]) -> list[str]:
    """The files of these runs, each run's folder once."""
    lines = []
    for folder in folders:
        lines.append(f"  {folder}")
        lines += [f"      {file.relative_to(folder)}" for file in sorted(folder.rglob("*.parquet"))]
    return lines


def _line(name: str, number: int) -> str:
    return f"  {name:<34}{number:>8,}"
