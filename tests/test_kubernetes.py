"""The manifests below kubernetes/, by Kubernetes' own schemas; none of them has met a cluster here."""

from pathlib import Path

import kubernetes_validate
import pytest
import yaml

PROJECT = Path(__file__).parent.parent
VERSION = "1.31"


def documents(name):
    return yaml.safe_load((PROJECT / "kubernetes" / name).read_text())["items"]


def pods(document):
    """The pod templates of a document, by what they are."""
    kind, spec = document["kind"], document["spec"]
    if kind == "RayCluster":
        groups = [("head", spec["headGroupSpec"]), *((g["groupName"], g) for g in spec["workerGroupSpecs"])]
        return {f"ray {name}": group["template"] for name, group in groups}
    return {document["metadata"]["name"]: spec["template"]} if "template" in spec else {}


ALL = [*documents("personaforge.yaml"), *documents("ray-cluster.yaml")]
PODS = {name: template for document in ALL for name, template in pods(document).items()}


@pytest.mark.parametrize("document", ALL, ids=lambda d: f"{d['kind']} {d['metadata']['name']}")
def test_every_manifest_is_what_kubernetes_takes(document):
    if document["kind"] == "RayCluster":  # not Kubernetes' own; its pods are
        for name, template in pods(document).items():
            pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": name.replace(" ", "-")}}
            kubernetes_validate.validate(pod, VERSION, strict=True)
    else:
        kubernetes_validate.validate(document, VERSION, strict=True)


def test_a_misspelt_key_would_be_found():
    (server,) = (d for d in ALL if d["kind"] == "Deployment" and d["metadata"]["name"] == "server")
    broken = yaml.safe_load(yaml.safe_dump(server))
    broken["spec"]["template"]["spec"]["containers"][0]["securityContext"]["readOnlyRootFileSystem"] = True
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, VERSION, strict=True)


def test_no_pod_is_root_writes_its_image_or_takes_what_it_wants():
    assert PODS.keys() == {"postgres", "server", "deploy", "worker-cpu", "worker-gpu", "ray head", "ray cpu", "ray gpu"}
    for name, template in PODS.items():
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"], name
        assert spec["automountServiceAccountToken"] == (name == "ray head"), name
        for container in spec["containers"]:
            locked = container["securityContext"]
            assert locked["readOnlyRootFilesystem"] and not locked["allowPrivilegeEscalation"], name
            assert locked["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"].keys() == {"requests", "limits"}, name
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            given = {volume["name"] for volume in spec["volumes"]} | ({"database"} if name == "postgres" else set())
            assert mounted <= given, name


def test_passwords_come_from_the_secret_and_the_server_wants_one():
    for name, template in PODS.items():
        for variable in template["spec"]["containers"][0].get("env", ()):
            if variable["name"].endswith("_PASSWORD"):
                assert variable["valueFrom"]["secretKeyRef"]["name"] == "personaforge", name
            elif "AUTH_STRING" in variable["name"]:
                assert variable["value"] == "persona:$(PREFECT_PASSWORD)", name
    server = {v["name"]: v.get("value") for v in PODS["server"]["spec"]["containers"][0]["env"]}
    assert server["PREFECT_SERVER_API_AUTH_STRING"] and server["PREFECT_SERVER_CORS_ALLOWED_ORIGINS"] != "*"
