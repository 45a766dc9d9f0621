"""Manifests and launcher files, checked offline against the schemas of those who read them."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.support.kuberay import faults
from tests.support.shared import ROOT

CLUSTER = ROOT / "cluster"
KUBERAY = sorted((CLUSTER / "kuberay").glob("*.yaml"))
LAUNCHER = sorted((CLUSTER / "launcher").glob("*.yaml"))
SPOT_CUSTOM = "spot"
"""The resource of the experiments' engine.resources.custom and of the local cluster's nodes"""


def pinned(package: str) -> str:
    """Return the version that everything is tested with."""
    (version,) = re.findall(
        rf"^{package}==(.*)$", (ROOT / "requirements/cpu.txt").read_text(), re.MULTILINE
    )
    return version


def read(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def cluster_of(path: Path) -> dict[str, Any]:
    """Return the cluster's specification in a manifest."""
    spec = read(path)["spec"]
    return spec.get("rayClusterSpec", spec)


def groups_of(path: Path) -> dict[str, dict[str, Any]]:
    return {group["groupName"]: group for group in cluster_of(path)["workerGroupSpecs"]}


def test_there_are_manifests_for_a_job_and_a_cluster_and_files_for_two_clouds():
    assert [path.name for path in KUBERAY] == ["raycluster.yaml", "rayjob.yaml"]
    assert [path.name for path in LAUNCHER] == ["aws.yaml", "gcp.yaml"]


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_a_manifest_is_what_the_operator_takes(path):
    assert faults(read(path)) == []


@pytest.mark.parametrize(
    "spoil",
    [
        lambda spec: spec.update(enableIntreeAutoscaling=True),
        lambda spec: spec["workerGroupSpecs"][0].update(maxReplicas="many"),
        lambda spec: spec["headGroupSpec"].pop("template"),
        lambda spec: spec["workerGroupSpecs"][0]["template"]["spec"].update(tolerances=[]),
    ],
)
def test_a_spoiled_manifest_is_seen(spoil):
    manifest = read(CLUSTER / "kuberay" / "raycluster.yaml")
    spoil(manifest["spec"])

    assert len(faults(manifest)) == 1


def test_the_jobs_cluster_is_the_one_that_stays():
    job, cluster = (cluster_of(CLUSTER / "kuberay" / f"{name}.yaml") for name in KINDS)

    assert job == cluster


KINDS = ("rayjob", "raycluster")


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_nodes_start_from_none_and_the_head_does_no_work(path):
    spec, groups = cluster_of(path), groups_of(path)

    assert spec["enableInTreeAutoscaling"] is True
    assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert groups.keys() == {"cpu", "gpu", "spot"}
    assert {group["minReplicas"] for group in groups.values()} == {0}
    assert all(group["maxReplicas"] > 0 for group in groups.values())


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_every_pod_has_its_shared_memory_at_dev_shm_within_its_limit(path):
    pods = [group["template"]["spec"] for group in groups_of(path).values()]
    pods.append(cluster_of(path)["headGroupSpec"]["template"]["spec"])

    for pod in pods:
        (ray,) = pod["containers"]
        (name,) = (m["name"] for m in ray["volumeMounts"] if m["mountPath"] == "/dev/shm")
        (volume,) = (each["emptyDir"] for each in pod["volumes"] if each["name"] == name)
        assert volume["medium"] == "Memory"
        assert gibibytes(volume["sizeLimit"]) <= gibibytes(ray["resources"]["limits"]["memory"])


def gibibytes(quantity: str) -> int:
    (number,) = re.fullmatch(r"(\d+)Gi", quantity).groups()
    return int(number)


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_spot_pods_offer_the_resource_that_trials_ask_for_and_stand_on_spot_machines_alone(path):
    spot = groups_of(path)["spot"]
    pod = spot["template"]["spec"]
    # KubeRay puts it on a shell's command line, hence the quotes within.
    offered = json.loads(json.loads(spot["rayStartParams"]["resources"]))

    assert offered == {SPOT_CUSTOM: int(pod["containers"][0]["resources"]["limits"]["cpu"])}
    assert pod["nodeSelector"]
    assert {each["key"] for each in pod["tolerations"]} == set(pod["nodeSelector"])


@pytest.mark.parametrize("path", KUBERAY, ids=lambda path: path.name)
def test_a_manifests_ray_is_the_pinned_one_and_its_images_are_those_that_are_built(path):
    built = re.findall(r"^FROM rayproject/.* AS (\w+)$", containerfile(), re.MULTILINE)
    used = re.findall(r"image: (\S+)", path.read_text())

    assert cluster_of(path)["rayVersion"] == pinned("ray")
    assert set(used) == {f"soloist:{target}" for target in built}


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_a_launcher_file_is_what_ray_takes(path):
    config = read(path)

    validate_config(prepare_config(copy.deepcopy(config)))

    nodes = config["available_node_types"]
    assert nodes[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert nodes.keys() == {"head", "cpu", "gpu", "spot"}
    assert nodes["spot"]["resources"][SPOT_CUSTOM] == nodes["spot"]["resources"]["CPU"]
    assert all(node["min_workers"] == 0 for node in nodes.values())
    assert sum(node["max_workers"] for node in nodes.values()) >= config["max_workers"]
    assert any("--shm-size" in word for word in config["docker"]["run_options"])


@pytest.mark.parametrize("path", LAUNCHER, ids=lambda path: path.name)
def test_every_machine_mounts_the_data_and_every_container_sees_it_where_pods_do(path):
    config = prepared(path)
    mounts = [re.search(r"sudo mount .* (\S+)$", c) for c in config["initialization_commands"]]
    (mounted,) = (found[1] for found in mounts if found)
    pods = cluster_of(CLUSTER / "kuberay" / "rayjob.yaml")["headGroupSpec"]["template"]["spec"]
    (in_pods,) = (
        m["mountPath"] for m in pods["containers"][0]["volumeMounts"] if m["name"] == "data"
    )

    assert f"-v {mounted}:{in_pods}" in config["docker"]["run_options"]
    assert f"sudo mkdir -p {mounted}" in config["initialization_commands"]
    for node in config["available_node_types"].values():
        assert "initialization_commands" not in node  # which would stand in place of the others


@pytest.mark.parametrize(
    ("name", "rights"), [("aws", "IamInstanceProfile"), ("gcp", "serviceAccounts")]
)
def test_workers_have_rights_to_a_bucket_and_the_head_those_that_ray_gives_it(name, rights):
    nodes = prepared(CLUSTER / "launcher" / f"{name}.yaml")["available_node_types"]
    given = {kind: node["node_config"].get(rights) for kind, node in nodes.items()}

    assert given.pop("head") is None
    assert all(given.values())
    assert given["cpu"] == given["gpu"] == given["spot"]


def prepared(path: Path) -> dict[str, Any]:
    """Return a launcher file as Ray completes and takes it."""
    config = prepare_config(read(path))
    validate_config(config)
    return config


@pytest.mark.parametrize("field", ["max_worker", "head_node"])
def test_a_launcher_file_with_an_unknown_field_is_refused_by_ray(field):
    config = read(LAUNCHER[0]) | {field: 3}

    with pytest.raises(Exception, match=field):
        validate_config(prepare_config(config))


def test_the_containers_ray_and_python_are_the_pinned_ones():
    (ray,) = re.findall(r"^ARG RAY=(.*)$", containerfile(), re.MULTILINE)
    pythons = set(re.findall(r"^FROM .*-py(\d)(\d+)-", containerfile(), re.MULTILINE))
    (setup,) = re.findall(r"^PYTHON \?= python(\d)\.(\d+)$", (ROOT / "Makefile").read_text(), re.M)

    assert ray == pinned("ray")
    assert pythons == {setup}


def test_the_container_gets_files_that_are_there():
    copied = re.findall(r"^COPY (.*) /tmp/$", containerfile(), re.MULTILINE)

    assert copied
    assert all((ROOT / name).is_file() for line in copied for name in line.split())


def test_the_container_gets_soloist_for_a_job_that_brings_no_code():
    manifest = read(CLUSTER / "kuberay" / "rayjob.yaml")["spec"]
    packaged = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    rooms = {name.rstrip("*") for name in packaged["packages"]["find"]["include"]}
    _, code, *images = re.split(r"^FROM ", containerfile(), flags=re.MULTILINE)

    assert "runtimeEnvYAML" not in manifest
    assert manifest["entrypoint"].startswith("python -m jobs.sweep ")
    assert {name for name, at in re.findall(r"^COPY (\w+) /(\w+)$", code, re.M) if name == at} == (
        rooms
    )
    assert len(images) == 2
    for image in images:
        copied, installed = image.strip().splitlines()[-2:]
        assert copied == "COPY --from=code --chown=ray / /tmp/soloist/"
        assert re.fullmatch(r"RUN pip install .* --no-deps .* /tmp/soloist", installed)


def containerfile() -> str:
    return (CLUSTER / "Containerfile").read_text(encoding="utf-8")
