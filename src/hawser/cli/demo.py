"""``hawser demo``: a legacy application in a rich container, from nothing to "log in like this"."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from hawser.api.errors import APIError
from hawser.api.kinds import EVENT, POD, SECRET, SERVICE
from hawser.api.kinds import of as kind_of
from hawser.cli import context
from hawser.cli.context import DataDir, Failure, err, out
from hawser.cli.engine.settings import DEFAULT_DATA_DIR, Settings
from hawser.cli.exec import capture
from hawser.cli.images import base
from hawser.cli.images.description import DescriptionError, load
from hawser.cli.images.importer import ImportFailed
from hawser.cli.images.rich import RichBuildError, build_rich
from hawser.cli.images.sharing import import_everywhere
from hawser.cli.up import start
from hawser.client.client import Client

NAME = "legacy-app"
NAMESPACE = "default"
_UNITS = ("hawser-app", "ssh", "cron", "rsyslog")
_PATIENCE = 180.0

Obj = dict[str, Any]


def demo(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    examples: Annotated[Path | None, typer.Option(help="Directory of the examples.", hidden=True)] = None,
) -> None:
    """Start the engine and run a legacy application in a rich container: systemd, sshd, cron, syslog and all.

    Builds the image from Debian packages the first time (about a minute). Fine to repeat.

    Examples:

      hawser demo

      hawser down        when you have seen enough
    """
    with context.failures():
        context.need_root()
        folder = examples or _examples()
        engine = start(data_dir.resolve())
        asyncio.run(_run(engine, folder))


def _examples() -> Path:
    """The examples of a clone."""
    folder = Path(__file__).parents[3] / "examples"
    if not (folder / f"{NAME}.yaml").exists():
        raise Failure("the demo's manifests are not there", "run it from a clone of the repository")
    return folder


async def _run(engine: Settings, folder: Path) -> None:
    columns = (SpinnerColumn(finished_text="[green]✔[/]"), TextColumn("{task.description}"), TimeElapsedColumn())
    async with context.admin(engine) as client:
        with Progress(*columns, console=err) as progress:
            task = progress.add_task("rich image", total=1)
            await asyncio.to_thread(
                _image, engine, folder / NAME, lambda text: progress.update(task, description=f"rich image: {text}")
            )
            progress.update(task, description="rich image", completed=1)

            task = progress.add_task(f"apply examples/{NAME}.yaml", total=1)
            key = await asyncio.to_thread(_key_pair, engine)
            await _apply(client, _secret(key))
            for document in yaml.safe_load_all((folder / f"{NAME}.yaml").read_text()):
                await _apply(client, document)
            progress.update(task, completed=1)

            task = progress.add_task("pod", total=1)
            pod = await _wait_ready(client, lambda text: progress.update(task, description=f"pod: {text}"))
            progress.update(task, description="pod Running and Ready", completed=1)

            task = progress.add_task("systemd inside", total=1)
            state = await _wait_booted(client, pod)
            progress.update(task, description=f"systemd inside: {state}", completed=1)
        await _say(engine, client, pod, key)


def _image(engine: Settings, folder: Path, say: Any) -> None:
    """Builds and imports the image unless the engine has it, made of the same files."""
    stamp = engine.data_dir / "demo" / "image"
    made_of = _digest(folder)
    try:
        image = load(folder / "image.yaml")
        if stamp.exists() and stamp.read_text() == made_of and asyncio.run(base.has(engine, image.name)):
            return
        archive = engine.data_dir / "images" / f"{NAME}.tar"
        build_rich(image, archive, progress=say)
        say("importing")
        import_everywhere(engine, archive)
    except (DescriptionError, RichBuildError, ImportFailed) as e:
        raise Failure(f"the rich image could not be built: {e}") from None
    stamp.parent.mkdir(exist_ok=True, mode=0o700)
    stamp.write_text(made_of)


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(str(path.relative_to(folder)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _key_pair(engine: Settings) -> Path:
    """A key pair to log in with; made once."""
    key = engine.data_dir / "demo" / "id_ed25519"
    key.parent.mkdir(exist_ok=True, mode=0o700)
    if not key.exists():
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "hawser-demo", "-f", str(key)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise Failure(f"no key pair could be made: {done.stderr.strip()}", "install openssh-client")
    return key


def _secret(key: Path) -> Obj:
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": {"name": f"{NAME}-ssh", "namespace": NAMESPACE},
        "stringData": {"authorized_keys": key.with_suffix(".pub").read_text()},
    }


async def _apply(client: Client, document: Obj) -> None:
    """Creates an object, or patches it to what the document says."""
    kind = kind_of(document["apiVersion"], document["kind"])
    if kind is None:
        raise Failure(f"the API has no {document['apiVersion']} {document['kind']}")
    metadata = document["metadata"]
    metadata.setdefault("namespace", NAMESPACE)
    try:
        await client.create(kind, document)
    except APIError as e:
        if e.reason != "AlreadyExists":
            raise
        await client.patch(
            kind, metadata["name"], metadata["namespace"], document, type="application/strategic-merge-patch+json"
        )


async def _wait_ready(client: Client, say: Any) -> Obj:
    """The application's pod once it is Ready; meanwhile says what it waits for."""
    deadline = time.monotonic() + _PATIENCE
    while True:
        pods = (await client.list(POD, NAMESPACE, label_selector=f"app={NAME}")).items
        pods = [p for p in pods if not p["metadata"].get("deletionTimestamp")]
        for pod in pods:
            conditions = {c["type"]: c["status"] for c in pod.get("status", {}).get("conditions") or ()}
            if conditions.get("Ready") == "True":
                return pod
        problem = await _last_event(client, pods[0]) if pods else "waiting for its creation"
        say(problem)
        if time.monotonic() > deadline:
            raise Failure(
                f"the pod is not Ready after {_PATIENCE:.0f} s: {problem}", "kubectl describe pods tells more"
            )
        await asyncio.sleep(0.1)


async def _last_event(client: Client, pod: Obj) -> str:
    name = pod["metadata"]["name"]
    events = (await client.list(EVENT, NAMESPACE, field_selector=f"involvedObject.name={name}")).items
    events.sort(key=lambda e: int(e["metadata"]["resourceVersion"]))
    return f"{events[-1]['reason']}: {events[-1].get('message', '')}" if events else "waiting for a node"


async def _wait_booted(client: Client, pod: Obj) -> str:
    """What `systemctl is-system-running --wait` prints: running, or degraded with the failed units."""
    command = ["systemctl", "is-system-running", "--wait"]
    code, text = await capture(client, pod["metadata"]["name"], NAMESPACE, NAME, command)
    state = text.strip()
    if code:
        _, failed = await capture(
            client, pod["metadata"]["name"], NAMESPACE, NAME, ["systemctl", "--failed", "--no-legend", "--plain"]
        )
        raise Failure(f"systemd in the container is {state}", failed)
    return state


def _kubectl() -> str:
    """How a user calls kubectl: their own, or else the one that is installed beside this program."""
    beside = Path(sys.executable).with_name("kubectl")
    return str(beside) if shutil.which("kubectl") is None and beside.exists() else "kubectl"


async def _say(engine: Settings, client: Client, pod: Obj, key: Path) -> None:
    """What a user wants next."""
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    _, units = await capture(
        client, name, NAMESPACE, NAME, ["systemctl", "show", "-p", "Id,ActiveState,SubState,MainPID", "--", *_UNITS]
    )
    service = (await client.get(SERVICE, NAME, NAMESPACE))["spec"]["clusterIP"]
    flag = "" if engine.data_dir == DEFAULT_DATA_DIR else f" --data-dir {engine.data_dir}"
    out.print(f"\n[bold]{name}[/] is Running and Ready, IP {address}; services inside:")
    for block in units.strip().split("\n\n"):
        unit = dict(line.partition("=")[::2] for line in block.splitlines())
        state = f"{unit.get('ActiveState')} ({unit.get('SubState')})"
        out.print(f"    {unit.get('Id', ''):<22}{state:<20}pid {unit.get('MainPID')}")
    rows = [
        ("the application", f"curl http://{address}:8080/      or, as a Service, http://{service}/"),
        ("log in", f"ssh -i {key} root@{address}"),
        ("", f"./hawser exec{flag} -it {name} -- bash"),
        ("its logs", f"./hawser logs{flag} -f {name}"),
        ("kubectl", f"export KUBECONFIG={engine.kubeconfig('admin')}"),
        ("", f"{_kubectl()} get pods,services -o wide"),
        (
            "stop it all",
            f"make down{'' if not flag else f' DATA_DIR={engine.data_dir}'}      (PURGE=1 removes the data, too)",
        ),
    ]
    out.print()
    for title, text in rows:
        out.print(f"  {title:<17}{text}")
