"""``soloist init``: writes a commented experiment for a prepared click log."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Annotated

import yaml
from typer import Argument, Option

from jobs.command import check_file, run, write_text
from recsys.data.click_log import ClickLog
from recsys.errors import ConfigError, DataError

_TEMPLATE = """\
# An experiment for {directory}: {train:,} training examples,
# features {features}.
# Run it with: soloist sweep FILE. All fields: docs/experiment-reference.md
name: {name}
data:
  reader: {reader}
  directory: {directory}
  # options: {{}}  # of soloist prepare, if the experiment should say how to make the click log
  # The feature that identifies the item, for prediction difference by popularity.
  # One of {candidates}.
  {item}

baseline: relu  # the arm with which all others are compared
replicas: 6  # trainings of each arm; more replicas give narrower intervals
seed: 1
vary: [shuffle]  # what differs between replicas: init, shuffle, async, arithmetic, components
sources: [arithmetic]  # also measured alone, on the baseline
fuse: {fuse}  # replicas trained together in one process; lower it if memory is short

defaults:
  model:
    name: mlp  # or dlrm, dcnv2, deepfm, or a custom model as package.module:factory
    embedding_dim: {width}
    hidden: [64, 32, 16]
    layer_norm: true
  optimizer:
    sparse: rowwise_adagrad
    sparse_learning_rate: 0.05
    dense: adagrad
    dense_learning_rate: 0.02
  stream:
    batch_size: {batch}  # {batches:,} batches an epoch
    epochs: 1
    shuffle: {shuffle}  # size of the shuffle buffer, in examples
  evaluation:
    split: {split}{grouped}
  engine:
    name: local  # or virtual_async, async, sync

arms:
  relu: {{activation: relu}}
  # The larger beta, the smoother SmeLU.
  smelu_half: {{activation: smelu(beta=0.5)}}
  smelu_1: {{activation: smelu(beta=1)}}
  smelu_2: {{activation: smelu(beta=2)}}
  # Three ReLU models, at three times the embedding lookups.
  relu_ensemble: {{kind: ensemble, components: 3}}
"""
_WIDTH = 16
_MEMORY = 2e9
"""Maximum bytes of tables and optimizer state in one process"""


def init(
    log: Annotated[Path, Argument(metavar="LOG", help="Click log that soloist prepare wrote.")],
    output: Annotated[
        Path | None,
        Option("--output", "-o", metavar="FILE", help="New YAML file. [default: print it]"),
    ] = None,
) -> None:
    """Write a commented experiment for a click log: ReLU, three SmeLU arms, an ensemble of three.

    Batch size, shuffle buffer and evaluation split suit the size of the click log. soloist sweep
    runs the file unchanged.
    """
    text = experiment_text(ClickLog.open(log))
    if output is None:
        print(text, end="")
        return
    check_file(output, "--output")
    if output.exists():
        raise ConfigError(f"--output {output}: exists already, expected a new file")
    write_text(output, text)
    print(f"{output}; run it with: soloist sweep {output}")


def experiment_text(log: ClickLog) -> str:
    """Return the YAML of an experiment for a click log."""
    split = next((name for name in ("test", "valid") if log.splits[name]), None)
    reader = log.meta.get("reader")
    if split is None:
        raise ConfigError(f"{log.directory}: found no test and no valid rows, expected either")
    if not isinstance(reader, str):
        raise DataError(f"{log.directory}: found no reader in its description; prepare it again")
    train, schema = len(log.splits["train"]), log.schema
    features = [*schema.dense, *(feature.name for feature in schema.sparse)]
    candidates = [feature.name for feature in schema.single_valued]
    item = next((name for name in candidates if "item" in name.lower()), None)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", log.directory.resolve().name)
    batch = _power_of_two(train / 640, 32, 4096)
    # Three components, each with float32 weights and as many bytes of optimizer state.
    table_bytes = 3 * 2 * 4 * _WIDTH * sum(feature.cardinality for feature in schema.sparse)
    return _TEMPLATE.format(
        directory=_text(str(log.directory)),
        train=train,
        features=_texts(features),
        name=_text(name.strip("-") or "clicks"),
        reader=_text(reader),
        candidates=_texts(candidates),
        item=f"item: {_text(item)}" if item else "# item: NAME",
        fuse=max(1, min(8, int(_MEMORY / max(1, table_bytes)))),
        width=_WIDTH,
        batch=batch,
        batches=math.ceil(train / batch),
        shuffle=max(1, min(100_000, train // 40)),
        split=split,
        grouped=f"  # metrics and intervals are grouped by {_text(schema.group)}"
        if schema.group
        else "",
    )


def _power_of_two(wanted: float, least: int, most: int) -> int:
    return max(least, min(most, 2 ** round(math.log2(max(1, wanted)))))


def _texts(texts: list[str], shown: int = 10) -> str:
    more = f" and {len(texts) - shown} more" if len(texts) > shown else ""
    return ", ".join(_text(text) for text in texts[:shown]) + more or "none"


def _text(text: str) -> str:
    """Return a text as YAML on one line: plain if it is a simple word, else quoted."""
    is_plain = re.fullmatch(r"[A-Za-z_/.][A-Za-z0-9_/.-]*", text) and yaml.safe_load(text) == text
    return text if is_plain else json.dumps(text)


if __name__ == "__main__":
    run(init)
