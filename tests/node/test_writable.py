"""What changed in a container: read from a real overlay's writable layer, held against a comparison of everything."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from hawser.node.writable import layer
from hawser.node.writable.changes import Change, Kind, changes
from hawser.node.writable.names import shown
from hawser.node.writable.place import NoOverlay, Place, of_process, parse

NEED_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounts overlays")
Tree = dict[str, tuple[object, ...]]


class Overlay:
    """An overlay of an image of two layers, made by another overlay, as it is below a container."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("1", "2", "w2", "up", "wup", "image", "merged"):
            (folder / name).mkdir()
        self.place = Place(str(folder / "up"), (str(folder / "2"), str(folder / "1")), frozenset())

    def mount(self, target: str, lower: str, upper: str = "") -> Path:
        more = f",upperdir={upper},workdir=w{upper}" if upper else ""
        options = f"lowerdir={lower}{more}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, target], cwd=self.folder, check=True)
        return self.folder / target

    def umount(self, target: str) -> None:
        subprocess.run(["umount", self.folder / target], check=False, stderr=subprocess.DEVNULL)


@pytest.fixture
def overlay() -> Iterator[Overlay]:
    # /tmp may be an overlay itself, on which none can lie.
    folder = Path(f"/var/tmp/hawser-test-overlay-{os.getpid()}")
    folder.mkdir()
    made = Overlay(folder)
    try:
        yield made
    finally:
        for target in ("merged", "image"):
            made.umount(target)
        shutil.rmtree(folder)


def fill(root: Path, text: str) -> None:
    for name in ("etc/a", "etc/b", "etc/d/x", "etc/d/y", "opt/app/run", "opt/app/lib/one", "opt/app/lib/two", "usr/t"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text + name)
    (root / "etc/link").symlink_to("a")


def tree(root: Path) -> Tree:
    """All of a directory; times are no part of it."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        info = path.lstat()
        content: object = None
        if path.is_symlink():
            content = os.readlink(path)  # noqa: PTH115
        elif path.is_file():
            content = path.read_bytes()
        attributes = {n: os.getxattr(path, n, follow_symlinks=False) for n in os.listxattr(path, follow_symlinks=False)}
        found[str(path.relative_to(root))] = (info.st_mode, info.st_uid, info.st_gid, content, str(attributes))
    return found


def extract(layer_tar: bytes, root: Path) -> None:
    """Applies a layer, as the OCI image specification says."""
    with tarfile.open(fileobj=io.BytesIO(layer_tar)) as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            target = root / folder / name.removeprefix(".wh.")
            if name.startswith(".wh.") or (target.is_symlink() or (target.exists() and not member.isdir())):
                shutil.rmtree(target) if target.is_dir() and not target.is_symlink() else target.unlink()
            if member.isdir() and target.exists() and not target.is_dir():
                target.unlink()
            if not name.startswith(".wh."):
                tar.extract(member, root)
    with tarfile.open(fileobj=io.BytesIO(layer_tar)) as tar:
        for member in tar:
            for key, value in member.pax_headers.items():
                if key.startswith("SCHILY.xattr."):
                    os.setxattr(root / member.name, key[13:], value.encode(errors="surrogateescape"))


def disturb(root: Path, dice: random.Random) -> None:
    """Some of what happens to files."""
    files = sorted(p for p in root.rglob("*") if not p.is_symlink())
    for _ in range(16):
        path = dice.choice(files)
        if not path.exists():
            continue
        match dice.randrange(9):
            case 0 if path.is_file():
                path.write_text(f"new {dice.random()}")
            case 1 if path.is_file():
                path.write_bytes(path.read_bytes())
            case 2:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            case 3 if path.is_dir():
                shutil.rmtree(path)
                path.mkdir()
                (path / f"fresh{dice.randrange(3)}").write_text("x")
                (path / "lib").mkdir()
                (path / "lib" / dice.choice(["one", "new"])).write_text("y")
            case 4:
                path.chmod(dice.choice([0o700, 0o755, 0o4711]))
            case 5:
                os.chown(path, dice.randrange(3), 0)
            case 6 if path.is_dir():
                (path / f"more{dice.randrange(3)}").write_text("more")
            case 7 if path.is_file():
                path.unlink()
                path.mkdir()
                (path / "inside").symlink_to("/etc/shadow")
            case 8 if path.is_file():
                os.setxattr(path, "user.note", b"\xff\x00kept")


@NEED_ROOT
@pytest.mark.parametrize("seed", range(16))
def test_the_layer_on_top_of_the_image_is_the_container(overlay: Overlay, seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    fill(overlay.folder / "1", "one ")
    disturb(overlay.mount("merged", "1", "2"), dice)
    overlay.umount("merged")
    image = overlay.mount("image", "2:1")
    merged = overlay.mount("merged", "2:1", "up")
    disturb(merged, dice)
    written = io.BytesIO()
    layer.write(written, changes(overlay.place))
    shutil.copytree(image, tmp_path / "copy", symlinks=True)
    subprocess.run(["cp", "-a", f"{image}/.", tmp_path / "copy"], check=True)
    extract(written.getvalue(), tmp_path / "copy")
    assert tree(tmp_path / "copy") == tree(merged)
    # Every difference is told, and nothing else.
    before, after = tree(image), tree(merged)
    told = {change.path: change.kind for change in changes(overlay.place)}
    gone = {path for path in before if path not in after}
    covered = {path for path in gone if any(above in told for above in _above(path))}
    assert covered == gone
    assert {p for p, kind in told.items() if kind is Kind.ADDED} == after.keys() - before.keys()
    plain = {p for p in before.keys() & after.keys() if before[p][:4] != after[p][:4]}
    assert plain <= {p for p, kind in told.items() if kind is Kind.CHANGED}
    again = io.BytesIO()
    layer.write(again, changes(overlay.place))
    assert again.getvalue() == written.getvalue()


def _above(path: str) -> Iterator[str]:
    while path:
        yield path
        path = path.rpartition("/")[0]


@NEED_ROOT
def test_what_a_container_does_to_links_leads_nowhere_else(overlay: Overlay) -> None:
    fill(overlay.folder / "1", "one ")
    merged = overlay.mount("merged", "2:1", "up")
    shutil.rmtree(merged / "etc")
    (merged / "etc").symlink_to("/etc")
    os.link(merged / "usr/t", merged / "usr/hard")
    os.mkfifo(merged / "usr/pipe")
    written = io.BytesIO()
    layer.write(written, changes(overlay.place))
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as tar:
        members = {member.name: member for member in tar}
    assert members["etc"].issym()
    assert not any(name.startswith("etc/") for name in members)
    assert members["usr/pipe"].isfifo()
    assert members["usr/hard"].isreg()


@NEED_ROOT
def test_mounts_and_what_is_left_out_are_no_changes(overlay: Overlay) -> None:
    merged = overlay.mount("merged", "2:1", "up")
    for name in ("run/a", "etc/hosts", "opt/x", "opt/y"):
        (merged / name).parent.mkdir(exist_ok=True)
        (merged / name).write_text("x")
    place = Place(overlay.place.upper, overlay.place.lowers, frozenset({"etc/hosts"}))
    assert [change.path for change in changes(place, ("run", "opt/x"))] == ["opt", "opt/y"]
    (merged / "etc/own").write_text("")
    assert [change.path for change in changes(place, ("run", "opt"))] == ["etc", "etc/own"]
    told = io.StringIO()
    layer.tell(told, "image", changes(place, ("run", "o*/x")))
    document = json.loads(told.getvalue())
    assert (document["image"], document["added"], document["bytes"]) == ("image", 4, 1)
    last = document["changes"][-1]
    assert {k: last[k] for k in ("path", "kind", "type", "size")} == {
        "path": "/opt/y", "kind": "added", "type": "file", "size": 1,
    }  # fmt: skip
    assert stat.S_IMODE((merged / "opt/y").stat().st_mode) == int(last["mode"], 8)


@NEED_ROOT
@pytest.mark.parametrize("other", ["link", "device", "pipe", "socket", "folder", "file", "gone"])
def test_what_becomes_something_else_while_it_is_read_is_left_out(overlay: Overlay, other: str) -> None:
    merged = overlay.mount("merged", "2:1", "up")
    for name in ("a", "b", "c"):
        (merged / name).write_text(name)
    os.link(merged / "b", merged / "d")
    up = overlay.folder / "up"

    def disturbed() -> Iterator[Change]:
        for change in changes(overlay.place):
            if change.name == "b":
                (up / "b").unlink()
                become(up / "b", other)
            yield change

    written = io.BytesIO()
    layer.write(written, disturbed())
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as tar:
        content = {m.name: (tar.extractfile(m) or io.BytesIO()).read() for m in tar}
    # The link that is left of it is a file of its own.
    assert content == {"a": b"a", "c": b"c", "d": b"b"}


def become(path: Path, what: str) -> None:
    match what:
        case "link":
            path.symlink_to("/etc/passwd")
        case "device":
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 5))
        case "pipe":
            os.mkfifo(path)
        case "socket":
            os.mknod(path, stat.S_IFSOCK | 0o666)
        case "folder":
            path.mkdir()
        case "file":
            path.write_text("another")


@NEED_ROOT
def test_a_folder_that_becomes_a_link_while_it_is_read_leads_nowhere(overlay: Overlay, tmp_path: Path) -> None:
    merged = overlay.mount("merged", "2:1", "up")
    for name in ("a/x", "b/x", "c/x"):
        (merged / name).parent.mkdir()
        (merged / name).write_text("")
    (tmp_path / "secret").write_text("")
    found = []
    for change in changes(overlay.place):
        found.append(change.path)
        if change.path == "a":
            shutil.rmtree(overlay.folder / "up/b")
            (overlay.folder / "up/b").symlink_to(tmp_path)
    assert found == ["a", "a/x", "b", "c", "c/x"]  # as a link


@NEED_ROOT
def test_attributes_that_any_user_may_set_are_not_the_overlays(overlay: Overlay) -> None:
    fill(overlay.folder / "1", "one ")
    merged = overlay.mount("merged", "2:1", "up")
    (merged / "etc/a").write_text("two etc/a")
    os.setxattr(merged / "etc/a", "user.overlay.metacopy", b"")
    os.setxattr(merged / "etc", "user.overlay.opaque", b"y")
    os.setxattr(merged / "etc", "user.overlay.redirect", b"/opt")
    found = list(changes(overlay.place))
    assert [(change.path, change.kind) for change in found] == [("etc/a", Kind.CHANGED)]
    layer.write(io.BytesIO(), changes(overlay.place))
    # Of an overlay that anybody may mount, they are.
    with pytest.raises(NoOverlay, match="was renamed"):
        list(changes(replace(overlay.place, attributes="user.overlay.")))


@NEED_ROOT
def test_odd_names_are_told_as_they_are_and_shown_harmless(overlay: Overlay) -> None:
    merged = overlay.mount("merged", "2:1", "up")
    names = [b"\xff", b"a\nb", b"\x1b[2J", "ü\u202e".encode(), b"-rf", b"back\\slash", b"x" * 255]
    for name in names:
        (merged / os.fsdecode(name)).write_text("")
    told = io.StringIO()
    layer.tell(told, "image", changes(overlay.place))
    paths = [change["path"] for change in json.loads(told.getvalue())["changes"]]
    assert sorted(map(os.fsencode, paths)) == sorted(b"/" + name for name in names)
    written = io.BytesIO()
    layer.write(written, changes(overlay.place))
    with tarfile.open(fileobj=io.BytesIO(written.getvalue())) as tar:
        assert sorted(map(os.fsencode, tar.getnames())) == sorted(names)
    harmless = [shown(os.fsdecode(name)) for name in names[:6]]
    assert harmless == ["\\xff", "a\\nb", "\\x1b[2J", "ü\\u202e", "-rf", "back\\\\slash"]


@NEED_ROOT
def test_a_file_that_would_delete_another_one_in_the_image_is_refused(overlay: Overlay) -> None:
    merged = overlay.mount("merged", "2:1", "up")
    (merged / "etc").mkdir()
    (merged / "etc/.wh.passwd").write_text("")
    with pytest.raises(NoOverlay, match=r"/etc/\.wh\.passwd: in an image"):
        layer.write(io.BytesIO(), changes(overlay.place))
    layer.write(io.BytesIO(), changes(overlay.place, ("etc/.wh.*",)))


@NEED_ROOT
def test_a_tree_that_is_too_deep_is_refused_and_can_be_left_out(
    overlay: Overlay, deep: Callable[[Path, int], int]
) -> None:
    merged = overlay.mount("merged", "2:1", "up")
    os.close(deep(merged, 300))
    (merged / "z").write_text("")
    with pytest.raises(NoOverlay, match="more than 256 directories one in the other"):
        list(changes(overlay.place))
    assert [change.path for change in changes(overlay.place, ("d",))] == ["z"]


_INSIDE = """
import os, sys
os.chroot(sys.argv[1])
print("in", flush=True)
sys.stdin.read()
"""


@contextlib.contextmanager
def container(root: Path, before: str = ":") -> Iterator[int]:
    """A process with mounts of its own and that directory as its root; its process id."""
    words = ["unshare", "-m", "sh", "-ec", f'{before}; exec "$@"', "sh", sys.executable, "-c", _INSIDE, str(root)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        yield process.pid


@NEED_ROOT
def test_a_containers_root_is_what_the_node_has_mounted(overlay: Overlay) -> None:
    at, merged = overlay.folder, overlay.folder / "merged"
    options = f"lowerdir={at}/2:{at}/1,upperdir={at}/up,workdir={at}/wup"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, merged], check=True)
    (merged / "file").write_text("")
    with container(merged) as pid:
        place = of_process(pid)
    assert replace(place, mounts=frozenset()) == Place(f"{at}/up", (f"{at}/2", f"{at}/1"), frozenset())
    assert [change.path for change in changes(place)] == ["file"]


@NEED_ROOT
def test_an_overlay_that_a_container_mounts_in_place_of_its_root_is_refused(overlay: Overlay) -> None:
    """Its options would have the node read others' files."""
    merged, root = overlay.mount("merged", "2:1", "up"), overlay.folder / "root"
    for name in ("secret", "work", "empty", "root"):
        (overlay.folder / name).mkdir()
    options = f"lowerdir={overlay.folder}/empty,upperdir={overlay.folder}/secret,workdir={overlay.folder}/work"
    for at, mount, why in (
        (root, f"mount -t overlay mine -o {options} {root}", "has not mounted"),
        (merged, f"mount -t tmpfs none {merged}", "is tmpfs"),
    ):
        with container(at, mount) as pid, pytest.raises(NoOverlay, match=why):
            of_process(pid)


def test_a_name_in_a_list_of_mounts_is_no_line_of_its_own() -> None:
    mine = "1 0 0:52 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/c/mine/fs"
    evil = "2 1 0:54 / /x\x0c3 1 0:99 / / rw - overlay overlay rw\x85 rw - tmpfs tmpfs rw"
    others = "9 1 0:99 / /run/others rw - overlay overlay rw,upperdir=/c/others/fs"
    node = "\n".join([mine.replace(" / / ", " / /run/mine "), others])
    assert parse(f"{mine}\n{evil}\n", [node]).upper == "/c/mine/fs"


def test_the_layers_of_a_kept_root_file_system_with_a_size_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "kept/l").mkdir(parents=True)
    (tmp_path / "kept/l/0").symlink_to("/layers/0")
    line = f"1 0 0:52 / / rw - overlay overlay rw,lowerdir=kept/l/0:kept/l/1,upperdir={tmp_path}/kept/space/upper"
    place = parse(line, [line.replace(" / / ", " / /run/c ")])
    assert place.lowers == (f"{tmp_path}/kept/l/0", f"{tmp_path}/kept/l/1")


OPTIONS = "rw,lowerdir=/c/s/4/fs:/c/s/3/fs,upperdir=/c/s/6/fs,workdir=/c/s/6/work"


@pytest.mark.parametrize(
    ("options", "lowers"),
    [
        (OPTIONS, ("/c/s/4/fs", "/c/s/3/fs")),
        ("rw,lowerdir=4/fs:3/fs,upperdir=/c/s/6/fs,workdir=/w", ("/c/s/4/fs", "/c/s/3/fs")),
        ("rw,lowerdir+=/c/s/4/fs,lowerdir+=/a b,upperdir=/c/s/6/fs", ("/c/s/4/fs", "/a b")),
        ("rw,lowerdir=l/AB:l/CD,upperdir=/c/s/6/fs", ("/c/s/l/AB", "/c/s/l/CD")),
        ("rw,lowerdir=/a\\:b:/c,upperdir=/c/s/6/fs", ("/a:b", "/c")),
    ],
)
def test_a_containers_layers_are_found_by_its_mounts(options: str, lowers: tuple[str, ...]) -> None:
    escaped = options.replace("/a b", "/a\\040b")
    text = f"1 0 0:52 / / rw,relatime - overlay overlay {escaped}\n"
    text += "2 1 0:54 / /run rw - tmpfs tmpfs rw\n3 1 0:9 /x /etc/host\\040s rw - ext4 /dev/vda rw\n"
    place = parse(text, [text.replace(" / / ", " / /run/c ")], "/host")
    assert place.upper == "/host/c/s/6/fs"
    assert place.lowers == tuple("/host" + path for path in lowers)
    assert place.mounts == {"run", "etc/host s"}


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1 0 0:52 / / rw - ext4 /dev/vda rw", "is ext4, not an overlay"),
        ("1 0 0:52 / / ro - overlay overlay ro,lowerdir=/a:/b", "is read-only"),
        ("", "is none"),
    ],
)
def test_what_has_no_writable_layer_is_told(line: str, why: str) -> None:
    with pytest.raises(NoOverlay, match=why):
        parse(line, [line.replace(" / / ", " / /run/c ")])
