"""What became of everybody: the sandbox's own record against our report, results, ledger and history."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from airflow_sms_flow.core.delivery import StepName
from airflow_sms_flow.ledger import Ledger
from airflow_sms_flow.ledger.ledger import DeliveryRow
from tests.torture.crowd import ACQUISITION_ID, CONCURRENCY, DUE, EFFECT, NOT_DUE, Person
from tests.torture.scene import Scene

#: Of the vendor's log: what a try that looks before it repeats never gets.
_ASKED_WHILE_PENDING = 200


@dataclass(frozen=True)
class Verdict:
    """The counts of one scene, and whatever must not be."""

    recipients: int
    due: int
    effects: int
    twice: int
    in_doubt: int
    refused: int
    failed: int
    missing: int
    kills: int
    kills_mid_send: int
    claimed_by_kills: int
    most_claimed_by_a_kill: int
    tries: int
    highest_share: float  #: of the limit, in the fullest sliding window of any ring
    problems: tuple[str, ...]


def judge(
    scene: Scene, report: Mapping[str, Any], results: Sequence[Mapping[str, Any]] | None = None
) -> Verdict:
    """Compare everything with everything. `results`: of the last try, where it was no worker's."""
    if results is None:
        results = pq.read_table(scene.order.results).to_pylist()
    told = {str(row["phone"]): row for row in results}
    effects = Counter(one["phone"] for one in scene.vendor.effects(EFFECT[scene.step]))
    stats = scene.vendor.panel("GET", "stats")
    missing = [one for one in scene.people if one.phone not in told or told[one.phone]["state"] == "claimed"]
    problems = [f"no result for lead {one.lead_id}" for one in missing]
    problems += _of_everybody(scene, told, effects)
    problems += _of_the_report(report, results)
    problems += _of_the_ledger(scene, told)
    problems += _of_the_vendor(scene, stats)
    problems += [f"a kill left {one.claimed} claims" for one in scene.kills if one.claimed > CONCURRENCY]
    rings = stats["rings"].values()
    return Verdict(
        recipients=len(scene.people),
        due=len(scene.due),
        effects=sum(effects.values()),
        twice=sum(n > 1 for n in effects.values()),
        in_doubt=report["in_doubt"],
        refused=sum(report["refused"].values()),
        failed=report["failed"],
        missing=len(missing),
        kills=len(scene.kills),
        kills_mid_send=sum(kill.mid_send for kill in scene.kills),
        claimed_by_kills=sum(kill.claimed for kill in scene.kills),
        most_claimed_by_a_kill=max((kill.claimed for kill in scene.kills), default=0),
        tries=scene.tries,
        highest_share=max(ring["highest_in_any_window"] / ring["limit"] for ring in rings),
        problems=tuple(problems),
    )


def _of_everybody(
    scene: Scene, told: Mapping[str, Mapping[str, Any]], effects: Mapping[str, int]
) -> Iterator[str]:
    """Each person's effects fit what is told of them."""
    strangers = effects.keys() - {one.phone for one in scene.people}
    if strangers:
        yield f"{len(strangers)} effects for people who are not in the audience"
    for one in scene.people:
        if one.phone in told:
            row = told[one.phone]
            yield from _of_one(scene.step, one, effects.get(one.phone, 0), row["state"], row["reason"])


def _of_one(step: StepName, one: Person, effects: int, state: str, reason: str | None) -> Iterator[str]:
    who = f"lead {one.lead_id} ({one.stands}), told as {state}: {reason},"
    if one.stands != DUE[step]:
        if effects:
            yield f"{who} has {effects} effects and should have none"
        if (state, reason) != NOT_DUE[step, one.stands]:
            yield f"{who} should be told as {NOT_DUE[step, one.stands]}"
        return
    if effects > 1:
        yield f"{who} has {effects} effects"
    if effects == 0 and state in ("accepted", "already"):
        yield f"{who} has none: lost"
    if effects and state not in ("accepted", "already", "in_doubt"):
        yield f"{who} has one"
    if effects == 0 and step is not StepName.SEND:
        yield f"{who} is missing"


def _of_the_report(report: Mapping[str, Any], results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The report counts what the results list."""
    states = Counter(row["state"] for row in results)
    counted = {
        "done": report["accepted"] + report["already"],
        "refused": sum(report["refused"].values()),
        "skipped": sum(report["skipped"].values()),
        "in_doubt": report["in_doubt"],
        "failed": report["failed"],
    }
    listed = {
        "done": states["accepted"] + states["already"],
        "refused": states["refused"],
        "skipped": states["skipped"],
        "in_doubt": states["in_doubt"] + states["claimed"],
        "failed": states["open"],
    }
    if counted != listed or report["rows"] != len(results):
        yield f"the report says {report['rows']} rows {counted}, the results {len(results)} rows {listed}"


def _of_the_ledger(scene: Scene, told: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """The ledger says what the results say, and each row's history leads to where it stands."""
    with scene.ledger() as ledger:
        rows = ledger.rows(ledger.dispatch_id(scene.order.campaign), [one.phone for one in scene.people])
        for one in scene.people:
            row, result = rows.get(one.phone), told.get(one.phone)
            if result is not None and (row is None or row.state.value != result["state"]):
                stands = row.state if row is not None else "nowhere"
                yield f"lead {one.lead_id} stands {stands} in the ledger, {result['state']} in the results"
            if row is not None:
                yield from _of_one_history(ledger, scene, one, row)


def _of_one_history(ledger: Ledger, scene: Scene, one: Person, row: DeliveryRow) -> Iterator[str]:
    entries = [entry for entry in ledger.history(one.phone) if entry.campaign == scene.order.campaign]
    froms = [entry.from_state for entry in entries]
    tos = [entry.to_state for entry in entries]
    if not tos or tos[-1] is not row.state or froms != [None, *tos[:-1]]:
        yield f"lead {one.lead_id}: its history {[*froms, *tos[-1:]]} does not lead to {row.state}"


def _of_the_vendor(scene: Scene, stats: Mapping[str, Any]) -> Iterator[str]:
    """Never too fast; the right words; one campaign; no question that another question waits for."""
    for name, ring in stats["rings"].items():
        if ring["highest_in_any_window"] > ring["limit"]:
            yield f"{name}: {ring['highest_in_any_window']} in a window of {ring['limit']}"
    if scene.step is StepName.SEND:
        texts = {one.phone: one.text for one in scene.people}
        delivered = [e for e in scene.vendor.effects("text_delivered") if e["text_kind"] == "event"]
        wrong = sum(one["text"] != texts.get(one["phone"]) for one in delivered)
        if wrong:
            yield f"{wrong} people read somebody else's text"
        campaigns = scene.vendor.panel("GET", "state")["event_triggered_messages"]
        if len(campaigns) != 1:
            yield f"{len(campaigns)} campaigns carry our event type"
    again = sum(
        one["count"]
        for one in stats["requests"]
        if one["method"] == "POST"
        and one["path"].endswith("/participants")
        and one["status"] == _ASKED_WHILE_PENDING
    )
    if again:
        yield f"{again} people were asked again while {ACQUISITION_ID}'s first question waited"
