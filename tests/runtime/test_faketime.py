"""Another time for the application: what is understood, and what is refused because it cannot work."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from hawser.runtime import faketime
from hawser.runtime.bundle import edit
from hawser.runtime.edited import EditError
from hawser.runtime.elf import inspect
from hawser.runtime.facts import Facts, FaketimeFacts
from hawser.runtime.options import OptionError, Options, read
from hawser.runtime.rootfs import RootFS

Spec = dict[str, Any]
FACTS = Facts(
    executable="/bin/true", static_init="/usr/bin/catatonit", faketime=FaketimeFacts(("/run/steady.so", "/lib/fake.so"))
)


@pytest.mark.parametrize(
    "text",
    [
        *("+3d", "-2h", "+0.5y", "-120", "+1.5m x2", "x2", "x0.5", "i2.0", "2027-01-01 00:00:00"),
        *("@2027-01-01 00:00:00", "@2027-01-01 00:00:00 x10", "2027-01-01 00:00:00.5"),
    ],
)
def test_libfaketimes_notation_is_taken(text: str) -> None:
    options = read({"rich.hawser.dev/time": text})
    assert options is not None
    assert options.time == text


@pytest.mark.parametrize(
    "text", ["3d", "tomorrow", "2027-01-01", "+3w", "x", "+3d x", "%/etc/passwd", "2027-01-01 00:00:00 x2", "+3d\nx2"]
)
def test_what_it_would_not_understand_is_refused(text: str) -> None:
    with pytest.raises(OptionError, match="is not a time"):
        read({"rich.hawser.dev/time": text})


PRELOADED = "LD_PRELOAD=/dev/hawser-time0.so:/dev/hawser-time1.so:/own.so"


@pytest.mark.parametrize(("init", "file"), [("init", "run"), ("systemd", "environment")])
def test_only_the_application_gets_it(spec: Spec, init: str, file: str) -> None:
    spec["process"]["env"] = ["LD_PRELOAD=/own.so", "FAKETIME=+1y"]
    facts = FACTS._replace(busybox_init=True, systemd="/sbin/init" if init == "systemd" else "", login_environment="")
    facts = facts._replace(systemd_version=252, shell=True)
    result = edit(spec, Options(init=init, time="+3d"), facts)
    assert not [pair for pair in result.spec["process"]["env"] if "FAKETIME" in pair or "PRELOAD" in pair]
    for pair in ("FAKETIME=+3d", "FAKETIME_DONT_FAKE_MONOTONIC=1", PRELOADED):
        assert pair in result.files[file].content.replace('"', "")
    assert "FAKETIME=+1y" not in result.files[file].content
    others = "".join(item.content for name, item in result.files.items() if name != file)
    assert "hawser-time" not in others
    sources = {mount["destination"]: mount["source"] for mount in result.spec["mounts"]}
    assert sources["/dev/hawser-time0.so"] == "/run/steady.so"
    assert sources["/dev/hawser-time1.so"] == "/lib/fake.so"


def test_a_minimal_init_passes_it_on(spec: Spec) -> None:
    spec["process"]["env"] = ["A=b", "LD_PRELOAD=/own.so", "FAKETIME=+1y"]
    result = edit(spec, Options(init="minimal", time="x2"), FACTS).spec["process"]["env"]
    assert result == ["A=b", "FAKETIME=+0 x2", "FAKETIME_DONT_FAKE_MONOTONIC=1", PRELOADED]


def test_a_refusal_is_the_containers_failure(spec: Spec) -> None:
    facts = FACTS._replace(faketime=FaketimeFacts(("/lib",), "it is static"))
    with pytest.raises(EditError, match="time: it is static"):
        edit(spec, Options(init="minimal", time="x2"), facts)


class Image:
    """A root with a C library and whatever a test puts in."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in ("lib64/ld-linux-x86-64.so.2", "lib/x86_64-linux-gnu/libc.so.6"):
            self.copy(Path("/") / name, name)

    def copy(self, source: Path, name: str, mode: int = 0o755) -> Path:
        target = self.root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)
        target.chmod(mode)
        return target

    def write(self, name: str, text: str) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text)
        (self.root / name).chmod(0o755)

    def refusal(self, executable: str, uid: int = 0) -> str:
        process = {"args": [executable], "user": {"uid": uid, "gid": uid}}
        steady = str(self.root / "lib64/ld-linux-x86-64.so.2")
        return faketime.gather(RootFS(str(self.root), []), process, executable, "/bin", steady).refusal


@pytest.fixture
def image(tmp_path: Path) -> Image:
    if os.uname().machine != "x86_64":
        pytest.skip("the paths are those of x86-64")
    image = Image(tmp_path)
    image.copy(Path("/bin/sleep"), "bin/sleep")
    return image


def build(tmp_path: Path, compiler: str, *flags: str) -> Path:
    source = tmp_path / "main.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run([compiler, *flags, "-o", tmp_path / "made", source], check=True)
    return tmp_path / "made"


def test_programs_of_the_c_library_and_their_scripts_can_have_it(image: Image) -> None:
    image.write("bin/direct", "#!/bin/sleep -x\n")
    image.write("bin/found", "#!/usr/bin/env -S A=b sleep\n")
    image.copy(Path("/usr/bin/env"), "usr/bin/env")
    for path in ("/bin/sleep", "/bin/direct", "/bin/found"):
        assert image.refusal(path) == "", path


def test_static_programs_are_refused_behind_scripts_too(image: Image, tmp_path: Path) -> None:
    image.copy(Path("/bin/busybox"), "bin/sh")
    image.write("bin/script", "#!/bin/sh\n")
    image.copy(build(tmp_path, "gcc", "-static-pie"), "bin/pie")
    for path in ("/bin/sh", "/bin/script", "/bin/pie"):
        assert "is statically linked" in image.refusal(path), path
    assert image.refusal("/bin/script").startswith("/bin/sh ")


def test_go_programs_are_refused_though_they_load_libraries(image: Image) -> None:
    runc = shutil.which("runc")
    assert runc
    image.copy(Path(runc), "bin/go")
    assert "is a Go program" in image.refusal("/bin/go")


def test_musl_programs_are_refused(image: Image, tmp_path: Path) -> None:
    image.copy(build(tmp_path, "musl-gcc"), "bin/app")
    assert "uses the C library musl" in image.refusal("/bin/app")


@pytest.mark.parametrize(("mode", "uid", "refused"), [(0o4755, 7, True), (0o4755, 0, False), (0o2755, 7, True)])
def test_programs_that_gain_privileges_are_refused(image: Image, mode: int, uid: int, refused: bool) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root, for files of root")
    image.copy(Path("/bin/sleep"), "bin/app", mode)
    assert ("setuid, setgid" in image.refusal("/bin/app", uid)) is refused


def test_an_older_c_library_is_refused_with_both_versions(image: Image) -> None:
    libc = image.root / "lib/x86_64-linux-gnu/libc.so.6"
    libc.write_bytes(b"\x7fELF\0GLIBC_2.2.5\0GLIBC_2.17\0GLIBC_PRIVATE\0")
    assert "the image has 2.17" in image.refusal("/bin/sleep")
    os.truncate(libc, 1 << 40)  # of an image, it is as large as that likes
    assert "the image has 2.17" in image.refusal("/bin/sleep")
    libc.unlink()
    assert "no libc.so.6" in image.refusal("/bin/sleep")


def test_what_is_no_program_is_refused(image: Image) -> None:
    image.write("bin/text", "echo\n")
    image.write("bin/lost", "#!/bin/none\n")
    assert "/bin/text is not a program" in image.refusal("/bin/text")
    assert "/bin/none cannot be looked into" in image.refusal("/bin/lost")


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"\x7fELF\x02\x01" + b"\xff" * 58, b"MZ" * 64])
def test_nonsense_is_no_program(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with path.open("rb") as file:
        found = inspect(file)
    assert found is None or (found.interpreter, found.go) == ("", False)
