"""`ray_cluster.yaml` against the schema in the installed Ray. Ray itself is not even imported."""

import importlib.util
import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster():
    return yaml.safe_load((ROOT / "ray_cluster.yaml").read_text())


@pytest.fixture(scope="module")
def autoscaler():
    (ray,) = importlib.util.find_spec("ray").submodule_search_locations
    return Path(ray) / "autoscaler"


def complaints(cluster, autoscaler):
    schema = json.loads((autoscaler / "ray-schema.json").read_text())
    validator = jsonschema.Draft7Validator(schema)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(cluster)]


def test_ray_accepts_it(cluster, autoscaler):
    assert complaints(cluster, autoscaler) == []


def test_ray_accepts_it_with_its_defaults_filled_in(cluster, autoscaler):
    """What `ray up` validates: the defaults of the provider under our file."""
    defaults = yaml.safe_load((autoscaler / "local" / "defaults.yaml").read_text())
    assert complaints(defaults | cluster, autoscaler) == []


@pytest.mark.parametrize(
    "change",
    [
        {"min_worker": 3},
        {"setup_commands": "make install"},
        {"provider": {"head_ip": "192.0.2.10"}},
        {"auth": {"ssh_usr": "counters"}},
    ],
    ids=str,
)
def test_a_mistake_is_noticed(cluster, autoscaler, change):
    assert complaints(cluster | change, autoscaler)


def test_it_names_a_head_and_workers(cluster):
    """The schema leaves this open; `ray up` with a local provider refuses to start without it."""
    provider = cluster["provider"]
    assert provider["type"] == "local"
    machines = [provider["head_ip"], *provider["worker_ips"]]
    assert len(machines) >= 2
    assert len(set(machines)) == len(machines)


def test_every_file_that_an_installation_needs_is_sent(cluster):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    needed = {"pyproject.toml", "requirements.lock", "Makefile", project["project"]["readme"], *packages}
    needed |= set(project["project"]["license-files"])

    assert set(cluster["file_mounts"].values()) == needed
    assert all((ROOT / local).exists() for local in needed)
    assert all(remote == f"~/durable-counters/{local}" for remote, local in cluster["file_mounts"].items())


def test_the_head_knows_its_cluster_and_the_workers_their_head(cluster):
    *_, head = cluster["head_start_ray_commands"]
    *_, worker = cluster["worker_start_ray_commands"]
    assert "ray start --head" in head
    assert "--autoscaling-config=" in head
    assert "ray start --address=$RAY_HEAD_IP:" in worker
