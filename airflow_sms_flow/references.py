"""What travels between tasks: where a file is and how many people are in it, never who they are."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NotRequired, TypedDict, cast

from airflow_sms_flow.core.errors import InvalidInput


class AudienceRef(TypedDict):
    """What a task pushes about an audience. `funnel` as `Funnel.to_dict` gives it."""

    path: str
    rows: int
    funnel: NotRequired[dict[str, int]]


def reference(path: str, rows: int, funnel: Mapping[str, int] | None = None) -> AudienceRef:
    """The reference to push for a file."""
    ref: AudienceRef = {"path": path, "rows": rows}
    if funnel is not None:
        ref["funnel"] = dict(funnel)
    return ref


def resolve_path(audience: object) -> str:
    """The path behind an `audience` parameter: a reference that a task pushed, or a path.

    Raises `InvalidInput` for anything else, also for a reference that Jinja turned into text.
    """
    if isinstance(audience, Mapping):
        audience = audience.get("path")
    if isinstance(audience, os.PathLike):
        audience = os.fspath(audience)
    if isinstance(audience, str) and audience.strip() and not audience.lstrip().startswith(("{", "[")):
        return audience
    remedy = "pass a task's output (`prepare.output`), the reference that it pushed, or a Parquet file's path"
    if isinstance(audience, tuple):  # what Airflow makes of a mapping that a task is mapped over
        remedy = "only shards can be mapped over: PrepareAudienceOperator(shards=...)"
    elif is_several(audience):
        remedy = (
            "is several files, and this task takes one: map it over them, with "
            ".partial(...).expand(audience=prepare.output)"
        )
    raise InvalidInput("audience", type(audience).__name__, remedy)


def resolve_paths(audience: object) -> list[str]:
    """The paths behind an `audience` parameter that may be several: `[one.output, other.output]`, too.

    Raises `InvalidInput` as `resolve_path` does, for none at all, and for one that is named twice.
    """
    if not is_several(audience):
        return [resolve_path(audience)]
    paths = [resolve_path(one) for one in cast("Sequence[object]", audience)]
    if not paths:
        raise InvalidInput("audience", [], "is empty: no task before this one gave a file")
    if twice := [path for path, times in Counter(paths).items() if times > 1]:
        raise InvalidInput("audience", twice[0], "is named twice; name each file once")
    return paths


def is_several(audience: object) -> bool:
    """Whether it is a list, or what Airflow gives for the outputs of a mapped task."""
    return isinstance(audience, Sequence) and not isinstance(audience, str)
