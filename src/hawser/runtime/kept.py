# Importing pathlib would double the start-up time of every container.
# ruff: noqa: PTH101, PTH102, PTH103, PTH104, PTH106, PTH108, PTH110, PTH112, PTH115, PTH116, PTH118, PTH120, PTH123,
# ruff: noqa: PTH211
"""Root file systems that are kept: what a container writes outlives it, on its node, for the next one of its name.

An overlay of our own: below it the image's layers, as the node's container runtime unpacked them; its writable layer in
a directory of the node that is named by namespace, pod and container. Containerd's or CRI-O's own writable layer stays
unused. The files of an image and what was changed of them belong together: for another image a kept layer is put aside
and a new one begun.

    ROOTS/NAMESPACE/POD/CONTAINER/upper       the writable layer
                                  previous    that of the image before, for whoever misses something
                                  kept.json   which image, which limit, where it is mounted

With a limit, the writable layer lies in a file system of its own (keptdisk.py).
"""

from __future__ import annotations

import os
import stat

from . import host, keptdisk, spawn, trees
from .edited import EditError
from .light import Any, dumps, loads, suppress

_MOUNT = ("/usr/bin/mount", "/bin/mount")
_NAMES = (
    ("io.kubernetes.cri.sandbox-namespace", "io.kubernetes.pod.namespace"),
    ("io.kubernetes.cri.sandbox-name", "io.kubernetes.pod.name"),
    ("io.kubernetes.cri.container-name", "io.kubernetes.container.name"),
)
_IMAGE = ("io.kubernetes.cri.image-name", "io.kubernetes.cri-o.ImageName")
_SPACE = ".space"  # beside where it is mounted, a link to the file system of its writable layer; the launcher's, too
_PAGE = 4000  # bytes of options, less than a page
_SAID = ("index", "redirect_dir", "metacopy")  # that the kernel may have on: each makes a layer less than it seems


def keep(spec: dict[str, Any], annotations: dict[str, str], container_id: str, bundle: str, limit: int) -> str:
    """Gives a container the root file system that is kept for it, in place of its own; where it is mounted.

    limit: bytes that it may hold, 0 for any number. Raises EditError when it can not be or must not be.
    """
    names = [next((annotations[key] for key in keys if annotations.get(key)), "") for keys in _NAMES]
    if not all(name and "/" not in name and name not in (".", "..") for name in names):
        raise EditError("rootfs: keep: the node's container runtime does not tell of which pod the container is")
    if (spec.get("linux") or {}).get("uidMappings"):
        raise EditError("rootfs: keep: a container with a user namespace has other owners on the node each time")
    place = os.path.join(os.environ["HAWSER_ROOTS"], *names)
    lowers = layers(host.mountinfo(), os.path.realpath(os.path.join(bundle, spec["root"]["path"])))
    os.makedirs(os.environ["HAWSER_ROOTS"], mode=0o700, exist_ok=True)
    os.makedirs(place, exist_ok=True)
    before = _told(place)
    _let_go(before)
    image = {"name": next((annotations[key] for key in _IMAGE if annotations.get(key)), ""), "lowers": lowers}
    if before.get("image", image) != image:
        _put_aside(place)
    space = keptdisk.attach(place, limit)
    _begin(space or place, lowers[0])
    if limit and not space and (used := trees.size(os.path.join(place, "upper"))) > limit:
        where = "/".join(names)
        raise EditError(f"rootfs: keep: {used} bytes are kept for {where}, and rootfs-size allows {limit}")
    mounted = os.path.join(os.environ["HAWSER_RECORDS"], ".roots", container_id)
    told = {"image": image, "limit": limit, "enforced": bool(space), "mounted": mounted, "container": container_id}
    _note(place, told)
    os.makedirs(mounted, mode=0o700, exist_ok=True)
    if space:
        os.symlink(space, mounted + _SPACE)
    try:
        _mount(place, lowers, mounted, space or place)
    except EditError:
        release(mounted)
        raise
    spec["root"]["path"] = mounted
    return mounted


def layers(mountinfo: str, root: str) -> list[str]:
    """The image's layers below a container's root, the topmost first; proc_pid_mountinfo(5). Raises EditError."""
    options = ""
    kind = "no mount"
    for line in mountinfo.split("\n")[:-1]:
        left, _, right = line.partition(" - ")
        if left.split(" ")[4].encode(errors="surrogateescape").decode("unicode_escape") == root:
            kind, _, options = [*right.split(" ", 2), "", ""][:3]
    if kind != "overlay":
        raise EditError(f"rootfs: keep: the container's root file system on the node is {kind}, not an overlay")
    upper, found = "", []
    for option in options.split(","):
        name, _, value = option.partition("=")
        if name == "upperdir":
            upper = value
        elif name in ("lowerdir", "lowerdir+"):
            found += value.split(":")
    # Runtimes shorten the names of many layers: they are relative to the directory that holds all of them.
    base = os.path.dirname(os.path.dirname(upper))
    found = [path if path.startswith("/") else os.path.join(base, path) for path in found]
    if not upper or not found or any(char in path for path in found for char in "\\\n"):
        raise EditError("rootfs: keep: the layers of the container's root file system can not be told")
    return found


def release(mounted: str) -> None:
    """Unmounts a root file system that no container runs on."""
    spawn.run(["umount", "-l", mounted], quiet=True)
    with suppress(OSError):
        os.rmdir(mounted)
    with suppress(OSError):
        spawn.run(["umount", "-l", os.readlink(mounted + _SPACE)], quiet=True)
        os.unlink(mounted + _SPACE)


def _told(place: str) -> dict[str, Any]:
    try:
        with open(os.path.join(place, "kept.json"), encoding="utf-8") as file:
            value = loads(file.read())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _note(place: str, told: dict[str, Any]) -> None:
    path = os.path.join(place, "kept.json")
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(dumps(told))
    os.rename(path + ".new", path)


def _let_go(before: dict[str, Any]) -> None:
    """Two overlays on one writable layer would spoil it: the last container's has to be gone."""
    mounted = str(before.get("mounted") or "")
    if not mounted or not os.path.ismount(mounted):
        return
    real, root = os.environ["HAWSER_REAL"], os.environ.get("HAWSER_ROOT", "")
    command = [real, *(["--root", root] if root else []), "state", str(before.get("container"))]
    code, told = spawn.read(command)
    if code == 0 and loads(told).get("status") != "stopped":
        raise EditError(f"rootfs: keep: container {before['container']} still runs on what is kept")
    release(mounted)


def _put_aside(place: str) -> None:
    previous = os.path.join(place, "previous")
    _remove(previous)
    keptdisk.put_aside(place)
    if os.path.lexists(os.path.join(place, "upper")):
        os.rename(os.path.join(place, "upper"), previous)


def _remove(folder: str) -> None:
    if os.path.lexists(folder):
        with suppress(OSError):
            trees.remove(folder)


def _begin(space: str, top: str) -> None:
    upper, work = os.path.join(space, "upper"), os.path.join(space, "work")
    if not os.path.isdir(upper):
        # What an overlay's root is like, its writable layer says.
        info = os.stat(top)
        os.mkdir(upper)
        os.chown(upper, info.st_uid, info.st_gid)
        os.chmod(upper, stat.S_IMODE(info.st_mode))
    _remove(work)
    os.mkdir(work, 0o700)


def _mount(place: str, lowers: list[str], target: str, space: str) -> None:
    said = [f"{name}=off" for name in _SAID if os.path.exists(f"/sys/module/overlay/parameters/{name}")]
    options = ",".join([f"upperdir={space}/upper", f"workdir={space}/work", *said])
    folder, name = os.path.split(place)
    names = lowers
    if len(":".join(names)) + len(options) > _PAGE:
        # All has to fit on one page, mount(2): links with short names, found from the directory above.
        names = [os.path.join(name, "l", str(number)) for number in range(len(lowers))]
        _remove(os.path.join(place, "l"))
        os.mkdir(os.path.join(place, "l"))
        for link, path in zip(names, lowers):  # noqa: B905 - Python 3.9 does not know strict
            os.symlink(path, os.path.join(folder, link))
    mount = next((path for path in _MOUNT if os.access(path, os.X_OK)), "mount")
    command = [mount, "-t", "overlay", "hawser-kept", "-o", f"lowerdir={':'.join(names)},{options}", target]
    code, told = spawn.read(["/bin/sh", "-c", 'cd "$0" && exec "$@"', folder, *command], stream=2)
    if code:
        why = " ".join(told.decode("utf-8", "replace").split())
        raise EditError(f"rootfs: keep: {why or 'the overlay can not be mounted'}")
