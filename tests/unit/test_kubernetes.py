"""No cluster runs where this project is built, so the manifests are checked as text.

kubernetes-validate carries the published schemas. KEDA's own kinds are not among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped, unused-ignore]
import pytest
from ruamel.yaml import YAML

from api_client.contract import codec
from tests.support.containers import REPOSITORY, load_compose
from worker.cli.output import Exit
from worker.settings import Settings
from worker.shutdown import _LAST_SECONDS, _POOL_SECONDS

FOLDER = REPOSITORY / "deploy/kubernetes"
#: The oldest release that still gets fixes, more or less, and the newest that there are schemas of.
RELEASES = ("1.34", "1.37")
KEDA = "keda.sh/v1alpha1"

Manifest = dict[str, Any]


def documents(path: Path) -> list[Manifest]:
    # Kubernetes reads YAML 1.1, in which 0440 is octal.
    yaml = YAML(typ="safe", pure=True)
    yaml.version = (1, 1)
    return list(yaml.load_all(path.read_text(encoding="utf-8")))


def kustomized(folder: Path) -> Iterator[Manifest]:
    """What `kubectl kustomize` makes of a folder, but for the names of images."""
    (kustomization,) = documents(folder / "kustomization.yaml")
    assert kustomization.keys() <= {"apiVersion", "kind", "resources", "images"}
    for resource in kustomization["resources"]:
        path = (folder / resource).resolve()
        if path.is_dir():
            yield from kustomized(path)
        else:
            yield from documents(path)


OVERLAYS = ("keda", "nightly")
ALL = [manifest for name in OVERLAYS for manifest in kustomized(FOLDER / name)]
(SECRET,) = documents(FOLDER / "secret.example.yaml")


def one(kind: str, name: str) -> Manifest:
    (found,) = [each for each in ALL if each["kind"] == kind and each["metadata"]["name"] == name]
    return found


WORKER = one("Deployment", "zdk-worker")
MIGRATE = one("Job", "zdk-migrate")
NIGHTLY = {name: one("CronJob", f"zdk-{name}")["spec"] for name in ("backup", "sweep")}
PODS = {
    "worker": WORKER["spec"]["template"],
    "migrate": MIGRATE["spec"]["template"],
    **{name: job["jobTemplate"]["spec"]["template"] for name, job in NIGHTLY.items()},
}


def container(pod: str) -> Manifest:
    (found,) = PODS[pod]["spec"]["containers"]
    return dict(found)


def test_every_file_is_part_of_a_kustomization_but_the_example() -> None:
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml")}
    listed = {"secret.example.yaml"}
    for name in ("base", *OVERLAYS):
        (kustomization,) = documents(FOLDER / name / "kustomization.yaml")
        listed |= {f"{name}/kustomization.yaml"}
        listed |= {f"{name}/{each}" for each in kustomization["resources"] if "/" not in each}

    assert files == listed


@pytest.mark.parametrize("release", RELEASES)
def test_manifests_follow_the_published_schemas(release: str) -> None:
    for manifest in [*ALL, SECRET]:
        if manifest["apiVersion"] != KEDA:
            kubernetes_validate.validate(manifest, release, strict=True)


def test_schemas_refuse_a_wrong_manifest() -> None:
    wrong = {**WORKER, "spec": {**WORKER["spec"], "replica": 2}}

    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, RELEASES[-1], strict=True)


def test_names_are_given_once() -> None:
    names = [(each["apiVersion"], each["kind"], each["metadata"]["name"]) for each in ALL]

    assert len(names) == len(set(names)) == 11


@pytest.mark.parametrize("pod", PODS)
def test_pods_refer_to_what_is_there(pod: str) -> None:
    spec = PODS[pod]["spec"]
    volumes = {each["name"]: each for each in spec["volumes"]}

    assert [each["configMapRef"]["name"] for each in container(pod)["envFrom"]] == ["zdk-config"]
    assert {each["name"] for each in container(pod)["volumeMounts"]} == volumes.keys()
    assert volumes["passwords"]["secret"]["secretName"] == SECRET["metadata"]["name"]
    claims = [
        each["persistentVolumeClaim"]["claimName"]
        for each in volumes.values()
        if "persistentVolumeClaim" in each
    ]
    assert (
        claims
        == {
            "worker": ["zdk-blobs"],
            "migrate": [],
            "backup": ["zdk-blobs", "zdk-backups"],
            "sweep": ["zdk-blobs"],
        }[pod]
    )
    assert all(one("PersistentVolumeClaim", claim) for claim in claims)


@pytest.mark.parametrize("pod", PODS)
def test_passwords_are_files_that_only_our_user_reads(pod: str) -> None:
    config = one("ConfigMap", "zdk-config")["data"]
    mounts = {each["name"]: each for each in container(pod)["volumeMounts"]}
    volumes = {each["name"]: each for each in PODS[pod]["spec"]["volumes"]}
    named = {value for name, value in config.items() if name.endswith("_FILE")}

    folder = mounts["passwords"]["mountPath"]
    assert named == {f"{folder}/{key}" for key in SECRET["stringData"]}
    assert volumes["passwords"]["secret"]["defaultMode"] == 0o440
    assert not any(SECRET["stringData"].values()), "an example holds no password"


@pytest.mark.parametrize("pod", PODS)
def test_pods_can_change_nothing_but_their_data(pod: str) -> None:
    spec, ours = PODS[pod]["spec"], container(pod)

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert ours["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert ours["resources"].keys() == {"requests", "limits"}
    assert any(each["mountPath"] == "/tmp" for each in ours["volumeMounts"])


def test_user_is_that_of_the_image() -> None:
    dockerfile = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
    for pod in PODS.values():
        context = pod["spec"]["securityContext"]
        assert f"\nUSER {context['runAsUser']}:{context['runAsGroup']}\n" in dockerfile
        assert context["fsGroup"] == context["runAsGroup"]


def test_config_is_that_of_the_compose_file(monkeypatch: pytest.MonkeyPatch) -> None:
    config = one("ConfigMap", "zdk-config")["data"]
    compose = load_compose()["services"]["worker"]["environment"]
    same = {"ZDK_ARTIFACTS_URL", "ZDK_MIGRATE_ON_START", "ZDK_HTTP_HOST", "ZDK_HTTP_PORT"}

    assert {name: config[name] for name in same} == {name: compose[name] for name in same}
    for name, value in config.items():
        if not name.endswith("_FILE"):
            monkeypatch.setenv(name, value)
    settings = Settings()
    assert settings.shutdown_grace == float(config["ZDK_SHUTDOWN_GRACE"])
    mounts = {each["mountPath"] for each in container("worker")["volumeMounts"]}
    assert settings.artifacts_url.removeprefix("file://") in mounts


def test_a_worker_may_finish_before_it_is_killed() -> None:
    grace = float(one("ConfigMap", "zdk-config")["data"]["ZDK_SHUTDOWN_GRACE"])

    # What worker.shutdown takes at most, once the grace is over.
    needed = grace + _POOL_SECONDS + _LAST_SECONDS
    assert PODS["worker"]["spec"]["terminationGracePeriodSeconds"] > needed


def test_probes_and_prometheus_ask_the_endpoint() -> None:
    ours = container("worker")
    port = int(one("ConfigMap", "zdk-config")["data"]["ZDK_HTTP_PORT"])
    annotations = PODS["worker"]["metadata"]["annotations"]

    assert ours["ports"] == [{"name": "http", "containerPort": port}]
    paths = {name: ours[name]["httpGet"] for name in ours if name.endswith("Probe")}
    assert paths == {
        "startupProbe": {"path": "/live", "port": "http"},
        "livenessProbe": {"path": "/live", "port": "http"},
        "readinessProbe": {"path": "/ready", "port": "http"},
    }
    assert annotations["prometheus.io/port"] == str(port)
    assert annotations["prometheus.io/path"] == "/metrics"
    (rule,) = one("NetworkPolicy", "zdk-worker")["spec"]["ingress"]
    assert rule["ports"] == [{"port": "http", "protocol": "TCP"}]


def test_selectors_find_the_workers() -> None:
    labels = PODS["worker"]["metadata"]["labels"]
    selectors = [
        WORKER["spec"]["selector"],
        one("PodDisruptionBudget", "zdk-worker")["spec"]["selector"],
        one("NetworkPolicy", "zdk-worker")["spec"]["podSelector"],
        *(each["labelSelector"] for each in PODS["worker"]["spec"]["topologySpreadConstraints"]),
    ]

    assert all(each["matchLabels"].items() <= labels.items() for each in selectors)
    # A budget that counted a job's pod, or a Deployment that took it, would be wrong.
    for name in PODS.keys() - {"worker"}:
        others = PODS[name]["metadata"]["labels"]
        assert not WORKER["spec"]["selector"]["matchLabels"].items() <= others.items()


def test_commands_are_those_of_the_command_line() -> None:
    assert container("migrate")["args"] == ["migrate"]
    assert container("worker")["args"] == ["worker", "--concurrency", "4"]
    assert "command" not in container("worker"), "the image's entry point is zdk"


def test_each_night_has_a_backup_and_then_a_sweep() -> None:
    folder = {each["name"]: each["mountPath"] for each in container("backup")["volumeMounts"]}

    assert container("backup")["args"] == ["backup", folder["backups"], "--keep", "30"]
    assert container("sweep")["args"] == ["sweep"]
    assert NIGHTLY["backup"]["schedule"] < NIGHTLY["sweep"]["schedule"]
    for job in NIGHTLY.values():
        assert job["concurrencyPolicy"] == "Forbid"
        assert job["jobTemplate"]["spec"]["template"]["spec"]["restartPolicy"] == "Never"
    (rule,) = NIGHTLY["backup"]["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    assert rule["onExitCodes"]["values"] == [Exit.UNEXPECTED, Exit.USAGE, Exit.NOT_FOUND]


def test_scaling_looks_at_our_queues_with_the_brokers_password() -> None:
    scaled = one("ScaledObject", "zdk-worker")["spec"]
    broker = one("ConfigMap", "zdk-config")["data"]["ZDK_BROKER_URL"]
    authentication = one("TriggerAuthentication", "zdk-broker")

    assert scaled["scaleTargetRef"]["name"] == WORKER["metadata"]["name"]
    assert "replicas" not in WORKER["spec"], "applying it again would set KEDA's number back"
    assert 1 <= scaled["minReplicaCount"] < scaled["maxReplicaCount"]
    queues = [each["metadata"]["listName"] for each in scaled["triggers"]]
    assert queues == [codec.WRITE_QUEUE, codec.READ_QUEUE]
    for trigger in scaled["triggers"]:
        address, database = trigger["metadata"]["address"], trigger["metadata"]["databaseIndex"]
        assert trigger["type"] == "redis"
        # In full, since KEDA asks from a namespace of its own.
        host, namespace, *rest = address.split(".")
        assert (namespace, rest) == ("default", ["svc", "cluster", "local:6379"])
        assert f"redis://{host}:6379/{database}" == broker
        assert all(isinstance(value, str) for value in trigger["metadata"].values())
        assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    (reference,) = authentication["spec"]["secretTargetRef"]
    assert reference["parameter"] == "password"
    assert reference["name"] == SECRET["metadata"]["name"]
    assert reference["key"] in SECRET["stringData"]
