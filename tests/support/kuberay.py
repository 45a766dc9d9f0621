"""Checks KubeRay manifests against the operator's schemas, more strictly than the operator does."""

from __future__ import annotations

import gzip
import json
from typing import Any

import jsonschema

from tests.support.shared import shared


def faults(manifest: dict[str, Any]) -> list[str]:
    """Return what the schema of the manifest's kind has against it; unknown fields are faults.

    Kubernetes would drop those without a word. What has a default need not be there.
    """
    packed = shared("kuberay") / f"{manifest['kind']}.v1.schema.json.gz"
    schema = json.loads(gzip.decompress(packed.read_bytes()))["openAPIV3Schema"]
    # Of a Kubernetes object; the schema leaves them open.
    schema["properties"]["metadata"] = {"type": "object"}
    validator = jsonschema.Draft202012Validator(_strict(schema))
    return [f"{each.json_path}: {each.message}" for each in validator.iter_errors(manifest)]


def _strict(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema that refuses unknown fields and asks for no field that has a default."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    strict = dict(schema)
    if "properties" in schema:
        strict["properties"] = {name: _strict(each) for name, each in schema["properties"].items()}
        if "additionalProperties" not in schema:
            strict["additionalProperties"] = False
        required = [
            name
            for name in schema.get("required", [])
            if "default" not in schema["properties"].get(name, {})
        ]
        strict["required"] = required
    if isinstance(schema.get("additionalProperties"), dict):
        strict["additionalProperties"] = _strict(schema["additionalProperties"])
    if isinstance(schema.get("items"), dict):
        strict["items"] = _strict(schema["items"])
    return strict
