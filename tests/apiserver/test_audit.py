"""What a real server records of requests."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from tests.apiserver.conftest import Api

RULES: list[dict[str, Any]] = [
    {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*", "/version"]},
    {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets"]}]},
    {"level": "RequestResponse", "resources": [{"group": "", "resources": ["configmaps"]}]},
    {"level": "Request", "resources": [{"group": "", "resources": ["pods"]}]},
    {"level": "Metadata", "omitStages": ["RequestReceived"]},
]


@pytest.fixture
def log(own_server: Any, tmp_path: Path) -> Path:
    """The log of a server that audits; it is not running yet."""
    policy = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": RULES, "omitManagedFields": True}
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(policy))
    path = tmp_path / "audit.log"
    own_server.extra = ["--audit-policy-file", str(tmp_path / "policy.yaml"), "--audit-log-path", str(path)]
    return path


def events(log: Path, **wanted: Any) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in log.read_text().splitlines()]
    return [event for event in found if all(event.get(key) == value for key, value in wanted.items())]


def about(event: dict[str, Any]) -> tuple[str, str]:
    return event["objectRef"]["resource"], event["objectRef"].get("name", "")


async def test_requests_are_recorded_as_the_policy_wants(own_server: Any, log: Path) -> None:
    own_server.start()
    async with aiohttp.ClientSession() as session, asyncio.timeout(120):
        api = Api(own_server, session, "default")
        await api.get("/livez")
        made = await api.config_map("a", data={"k": "v"})
        await api.create(api.path("secrets"), {"metadata": {"name": "s"}, "stringData": {"password": "hidden"}})
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await api.call("POST", api.path("pods"), pod)
        await api.get(api.path("configmaps", "nope"), headers={"Audit-ID": "my-id", "User-Agent": "me"})
        await api.get(api.path("secrets"), token="joe-token")
        await api.get("/apis", token="wrong")
        watch = api.watch(f"{api.path('configmaps')}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
        await api.config_map("b")
        await anext(watch)
        await watch.aclose()
        text = (await api.get("/metrics")).body.decode()
        assert "apiserver_audit_event_total " in text
        assert 'apiserver_audit_level_total{level="RequestResponse"} ' in text
    assert own_server.stop() == 0
    assert not events(log, requestURI="/livez")
    assert "hidden" not in log.read_text()
    first, second = [event for event in events(log, verb="create") if about(event)[0] == "configmaps"][:2]
    assert (first["stage"], second["stage"]) == ("RequestReceived", "ResponseComplete")
    assert first["auditID"] == second["auditID"]
    assert (second["kind"], second["apiVersion"], second["level"]) == ("Event", "audit.k8s.io/v1", "RequestResponse")
    assert second["user"]["username"] == "admin"
    assert second["annotations"]["authorization.k8s.io/decision"] == "allow"
    assert second["requestObject"] == {"metadata": {"name": "a"}, "data": {"k": "v"}}
    assert second["responseObject"]["metadata"]["uid"] == made["metadata"]["uid"]
    assert "managedFields" not in second["responseObject"]["metadata"]
    assert second["responseStatus"] == {"metadata": {}, "code": 201}
    assert (second["objectRef"]["namespace"], second["objectRef"]["name"]) == ("default", "a")
    assert second["sourceIPs"] == ["127.0.0.1"]
    secret = next(event for event in events(log, stage="ResponseComplete", verb="create") if about(event)[1] == "s")
    assert "requestObject" not in secret
    created = next(event for event in events(log, stage="ResponseComplete", verb="create") if about(event)[1] == "p")
    assert ("requestObject" in created, "responseObject" in created) == (True, False)
    (missing,) = events(log, auditID="my-id", stage="ResponseComplete")
    assert (missing["userAgent"], missing["responseStatus"]["code"]) == ("me", 404)
    assert missing["responseStatus"]["message"] == 'configmaps "nope" not found'
    (forbidden,) = (event for event in events(log, stage="ResponseComplete") if event["user"]["username"] == "joe")
    assert forbidden["annotations"]["authorization.k8s.io/decision"] == "forbid"
    assert forbidden["responseStatus"]["code"] == 403
    (stranger,) = events(log, requestURI="/apis")
    assert (stranger["stage"], stranger["responseStatus"]["code"]) == ("ResponseComplete", 401)
    stages = [event["stage"] for event in events(log, verb="watch") if about(event)[0] == "configmaps"]
    assert stages == ["RequestReceived", "ResponseStarted", "ResponseComplete"]


def test_a_policy_that_cannot_be_read_keeps_the_server_from_starting(own_server: Any, log: Path) -> None:
    (log.parent / "policy.yaml").write_text("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Loud}]\n")
    process = own_server.launch()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert 'policy.yaml: rules[0].level: Unsupported value: "Loud"' in errors


async def test_readiness_fails_before_connections_are_refused(own_server: Any) -> None:
    own_server.extra = ["--shutdown-delay-duration", "6"]
    own_server.start()
    async with aiohttp.ClientSession() as session, asyncio.timeout(120):
        api = Api(own_server, session, "default")
        assert (await api.get("/readyz")).status == 200
        stopping = asyncio.create_task(asyncio.to_thread(own_server.stop))
        answer = await api.get("/readyz")
        while answer.status == 200:
            answer = await api.get("/readyz")
        assert b"[-]shutdown failed" in answer.body
        assert (await api.get("/livez")).status == 200
        await api.config_map("late")
        assert await stopping == 0


async def test_what_admission_finds_is_recorded(own_server: Any, log: Path) -> None:
    own_server.start()
    async with aiohttp.ClientSession() as session, asyncio.timeout(120):
        api = Api(own_server, session, "strict")
        key = "pod-security.kubernetes.io/"
        labels = {key + "enforce": "baseline", key + "audit": "restricted", key + "audit-version": "v1.22"}
        await api.create("/api/v1/namespaces", {"metadata": {"name": "strict", "labels": labels}})
        pod = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
        await api.create(api.path("pods"), pod)
        pod = {"metadata": {"name": "q"}, "spec": {**pod["spec"], "hostPID": True}}
        assert (await api.call("POST", api.path("pods"), pod)).status == 403
    assert own_server.stop() == 0
    found = [e for e in events(log, stage="ResponseComplete", verb="create") if about(e)[0] == "pods"]
    for event in found:
        assert event["annotations"][key + "enforce-policy"] == "baseline:latest"
        assert event["annotations"][key + "audit-violations"].startswith(
            'would violate PodSecurity "restricted:v1.22": '
        )
    assert [event["responseStatus"]["code"] for event in found] == [201, 403]
