"""The vendors' specifications as JSON Schema, corrected where the vendors' prose corrects them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonpatch
import jsonschema
import pytest

SPECS = Path(__file__).resolve().parents[3] / "shared" / "specs"
#: Swagger of Marketo demands both of these in every envelope; answers have at most one (facts, D.3).
_NEVER_BOTH = ("errors", "warnings")


class Spec:
    """One vendor's specification: which answers it declares, and whether a body fits one."""

    def __init__(self, vendor: str) -> None:
        document, patch = SPECS / f"{vendor}-openapi.json", SPECS / f"{vendor}-prose.jsonpatch.json"
        if not document.exists():
            pytest.skip(f"no specification at {document}: the vendors' specs are not part of this repository")
        corrected = jsonpatch.apply_patch(json.loads(document.read_text()), json.loads(patch.read_text()))
        self.document: dict[str, Any] = _as_json_schema(corrected)

    def responses(self, method: str, template: str) -> dict[str, Any]:
        """The declared answers of an operation, by status."""
        operation = self.document["paths"][template][method.lower()]
        found: dict[str, Any] = operation["responses"]
        return found

    def check(self, method: str, template: str, status: int, body: object) -> None:
        """Raise where the status is undeclared or the body does not fit."""
        responses = self.responses(method, template)
        assert str(status) in responses, f"{method} {template} does not declare {status}"
        response = responses[str(status)]
        content = response.get("content", {}).get("application/json", response)
        if "schema" in content:
            jsonschema.validate(body, {**content["schema"], **self._definitions()})

    def _definitions(self) -> dict[str, Any]:
        return {name: self.document[name] for name in ("components", "definitions") if name in self.document}


def _as_json_schema(value: Any) -> Any:
    """OpenAPI's `nullable` in JSON Schema's words, and what Marketo's envelopes demand relaxed."""
    if isinstance(value, list):
        return [_as_json_schema(one) for one in value]
    if not isinstance(value, dict):
        return value
    changed = {
        name: _as_json_schema(one) for name, one in value.items() if name not in ("nullable", "example")
    }
    if value.get("nullable") is True and "type" in value:
        changed["type"] = [value["type"], "null"]
    required = value.get("required")
    if isinstance(required, list) and set(_NEVER_BOTH) <= set(required):
        changed["required"] = [name for name in required if name not in (*_NEVER_BOTH, "result")]
    return changed
