"""Jobs, CronJobs and autoscalers with real pods, driven by kubectl."""

from __future__ import annotations

import json

from .conftest import Engine, Obj, eventually

IMAGE = "docker.io/library/busybox:1.36"


def work(name: str, command: str, **spec: object) -> Obj:
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", command]}
    template = {"spec": {"restartPolicy": "Never", "terminationGracePeriodSeconds": 0, "containers": [container]}}
    made = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}}
    return {**made, "spec": {"template": template, **spec}}


def wait(engine: Engine, namespace: str, what: str, condition: str) -> Obj:
    engine.kubectl("wait", f"--for=condition={condition}", what, "-n", namespace, "--timeout=120s")
    kind, _, name = what.partition("/")
    return engine.get(kind, name, namespace)


def test_jobs_end_as_they_are_meant_to(engine: Engine, namespace: str) -> None:
    indexed = {"completionMode": "Indexed", "completions": 3, "parallelism": 3}
    say = "echo $JOB_COMPLETION_INDEX $(hostname)"
    ignore = {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget"}]}
    fail = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    jobs = [
        work("plain", "true", completions=2, parallelism=2),
        work("numbered", say, **indexed),
        work("partly", "[ $JOB_COMPLETION_INDEX != 1 ]", **indexed, backoffLimitPerIndex=0),
        work("failing", "exit 42", podFailurePolicy={"rules": [ignore, fail]}),
        work(
            "enough",
            "[ $JOB_COMPLETION_INDEX = 0 ] || sleep 1000",
            **indexed,
            successPolicy={"rules": [{"succeededIndexes": "0"}]},
        ),
        work("late", "sleep 1000", activeDeadlineSeconds=1),
        work("gone", "true", ttlSecondsAfterFinished=0),
    ]
    engine.apply({"apiVersion": "v1", "kind": "List", "items": jobs}, namespace)
    assert wait(engine, namespace, "job/plain", "complete")["status"]["succeeded"] == 2
    assert wait(engine, namespace, "job/numbered", "complete")["status"]["completedIndexes"] == "0-2"
    said = engine.kubectl("logs", "-n", namespace, "-l", "batch.kubernetes.io/job-name=numbered").stdout
    assert sorted(said.splitlines()) == ["0 numbered-0", "1 numbered-1", "2 numbered-2"]
    partly = wait(engine, namespace, "job/partly", "failed")["status"]
    assert (partly["completedIndexes"], partly["failedIndexes"]) == ("0,2", "1")
    failing = wait(engine, namespace, "job/failing", "failed")["status"]["conditions"][-1]
    assert failing["reason"] == "PodFailurePolicy"
    assert "failed with exit code 42 matching FailJob rule at index 1" in failing["message"]
    enough = wait(engine, namespace, "job/enough", "complete")["status"]
    assert (enough["conditions"][-1]["reason"], enough["terminating"]) == ("SuccessPolicy", 0)
    assert wait(engine, namespace, "job/late", "failed")["status"]["conditions"][-1]["reason"] == "DeadlineExceeded"
    engine.kubectl("wait", "--for=delete", "job/gone", "-n", namespace, "--timeout=120s")
    pods = engine.list("pods", namespace)
    assert not any(pod["metadata"].get("finalizers") for pod in pods)
    assert {p["status"]["phase"] for p in pods} == {"Succeeded", "Failed"}


def test_a_cron_job_runs_and_can_be_run_by_hand(engine: Engine, namespace: str) -> None:
    args = ("create", "cronjob", "tick", f"--image={IMAGE}", "--schedule=@every 1s", "-n", namespace)
    engine.kubectl(*args, "--", "true")

    def succeeded() -> bool:
        return bool(engine.get("cronjob", "tick", namespace).get("status", {}).get("lastSuccessfulTime"))

    eventually(succeeded, "a run of the CronJob")
    engine.kubectl("patch", "cronjob", "tick", "-n", namespace, "-p", json.dumps({"spec": {"suspend": True}}))
    # As many seconds as that took, as many Jobs there may be.
    made = engine.list("jobs", namespace)
    assert made
    for job in made:
        assert "batch.kubernetes.io/cronjob-scheduled-timestamp" in job["metadata"]["annotations"]
        told = ("SuccessfulCreate", f"Created job {job['metadata']['name']}")
        eventually(lambda told=told: told in engine.events(namespace, "tick"), told[1])
    engine.kubectl("create", "job", "by-hand", "--from=cronjob/tick", "-n", namespace)
    wait(engine, namespace, "job/by-hand", "complete")
    engine.kubectl("delete", "cronjob", "tick", "-n", namespace)
    eventually(lambda: not engine.list("pods", namespace), "the end of the CronJob's pods")


def test_a_busy_deployment_is_scaled(engine: Engine, namespace: str) -> None:
    limits = {"requests": {"cpu": "10m"}, "limits": {"cpu": "50m"}}
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", "while :; do :; done"], "resources": limits}
    template = {"metadata": {"labels": {"app": "busy"}}, "spec": {"terminationGracePeriodSeconds": 0}}
    template["spec"]["containers"] = [container]
    spec = {"selector": {"matchLabels": {"app": "busy"}}, "template": template}
    engine.apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "busy"}, "spec": spec}, namespace)
    engine.kubectl("rollout", "status", "deployment/busy", "-n", namespace, "--timeout=120s")
    engine.kubectl("autoscale", "deployment", "busy", "-n", namespace, "--min=1", "--max=2", "--cpu=50%")
    message = engine.wait_event(namespace, "busy", "SuccessfulRescale")
    assert message == "New size: 2; reason: cpu resource utilization (percentage of request) above target"
    engine.kubectl("rollout", "status", "deployment/busy", "-n", namespace, "--timeout=120s")
    status = wait(engine, namespace, "hpa/busy", "ScalingActive")["status"]
    assert status["currentMetrics"][0]["resource"]["current"]["averageUtilization"] > 50
