"""Small experiments as YAML, and malformed ones made by rule.

Run as a script, it prints the malformed ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from jobs.experiment.schema import DataConfig, Defaults, Replication, Settings


def small_experiment(log: Path | str, **changes: Any) -> dict[str, Any]:
    """Return an experiment of two arms that trains in seconds on a small click log."""
    return {
        "name": "small",
        "data": {"reader": "synthetic", "directory": str(log)},
        "baseline": "relu",
        "replicas": 2,
        "defaults": {
            "model": {"embedding_dim": 4, "hidden": [6, 4]},
            "stream": {"batch_size": 32, "shuffle": 50},
            "evaluation": {"points": 2, "progress_examples": 40, "batch_size": 64},
            "engine": {"device": "cpu"},
        },
        "arms": {"relu": {"activation": "relu"}, "smelu": {"activation": "smelu(beta=1)"}},
    } | changes


def write_experiment(path: Path, document: object) -> Path:
    """Write a document as YAML and return its path."""
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


@dataclass(frozen=True, kw_only=True)
class Malformed:
    """An experiment that cannot be: its file's content, overrides, and what the line has to say."""

    name: str
    content: bytes
    overrides: tuple[str, ...] = ()
    says: tuple[str, ...]


def malformed_experiments() -> list[Malformed]:
    """Return them all."""
    return [
        *_broken_files(),
        *_misspelled_fields(),
        *_wrong_values(),
        *_wrong_words(),
        *_absurd_overrides(),
    ]


def _text(document: object) -> bytes:
    return yaml.safe_dump(document, sort_keys=False).encode()


GOOD = _text(small_experiment("log"))


def _broken_files() -> Iterator[Malformed]:
    for name, content, says in [
        ("empty", b"", "found nothing"),
        ("a word", b"relu", "found 'relu'"),
        ("a list", b"- relu", "found ['relu']"),
        ("an open bracket", b"name: [small\n", "line 2"),
        ("a tab", b"name: small\n\tseed: 1\n", "line 2"),
        ("not text", b"name: \xff\xfe\n", "not UTF-8"),
        ("a control character", b"name: \x00\n", "not YAML"),
        ("an unknown anchor", b"name: *nobody\n", "line 1: found undefined alias"),
        ("a Python object", b"name: !!python/object:os.system {}\n", "line 1: could not determine"),
        ("a field twice", GOOD + b"name: again\n", "duplicate key 'name'"),
        ("an arm twice", GOOD + b"  relu: {}\n", "duplicate key 'relu'"),
        ("two documents", GOOD + b"---\n" + GOOD, "expected a single document"),
        ("an unhashable key", b"? [a]\n: b\n", "line 1"),
        ("too long", b"#" * 2_000_000, "found more than 1,048,576 characters"),
        ("nested deeply", GOOD + b"x: " + b"[" * 5000, "nested too deeply"),
        ("nested", GOOD + b"x: " + b"[" * 50 + b"]" * 50, "nested too deeply"),
        ("a cycle", GOOD + b"vary: &x [*x]\n", "nested too deeply"),
        ("many aliases", _aliases(), "found more than 200,000 values"),
        ("a huge hexadecimal", GOOD + b"seed: 0x" + b"f" * 5000, "expected integers of 64 bits"),
        ("a tag on nothing", GOOD + b"seed: !!int ''\n", "not YAML"),
        ("a tag on a wrong word", GOOD + b"seed: !!bool maybe\n", "not YAML"),
        ("a wrong time", GOOD + b"seed: !!timestamp now\n", "not YAML"),
    ]:
        yield Malformed(name=name, content=content, says=(says,))


def _aliases() -> bytes:
    """Return a small document that stands for 10 ** 9 values."""
    lines = [
        f"x{level}: &x{level} [{', '.join([f'*x{level - 1}'] * 10)}]" for level in range(1, 10)
    ]
    return "\n".join(["x0: &x0 [1]", *lines]).encode()


def _misspelled_fields() -> Iterator[Malformed]:
    """Lengthen each field's name by its last letter, one after another."""
    sections: dict[str, list[str]] = {
        "": list(Settings.model_fields),
        "data": list(DataConfig.model_fields),
        "defaults": list(Defaults.model_fields),
        "arms.relu": ["kind", "activation", *Replication.model_fields],
    }
    for section, default in Defaults():
        sections[f"defaults.{section}"] = list(type(default).model_fields)
    for section, fields in sections.items():
        for field in fields:
            found = ".".join(filter(None, [section, field + field[-1]]))
            yield Malformed(
                name=f"misspelled {found}",
                content=GOOD,
                overrides=(f"{found}=1",),
                says=(f"{found}: unknown, did you mean '{field}'?",),
            )


def _wrong_values() -> Iterator[Malformed]:
    """Give each number of the defaults a word, and each choice a word that is none of them."""
    for section, values in Defaults():
        for field, value in values:
            if isinstance(value, int | float | tuple) and not isinstance(value, bool):
                wrong = "[many]" if isinstance(value, tuple) else "many"
                yield _wrong(f"defaults.{section}.{field}", wrong, "'many'")
            elif isinstance(value, str):
                yield _wrong(f"defaults.{section}.{field}", f"{value}x", f"'{value}x'")
    for field, value, says in [
        ("replicas", "0", "found 0, expected a number greater than 0"),
        ("replicas", "2.5", "found 2.5"),
        ("replicas", "yes", "found True"),
        ("arms.relu.replicas", "-1", "found -1"),
        ("fuse", "0", "found 0"),
        ("seed", "-1", "found -1"),
        ("name", "", "found nothing"),
        ("name", "''", "found ''"),
        ("baseline", "rellu", "unknown, did you mean 'relu'?"),
        ("vary", "[shufle]", "did you mean 'shuffle'?"),
        ("vary", "shuffle", "expected a list"),
        ("vary", "[async]", "local engine applies updates in one order"),
        ("sources", "[async]", "local engine applies updates in one order"),
        ("data", "log", "found 'log', expected fields"),
        ("data.reader", "movielense", "did you mean 'movielens'?"),
        ("data.directory", "3", "found 3, expected a path"),
        ("data.options", "[1]", "found [1], expected a mapping"),
        ("defaults", "[1]", "found [1], expected fields"),
        ("defaults.model", "mlp", "found 'mlp', expected fields"),
        ("defaults.model.embedding_dim", "6", "found 6, expected a multiple of 4"),
        ("defaults.optimizer.eps", ".nan", "found nan"),
        ("arms", "{}", "found none"),
        ("arms", "[relu]", "found ['relu'], expected fields"),
        ("arms.relu", "relu", "found 'relu', expected fields"),
        ("arms.relu.kind", "singel", "did you mean 'single'?"),
        ("arms.relu.kind", "[single]", "unknown"),
        ("arms.relu.activation", "smelo", "did you mean 'smelu'?"),
        ("arms.relu.activation", "smelu(beta=-1)", "beta"),
        ("arms.relu.activation", "smelu(1)", "cannot be read"),
        ("arms.relu.evaluation", "{}", "unknown"),
        ("arms.relu.teacher", "online", "unknown"),
        ("arms.relu.stream.epochs", "0", "found 0"),
        ("arms.relu", "{kind: ensemble, components: 1}", "components: found 1"),
        ("arms.relu", "{kind: ensemble, width: equal_lookups_bytes}", "multiple of 12"),
        ("arms.relu", "{kind: distilled, strength: 2}", "strength: found 2"),
        ("arms.1/2", "{}", "expected letters, digits"),
    ]:
        yield _wrong(field, value, says)
    for field in ("name", "data", "baseline", "replicas"):
        document = {key: value for key, value in small_experiment("log").items() if key != field}
        yield Malformed(name=f"no {field}", content=_text(document), says=(field, "missing"))


def _wrong(field: str, value: str, says: str) -> Malformed:
    return Malformed(
        name=f"{field}={value}",
        content=GOOD,
        overrides=(f"{field}={value}",),
        says=(field.split(".")[-1], says),
    )


def _wrong_words() -> Iterator[Malformed]:
    for word, says in [
        ("replicas", "expected FIELD=VALUE"),
        ("=3", "expected FIELD=VALUE"),
        (".replicas=3", "expected FIELD=VALUE"),
        ("arms..kind=single", "expected FIELD=VALUE"),
        ("replicas=[3", "not a YAML value"),
        ("strem.epochs=2", "did you mean 'stream'?"),
        ("arms.rleu.kind=single", "did you mean 'relu'?"),
        ("replicas.most=2", "2 has no field 'most'"),
    ]:
        yield Malformed(name=f"the word {word}", content=GOOD, overrides=(word,), says=(says,))


def _absurd_overrides() -> Iterator[Malformed]:
    deep = ".".join(["a"] * 3000)
    for name, word, says in [
        ("a deep default", f"defaults.{deep}=1", "more than 20 fields"),
        ("a deep arm", f"arms.relu.{deep}=1", "more than 20 fields"),
        ("a deep value", f"vary={'[' * 3000}", "nested too deeply"),
        ("many replicas", f"replicas={'9' * 30}", "replicas: found 99999"),
        ("more digits than Python reads", f"replicas={'9' * 5000}", "replicas: "),
        ("an arm twice in a word", "arms={relu: {}, relu: {}}", "duplicate key 'relu'"),
        ("beta twice", "arms.smelu.activation=smelu(beta=1,beta=2)", "beta is given twice"),
        ("a huge beta", f"arms.smelu.activation=smelu(beta={'9' * 400})", "must be finite"),
        ("a beta without hash", "arms.smelu.activation='smelu(beta={[]: 1})'", "a plain value"),
        ("infinitely fast", "optimizer.sparse_learning_rate=.inf", "found inf, expected a finite"),
        ("many components", "arms.x={kind: ensemble, components: 1000000000}", "components: found"),
        ("many brackets", f"arms.relu.activation={'(' * 5000}", "cannot be read"),
        ("many minuses", f"arms.relu.activation=smelu(beta={'-' * 5000}1)", "cannot be read"),
        ("many sums", f"arms.relu.activation=smelu(beta=1{'+1' * 5000})", "smelu(beta=1+1"),
        ("many attributes", f"arms.relu.activation=a{'.a' * 9000}", "cannot be read"),
        ("a long name", f"arms.relu.activation={'a' * 100_000}", "no activation 'aaa"),
        ("an option of NaN", "model={name: 'a:b', options: {x: [.nan]}}", "x.0: found nan"),
        ("a date", "model={name: 'a:b', options: {x: 2020-01-01}}", "x: found datetime.date"),
        ("an arm of arms that have numbers", "arms={1: {}, relu: {}}", "arms: found the name 1"),
        ("a raw control character", "baseline='\x1b[31m'", "not a YAML value"),
        ("an escaped control character", 'baseline="\\e[31m"', "baseline \\x1b[31m: unknown"),
        ("an arm of two lines", 'arms={relu: {}, "a\\nb": 1}', "found the name 'a\\nb'"),
        ("a baseline of bytes", "baseline=!!binary YWI=", "baseline ab: unknown"),
        ("an unknown resource", "engine.resources.num_cpu=1", "did you mean 'num_cpus'?"),
        ("an engine that is a list", "engine.name=[local]", "engine.name ['local']: unknown"),
        ("a key that is a number", "data={1: 2, reader: frappe, directory: x}", "data.1: unknown"),
    ]:
        yield Malformed(name=name, content=GOOD, overrides=(word,), says=(says,))


if __name__ == "__main__":
    for case in malformed_experiments():
        print(case.name, *case.overrides, sep="\t")
