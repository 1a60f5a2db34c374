"""An existing machine becomes a rich image with one command, wherever it is, and runs in a pod."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from . import legacy
from .conftest import Engine, Obj, eventually

IMAGE = "localhost/lifted:1"


@pytest.fixture(scope="module")
def machine() -> Iterator[Path]:
    """A directory with the machine's root and the key that opens it."""
    place = Path(tempfile.mkdtemp(prefix="hawser-lift-", dir="/var/tmp"))
    try:
        legacy.make(place / "root", place / "key")
        yield place
    finally:
        shutil.rmtree(place)


def lift(engine: Engine, *words: str) -> Obj:
    report: Obj = json.loads(engine.hawser("image", "lift", "-t", IMAGE, "-o", "json", *words, timeout=300).stdout)
    return report


def lower_layer(archive: Path) -> dict[str, tuple[Any, ...]]:
    """What matters of each file of the machine's layer; the archive's digests are checked on the way."""
    with tarfile.open(archive) as tar:
        blobs = {m.name: tar.extractfile(m).read() for m in tar if m.name != "oci-layout"}  # type: ignore[union-attr]
    manifest = json.loads(blobs[_blob(json.loads(blobs["index.json"])["manifests"][0])])
    for descriptor in (manifest["config"], *manifest["layers"]):
        content = blobs[_blob(descriptor)]
        assert hashlib.sha256(content).hexdigest() in descriptor["digest"]
        assert len(content) == descriptor["size"]
    with tarfile.open(fileobj=io.BytesIO(blobs[_blob(manifest["layers"][0])])) as layer:
        return {
            m.name: (m.isreg() or m.islnk() or m.type, m.mode, m.uid, m.gid, int(m.mtime), _attributes(m))
            for m in layer
        }


def _blob(descriptor: Obj) -> str:
    return "blobs/sha256/" + str(descriptor["digest"]).removeprefix("sha256:")


def _attributes(member: tarfile.TarInfo) -> tuple[str, ...]:
    return tuple(sorted(key for key in member.pax_headers if "xattr" in key))


def test_the_same_machine_is_the_same_image_from_a_directory_a_tar_file_a_disk_and_over_ssh(
    engine: Engine, machine: Path
) -> None:
    root, archive = machine / "root", machine / "lifted.tar"
    reports, layers, digests = [], [], []
    legacy.disk(root, machine / "disk.img")
    tar = [
        "tar",
        "--xattrs",
        "--xattrs-include=*",
        "--sort=name",
        "-S",
        "-C",
        str(root),
        "-cf",
        str(machine / "root.tar"),
        ".",
    ]
    legacy.run(*tar)
    sources = [
        ["--from-rootfs", str(root)],
        ["--from-rootfs", str(root)],
        ["--from-tar", str(machine / "root.tar")],
        ["--from-disk", str(machine / "disk.img")],
        ["--from-ssh", "root@legacy.invalid:2222", *legacy.ssh_options(root, machine / "key")],
    ]
    for source in sources:
        reports.append(lift(engine, *source, "--output", str(archive)))
        digests.append(hashlib.sha256(archive.read_bytes()).hexdigest())
        layers.append(lower_layer(archive))
        archive.unlink()
    assert digests[0] == digests[1]
    for layer in layers[1:]:
        assert layer.keys() == layers[0].keys()
        mounted = {"proc", "run", "dev"}  # over ssh, what is mounted there has a mode of its own
        assert [path for path in layer.keys() - mounted if layer[path][:4] != layers[0][path][:4]] == []
        assert [path for path in layer if layer[path][5] != layers[0][path][5]] == []
    assert layers[0]["opt/odd/capable"][5] == ("SCHILY.xattr.security.capability",)
    assert layers[0]["opt/odd/a"][5] == ("SCHILY.xattr.system.posix_acl_access",)
    assert not layers[0].keys() & {"opt/odd/null", "tmp/leftover", "boot/vmlinuz", "var/lib/docker", "etc/hostname"}
    services = reports[0]["services"]
    for report in reports[1:]:
        assert report["services"] == services
        assert report["volumes"] == reports[0]["volumes"]
    assert [(p["service"], p["source"]) for p in reports[4]["ports"]] == [("redis-server", "running")]
    assert [p.name for p in machine.iterdir() if "new" in p.name] == []


def test_the_report_tells_what_a_container_changes(engine: Engine, machine: Path) -> None:
    report = lift(engine, "--from-rootfs", str(machine / "root"), "--dry-run", "--keep-unit", "nftables")
    assert "Debian" in report["distribution"]
    assert report["size"] == pytest.approx(sum(row["size"] for row in report["directories"]), rel=0.01)
    assert report["directories"][0]["path"] == "/usr"
    assert 100 << 20 < report["directories"][0]["size"] < report["size"] < 1 << 30
    assert report["init"] == "systemd"
    assert {"ssh.service", "cron.service", "redis-server.service", "nftables.service"} <= set(
        report["services"]["kept"]
    )
    masked = {row["unit"]: row["reason"] for row in report["services"]["masked"]}
    assert {"networking.service", "systemd-udevd.service", "getty@tty1.service"} <= masked.keys()
    assert {p["number"] for p in report["ports"]} == {22, 6379}
    assert {v["path"] for v in report["volumes"]} >= {"/var/lib/redis", "/home"}
    found = [(a["path"], a["line"], a["address"], a["own"]) for a in report["addresses"]]
    assert ("/etc/app.conf", 2, "192.0.2.10", True) in found
    assert ("/etc/app.conf", 3, "192.0.2.20", False) in found
    assert any("host keys" in warning for warning in report["warnings"])


def test_the_lifted_machine_runs_in_a_pod(engine: Engine, namespace: str, machine: Path) -> None:
    suggested = machine / "pod.yaml"
    words = ["--unit", "redis-server", "--exclude", "opt/nothing", "--manifest", str(suggested)]
    lift(engine, "--from-rootfs", str(machine / "root"), *words)
    (document,) = yaml.safe_load_all(suggested.read_text())
    claims = machine / "set.yaml"
    lift(engine, "--from-rootfs", str(machine / "root"), *words[:-1], str(claims), "--stateful-set", "--dry-run")
    engine.kubectl("apply", "--dry-run=server", "-n", namespace, "-f", str(claims))
    for volume in document["spec"]["volumes"]:
        volume["hostPath"]["path"] = str(machine / "data" / volume["name"])
    engine.apply(document, namespace)
    engine.wait_ready("lifted", namespace)

    def inside(script: str, check: bool = True) -> str:
        words = ("exec", "lifted", "-c", "machine", "-n", namespace, "--", "sh", "-c", script)
        return engine.kubectl(*words, check=check).stdout.strip()

    eventually(lambda: inside("systemctl is-system-running", check=False) == "running", "systemd")
    states = "systemctl is-active redis-server cron ssh hawser-app"
    eventually(lambda: inside(states, check=False).split() == ["active"] * 4, "the services")
    assert inside("stat -c %U:%a /var/lib/redis").split() == ["redis:750"]
    assert inside("redis-cli set a b; redis-cli get a").split() == ["OK", "b"]
    assert inside("id -u alice; cat /home/alice/notes /etc/cron.d/tick").split()[:2] == ["1500", "mine"]
    assert inside("stat -c %U:%a /home/alice /etc/shadow").split()[0].startswith("alice:")
    assert inside("cat /etc/machine-id") not in ("", legacy.FILES["etc/machine-id"].strip())
    assert inside("stat -c %h /opt/odd/a; ls /opt/odd").split() == ["2", "a", "b", "capable", "sparse"]
    assert inside("stat -c %s /opt/odd/sparse; tail -c 3 /opt/odd/sparse").split() == [str((64 << 20) + 3), "end"]
    assert inside("systemctl is-enabled networking systemd-udevd nftables", check=False).split() == ["masked"] * 3
    # The service is the application: its end is the container's, a restart by hand is none.
    inside("systemctl restart redis-server")
    assert inside("redis-cli ping") == "PONG"
    inside("systemctl stop redis-server", check=False)
    ended = eventually(lambda: _restarts(engine, namespace), "the container's end")
    assert ended == 1


def _restarts(engine: Engine, namespace: str) -> int:
    statuses = engine.get("pod", "lifted", namespace)["status"].get("containerStatuses") or [{}]
    return int(statuses[0].get("restartCount", 0))


def test_what_can_not_be_lifted_says_why(engine: Engine, machine: Path) -> None:
    (machine / "disk.qcow2").write_bytes(b"QFI\xfb" + bytes(508))
    (machine / "broken.tar").write_bytes(b"\x00x" * 5000)
    cases = {
        ("--from-disk", str(machine / "key")): "root",
        ("--from-tar", str(machine / "broken.tar")): "tar",
        ("--from-rootfs", str(machine)): "etc",
        ("--from-rootfs", str(machine / "root"), "--dry-run", "--unit", "nothing"): "no such service",
        ("--from-ssh", "a b"): "HOST",
    }
    for words, said in cases.items():
        done = engine.hawser("image", "lift", "-t", IMAGE, "--output", str(machine / "x.tar"), *words, check=False)
        assert done.returncode == 1, words
        assert said in done.stderr
    assert not (machine / "x.tar").exists()
    assert subprocess.run(["losetup", "-a"], capture_output=True, text=True).stdout.count(str(machine)) == 0
