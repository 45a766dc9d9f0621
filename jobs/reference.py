"""``make reference``: writes docs/experiment-reference.md from the configuration models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from jobs.command import write_text
from jobs.experiment.loading import KINDS
from jobs.experiment.schema import (
    OVERRIDABLE,
    DataConfig,
    Defaults,
    Replication,
    SearchConfig,
    Settings,
    Study,
)
from recsys.config import EvaluationConfig, OptimizerConfig, StreamConfig
from recsys.engines import DELAY_KINDS, ENGINE_KINDS, Resources
from recsys.models.config import MODEL_KINDS, CustomModelConfig

REFERENCE = Path(__file__).parents[1] / "docs" / "experiment-reference.md"

EXAMPLE = """\
name: clicks
data: {reader: tabular, directory: data/clicks, item: item}
baseline: relu
replicas: 6
vary: [shuffle, init]
sources: [arithmetic]

defaults:
  model: {name: dlrm, embedding_dim: 24, bottom: [64], hidden: [64, 32]}
  optimizer: {dense_learning_rate: 0.01}
  stream: {batch_size: 256, epochs: 1, shuffle: 10000}
  evaluation: {split: test, points: 4}
  engine: {name: local, threads: 2}

arms:
  relu: {activation: relu}
  smelu: {activation: smelu(beta=0.5), replicas: 8}
  async_smelu: {activation: smelu(beta=0.5), engine: {name: async, workers: 4, window: 8}}
  ensemble: {kind: ensemble, components: 3}

search: {arm: smelu, parameter: activation.beta, low: 0.1, high: 4, epsilon: 0.001}

study: {question: "Is SmeLU more stable than ReLU?", x: arm, reference: relu}
"""

_TYPES = {
    "any": "any value",
    "boolean": "true or false",
    "integer": "integer",
    "null": "none",
    "number": "number",
    "object": "fields",
    "string": "text",
}
_BOUNDS = {
    "exclusiveMinimum": "> {:,}",
    "minimum": "≥ {:,}",
    "maximum": "≤ {:,}",
    "multipleOf": "multiple of {:,}",
}
_HEAD = f"""\
# Fields of an experiment

`make reference` writes this file from the configuration models; a test checks that it is current.

An experiment is a YAML file. `soloist init` writes one for a prepared click log. On the command
line, `FIELD=VALUE` sets a field by its dotted path: `replicas=8`, `arms.relu.activation=gelu`; a
field of the defaults also without the prefix: `stream.batch_size=256`.

```yaml
{EXAMPLE}```"""
_ARMS = f"""
## `arms.NAME`

At least one arm. Each has the fields of its `kind` (`single` if there is none), and may override
the defaults' {", ".join(f"`{section}`" for section in OVERRIDABLE)} in part or as a whole.
"""


def reference() -> str:
    """Return the reference as Markdown."""
    arms = (_section("arms.NAME", kind, f": {name}") for name, kind in KINDS.items())
    models = (_section("model", kind, f": {name}") for name, kind in MODEL_KINDS.items())
    engines = (_section("engine", kind, f": {name}") for name, kind in ENGINE_KINDS.items())
    delays = (_section("engine.delays", kind, f": {name}") for name, kind in DELAY_KINDS.items())
    parts = [
        _HEAD,
        _section("Top level", Settings),
        "| `defaults` | fields | `{}` | values of all arms that do not override them |",
        "| `arms` | mapping of name to arm | required | the arms, in the order of the table |",
        _section("data", DataConfig),
        _section("defaults", Defaults),
        *models,
        _section("model", CustomModelConfig, ": a custom model"),
        _section("optimizer", OptimizerConfig),
        _section("stream", StreamConfig),
        _section("evaluation", EvaluationConfig),
        *engines,
        _section("engine.resources", Resources),
        *delays,
        _ARMS,
        *_rows(Replication, required="the experiment's"),
        *arms,
        _section("search", SearchConfig),
        _section("study", Study),
    ]
    return "\n".join(parts) + "\n"


def _section(title: str, model: type[BaseModel], variant: str = "") -> str:
    heading = f"\n## `{title}`{variant}\n" if title != "Top level" else f"\n## {title}\n"
    return "\n".join([heading, _summary(model), "", *_rows(model)])


def _summary(model: type[BaseModel]) -> str:
    return (model.__doc__ or "").split("\n\n", maxsplit=1)[0].replace("``", "`")


def _rows(model: type[BaseModel], *, required: str = "required") -> Iterator[str]:
    """Yield the lines of the table of a model's fields."""
    schema = model.model_json_schema()
    definitions = schema.get("$defs", {})
    yield "| field | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    for name, field in schema["properties"].items():
        kind = " or ".join(dict.fromkeys(_types(field, definitions)))
        default = required if name in schema.get("required", ()) else _default(field["default"])
        yield f"| `{name}` | {kind} | {default} | {field['description']} |"


def _default(value: Any) -> str:
    if isinstance(value, dict) and value:
        return f"`{value['name']}`" if "name" in value else "those of its fields"
    return f"`{json.dumps(value)}`".replace('"', "").replace("null", "none")


def _types(field: dict[str, Any], definitions: dict[str, Any]) -> Iterator[str]:
    """Yield the names of the types that a JSON schema allows."""

    def either(part: dict[str, Any]) -> str:
        return " or ".join(dict.fromkeys(_types(part, definitions)))

    if "$ref" in field:
        field = definitions[field["$ref"].rsplit("/", 1)[-1]]
    members = (*field.get("anyOf", ()), *field.get("oneOf", ()))
    if members:
        yield from map(either, members)
    elif "enum" in field or "const" in field:
        yield " or ".join(f"`{each}`" for each in field.get("enum", [field.get("const")]))
    elif "prefixItems" in field:
        yield f"[{', '.join(map(either, field['prefixItems']))}]"
    elif "items" in field:
        yield f"list of {either(field['items'])}"
    elif isinstance(field.get("additionalProperties"), dict):
        yield f"mapping of name to {either(field['additionalProperties'])}"
    else:
        name = "path" if field.get("format") == "path" else _TYPES[field.get("type", "any")]
        bounds = [text.format(field[key]) for key, text in _BOUNDS.items() if key in field]
        yield " ".join(filter(None, [name, ", ".join(bounds)]))


if __name__ == "__main__":
    print(write_text(REFERENCE, reference()))
