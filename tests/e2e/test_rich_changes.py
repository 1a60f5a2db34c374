"""What changed in a running container is listed, and becomes an image with the same settings."""

from __future__ import annotations

import json
from pathlib import Path

from tests.node import registry as registries

from .conftest import Engine, eventually, pod
from .test_rich import PROBE, rich


def test_changes_of_a_rich_container_become_an_image(
    engine: Engine, namespace: str, image: str, tmp_path: Path
) -> None:
    engine.apply(rich("a", container=PROBE), namespace)
    done = {"readinessProbe": {"exec": {"command": ["test", "!", "-e", "/etc/group"]}, "periodSeconds": 1}}
    done["readinessProbe"]["timeoutSeconds"] = 20
    script = "mkdir /new; echo hello > /new/file; rm /etc/group; exec sleep 1000000"
    other = pod("b", script, container=done)
    # Not the agent of that name: the node's own answers.
    other["metadata"]["labels"] = {"app.kubernetes.io/name": "hawser-rich"}
    engine.apply(other, namespace)
    engine.wait_ready("a", namespace)
    engine.wait_ready("b", namespace)
    script = (
        "echo released > /etc/motd; rm /etc/cron.daily/dpkg; rm -r /etc/logrotate.d; mkdir /etc/logrotate.d; "
        "echo x > /etc/logrotate.d/mine; chown 5:6 /etc/motd; echo gone > /run/x; echo gone > /tmp/x; useradd bob"
    )
    engine.kubectl("exec", "a", "-n", namespace, "--", "sh", "-ec", script)
    found = json.loads(engine.hawser("rich", "diff", "a", "-n", namespace, "-o", "json").stdout)
    told = {change["path"]: change for change in found["changes"]}
    assert found["image"] == image
    assert told["/etc/cron.daily/dpkg"]["kind"] == "deleted"
    assert told["/etc/cron.daily/dpkg"]["before"] > 0
    assert told["/etc/logrotate.d/legacy-app"]["kind"] == "deleted"
    assert told["/etc/logrotate.d/mine"] | {"mtime": 0} == {
        "path": "/etc/logrotate.d/mine",
        "kind": "added",
        "type": "file",
        "mode": "0644",
        "size": 2,
        "mtime": 0,
        "uid": 0,
        "gid": 0,
        "before": 0,
    }
    assert (told["/etc/motd"]["uid"], told["/etc/passwd"]["kind"]) == (5, "changed")
    assert not [path for path in told if path.startswith(("/run", "/tmp", "/dev", "/proc", "/etc/hosts"))]
    table = engine.hawser("rich", "diff", "b", "-n", namespace).stdout.splitlines()
    assert [line.split() for line in table[1:]] == [
        ["D", "0B", "51B", "/etc/group"], ["A", "0B", "0B", "/new"], ["A", "6B", "0B", "/new/file"],
    ]  # fmt: skip

    made = json.loads(
        engine.hawser(
            *("rich", "commit", "a", "-n", namespace, "-t", "localhost/kept:2", "-o", "json"),
            *("--kubeconfig", str(engine.kubeconfig)),  # as `hawser up` tells to export it
        ).stdout
    )
    assert made["base"] == image
    assert "etc/machine-id" in made["excluded"]
    again = rich("again", container={**PROBE, "image": "localhost/kept:2"})
    engine.apply(again, namespace)
    engine.wait_ready("again", namespace)  # the image's own command, as before
    read = ("exec", "again", "-n", namespace, "--", "sh", "-c")
    says = "cat /etc/motd; stat -c %u:%g /etc/motd; ls /etc/logrotate.d; id -un bob; ls /etc/cron.daily/dpkg || true"
    assert engine.kubectl(*read, says).stdout.split() == ["released", "5:6", "mine", "bob"]
    ids = [
        engine.kubectl("exec", name, "-n", namespace, "--", "cat", "/etc/machine-id").stdout for name in ("a", "again")
    ]
    assert ids[0] != ids[1]

    # The same files give the same image, and an archive is enough for other machines.
    commit = ("rich", "commit", "b", "-n", namespace, "-t", "localhost/small:1", "-o", "json", "--output")
    digests = [json.loads(engine.hawser(*commit, str(tmp_path / n)).stdout)["digest"] for n in ("1.tar", "2.tar")]
    assert digests[0] == digests[1]
    assert (tmp_path / "1.tar").read_bytes() == (tmp_path / "2.tar").read_bytes()
    engine.hawser("image", "import", str(tmp_path / "1.tar"))
    manifest = pod("c", "cat /new/file; ls /etc/group", container={"image": "localhost/small:1"}, restartPolicy="Never")
    manifest["spec"]["containers"][0]["imagePullPolicy"] = "Never"
    engine.apply(manifest, namespace)
    eventually(lambda: engine.get("pod", "c", namespace)["status"]["phase"] == "Failed", "the end")
    assert "hello" in engine.kubectl("logs", "c", "-n", namespace).stdout

    # A registry's nodes get it from there.
    with registries.running() as registry:
        name = f"{registry.address}/team/small:1"
        pushed = json.loads(
            engine.hawser("rich", "commit", "b", "-n", namespace, "-t", name, "--push", "-o", "json").stdout
        )
        assert ("team/small", "1") in registry.repositories
        assert pushed["image"] == name
        pulled = pod("d", "cat /new/file", container={"image": name}, restartPolicy="Never")
        engine.apply(pulled, namespace)
        eventually(lambda: engine.get("pod", "d", namespace)["status"]["phase"] == "Succeeded", "the end")


def test_what_can_not_be_told_is_refused_with_the_reason(engine: Engine, namespace: str, tmp_path: Path) -> None:
    elsewhere = tmp_path / "config"
    elsewhere.write_bytes(engine.kubeconfig.read_bytes())
    engine.apply(pod("done", "true", restartPolicy="Never"), namespace)
    eventually(lambda: engine.get("pod", "done", namespace)["status"]["phase"] == "Succeeded", "the end")
    for args, text in (
        (("diff", "done"), "container main of pod done does not run"),
        (("diff", "nobody"), 'pods "nobody" not found'),
        (("commit", "done", "-t", "short"), "is not a full reference"),
        (("commit", "done", "-t", "a/b:1", "--kubeconfig", str(elsewhere)), "nowhere to go"),
    ):
        refused = engine.hawser("rich", *args, "-n", namespace, check=False)
        assert refused.returncode == 1
        assert text in refused.stderr
