"""Files that every container gets from its node: /etc/hosts and the one for its last words."""

from __future__ import annotations

from pathlib import Path

from hawser.api.types import Obj
from hawser.node.pod import dns, view
from hawser.node.pod.configs import Mount
from hawser.node.pod.context import Context


def mounts(pod: Obj, spec: Obj, attempt: int, context: Context, ips: tuple[str, ...]) -> list[Mount]:
    """Makes the files of one container; what is mounted of them. ips: the pod's addresses. Raises OSError."""
    folder = context.folders.pod(view.uid(pod))
    mounted = {m["mountPath"] for m in spec.get("volumeMounts") or ()}
    result = []
    if "/etc/hosts" not in mounted:
        folder.mkdir(parents=True, exist_ok=True)
        node_hosts = Path("/etc/hosts").read_text() if view.host_network(pod) else ""
        hosts = folder / "etc-hosts"
        content = dns.hosts_file(pod, context.machine, ips, node_hosts).encode()
        # Other containers of the pod have this very file: they may be reading it, or have written anything into it.
        if not hosts.exists() or hosts.stat().st_size != len(content) or hosts.read_bytes() != content:
            hosts.write_bytes(content)
        hosts.chmod(0o644)
        result.append(Mount("/etc/hosts", str(hosts)))
    message = termination_file(folder, spec["name"], attempt)
    message.parent.mkdir(parents=True, exist_ok=True)
    message.write_bytes(b"")
    # Whatever user the container runs as may leave its last words.
    message.chmod(0o666)
    result.append(Mount(spec.get("terminationMessagePath") or "/dev/termination-log", str(message)))
    return result


def termination_file(folder: Path, container: str, attempt: int) -> Path:
    """Where a container's termination message is on the node. folder: the pod's."""
    return folder / "containers" / container / f"{attempt}.message"
