"""Deployments and Services: scaling, rolling updates under load, self-healing."""

from __future__ import annotations

from .conftest import Engine, Obj, eventually
from .load import REPLICAS, SERVICE, Load, answer, rollout, web


def test_a_rolling_update_under_load_loses_no_request(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    engine.apply(SERVICE, namespace)
    rollout(engine, namespace)
    assert len(engine.list("pods", namespace, "app=web")) == REPLICAS
    address = engine.get("service", "web", namespace)["spec"]["clusterIP"]
    eventually(lambda: answer(address) == "v1", "the service's answer")

    engine.kubectl("scale", "deployment/web", "--replicas=5", "-n", namespace)
    rollout(engine, namespace)
    ready = [p for p in engine.list("pods", namespace, "app=web") if _is_ready(p)]
    assert len(ready) == 5

    second = web("v2")
    second["spec"]["replicas"] = 5
    with Load(address) as load:
        engine.apply(second, namespace)
        rollout(engine, namespace)
        eventually(lambda: len(engine.list("pods", namespace, "app=web")) == 5, "the old pods' end")
    assert load.failures == []
    assert load.answers[-1] == "v2"
    assert {"v1", "v2"} == set(load.answers)


def test_deleted_pods_are_replaced(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    rollout(engine, namespace)
    before = {p["metadata"]["name"] for p in engine.list("pods", namespace, "app=web")}
    engine.kubectl("delete", "pod", sorted(before)[0], "-n", namespace)
    rollout(engine, namespace)
    after = {p["metadata"]["name"] for p in engine.list("pods", namespace, "app=web")}
    assert len(after) == REPLICAS
    assert len(after & before) == REPLICAS - 1


def test_pods_reach_a_service_and_themselves_through_it(engine: Engine, namespace: str) -> None:
    one = web("v1")
    one["spec"]["replicas"] = 1
    engine.apply(one, namespace)
    engine.apply(SERVICE, namespace)
    rollout(engine, namespace)
    address = engine.get("service", "web", namespace)["spec"]["clusterIP"]
    name = engine.list("pods", namespace, "app=web")[0]["metadata"]["name"]
    eventually(lambda: answer(address) == "v1", "the service's answer")
    for _ in range(3):
        got = engine.kubectl("exec", name, "-n", namespace, "--", "wget", "-qO-", f"http://{address}/")
        assert got.stdout == "v1\n"


def test_deleting_a_deployment_deletes_what_it_owns(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    rollout(engine, namespace)
    engine.kubectl("delete", "deployment", "web", "-n", namespace)
    eventually(lambda: engine.list("replicasets", namespace) == [], "the ReplicaSet's deletion")
    eventually(lambda: engine.list("pods", namespace) == [], "the pods' deletion")


def test_orphaned_pods_stay(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    rollout(engine, namespace)
    replica_set = engine.list("replicasets", namespace)[0]["metadata"]["name"]
    engine.kubectl("delete", "deployment", "web", "-n", namespace, "--cascade=orphan")
    engine.kubectl("delete", "replicaset", replica_set, "-n", namespace, "--cascade=orphan")
    pods = engine.list("pods", namespace, "app=web")
    assert len(pods) == REPLICAS
    assert not any(p["metadata"].get("ownerReferences") for p in pods)


def test_a_deleted_namespace_takes_everything_with_it(engine: Engine, namespace: str) -> None:
    engine.apply(web("v1"), namespace)
    engine.apply(SERVICE, namespace)
    rollout(engine, namespace)
    engine.kubectl("delete", "namespace", namespace, "--timeout=120s")
    gone = engine.kubectl("get", "pods", "-n", namespace, "-o", "name")
    assert gone.stdout == ""
    assert engine.kubectl("get", "namespace", namespace, check=False).returncode == 1


def _is_ready(pod: Obj) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", []))
