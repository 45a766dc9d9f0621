"""What the README shows is what the code takes."""

from __future__ import annotations

import re

import pytest
import yaml

from jobs.cli import main
from jobs.experiment.loading import load_experiment, shipped_experiments
from recsys.data.readers.table_schema import TableSchema
from tests.support.shared import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_schema_of_one_s_own_table_can_be_parsed() -> None:
    (block,) = re.findall(r"```yaml\n# clicks\.yaml\n(.*?)```", README, re.DOTALL)

    schema = TableSchema.model_validate(yaml.safe_load(block))

    assert schema.label == "clicked"
    assert [column.name for column in schema.multi_valued] == ["tags"]


def test_the_overrides_of_the_example_are_fields_of_the_experiment() -> None:
    (words,) = re.findall(r"^soloist sweep movielens (.*?) --output", README, re.MULTILINE)

    changed = load_experiment("movielens", words.replace('"', "").split())

    assert changed.arms["smelu_1"].recipe.arm.activation == "smelu(beta=1.5)"
    assert changed.arms["relu"].replication.replicas == 12


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\((?!http)([^)#]+)\)", README))))
def test_a_link_of_the_readme_leads_somewhere(link: str) -> None:
    assert (ROOT / link).exists()


@pytest.mark.parametrize(
    "command", sorted(set(re.findall(r"^soloist ([a-z-]+)|`soloist ([a-z-]+)", README, re.M)))
)
def test_every_command_of_the_readme_has_help(command, capsys, monkeypatch) -> None:
    name = "".join(command)
    monkeypatch.setattr("sys.argv", ["soloist", name, "--help"])

    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 0
    assert name in capsys.readouterr().out


def test_the_demo_trains_as_many_arms_and_replicas_as_it_says() -> None:
    (arms, replicas) = re.findall(r"train (\d+) arms x (\d+) replicas", README)[0]

    demo = load_experiment(str(shipped_experiments()["movielens"]))

    assert len(demo.arms) == int(arms)
    assert {arm.replication.replicas for arm in demo.arms.values()} == {int(replicas)}
