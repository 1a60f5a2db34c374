#!/bin/sh
# Installs what Hawser needs on this host: Debian/Ubuntu packages and a virtual environment in .venv.
# Idempotent and quiet; when everything is there it needs no network and takes a few milliseconds.
#
#   tools/setup.sh          for running the engine
#   tools/setup.sh dev      for tests, linters and type checks as well
set -eu
cd "$(dirname "$0")/.."
root=$PWD
profile=${1:-run}
log=${TMPDIR:-/tmp}/hawser-setup.log

say() { printf '\033[2m%s\033[0m\n' "$*" >&2; }
fail() {
    printf 'Error: %s\n' "$1" >&2
    [ -s "$log" ] && tail -n 15 "$log" >&2
    exit 1
}

# What decides whether the environment is up to date: the pinned dependencies and the profile.
stamp=$root/.venv/.hawser-$profile
wanted=$(cat pyproject.toml tools/setup.sh | sha256sum | cut -d' ' -f1)
packages="containerd runc crun nftables busybox-static catatonit mmdebstrap iproute2 openssh-client ca-certificates"
# What rich containers see of their limits and, if they ask, of another time; a small compiler for the library of that.
packages="$packages lxcfs libfaketime tcc binutils e2fsprogs mount"
[ "$profile" = dev ] && packages="$packages gcc libc6-dev musl-tools"

installed() { dpkg-query -W -f='${db:Status-Abbrev}\n' "$1" 2>/dev/null | grep -q '^ii'; }

missing_packages() {
    for package in $packages; do
        case $package in
        # containerd and its runtimes may come from other vendors' packages.
        containerd | runc | crun) command -v "$package" >/dev/null 2>&1 || [ -x "/usr/sbin/$package" ] || echo "$package" ;;
        # Any C compiler does; gcc is sixty times as large.
        tcc | binutils) [ "$profile" != dev ] && command -v cc >/dev/null 2>&1 || installed "$package" || echo "$package" ;;
        *) installed "$package" || echo "$package" ;;
        esac
    done
}

find_python() {
    for candidate in /usr/bin/python3 /usr/bin/python3.13 /usr/bin/python3.12 /usr/bin/python3.11; do
        if [ -x "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
            "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
}

# containerd copies the host's file into every pod sandbox; images of minimal machines lack it.
if [ ! -e /etc/hosts ] && [ "$(id -u)" = 0 ]; then
    printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >/etc/hosts
fi

missing=$(missing_packages | tr '\n' ' ')
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && [ -z "$missing" ]; then
    exit 0
fi

[ "$(id -u)" = 0 ] || fail "installing packages needs root; run it with sudo"
command -v apt-get >/dev/null || fail "this host has no apt-get; Hawser supports Debian 12/13 and Ubuntu 22.04 or later"
: >"$log"

apt_updated=
install_packages() {
    export DEBIAN_FRONTEND=noninteractive
    if [ -z "$apt_updated" ]; then
        say "Reading package lists …"
        apt-get update -q >>"$log" 2>&1 || fail "apt-get update failed"
        apt_updated=1
    fi
    say "Installing $* …"
    # shellcheck disable=SC2086
    apt-get install -qy --no-install-recommends "$@" >>"$log" 2>&1 || fail "could not install $*"
}

if [ -n "$missing" ]; then
    # shellcheck disable=SC2086
    install_packages $missing
    case " $missing" in
    *" lxcfs "*)
        # Each engine runs its own when it has rich containers; the package's is for LXC.
        [ ! -d /run/systemd/system ] || systemctl disable --now lxcfs.service >>"$log" 2>&1 || true
        ;;
    esac
fi
python=$(find_python)
if [ -z "$python" ]; then
    # Debian names the newest one python3; Ubuntu 22.04 has 3.11 beside its own 3.10.
    install_packages python3 python3-venv
    python=$(find_python)
fi
if [ -z "$python" ]; then
    install_packages python3.11 python3.11-venv
    python=$(find_python)
fi
[ -n "$python" ] || fail "no Python 3.11 or later could be installed"

if ! [ -x .venv/bin/python ] || ! .venv/bin/python -c 'import pip' 2>/dev/null; then
    say "Making a virtual environment …"
    rm -rf .venv
    "$python" -m venv .venv >>"$log" 2>&1 || fail "could not make the virtual environment"
fi
case $profile in
dev) extras='[kubectl,dev]' ;;
*) extras='[kubectl]' ;;
esac
say "Installing Python packages …"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --editable ".$extras" >>"$log" 2>&1 ||
    fail "could not install Python packages"
say "Compiling …"
# As pip does for what it copies; the engine's processes run without docstrings (-OO), which are files of their own.
.venv/bin/python -m compileall -q -j 0 src >>"$log" 2>&1 &&
    PYTHONDONTWRITEBYTECODE='' .venv/bin/python -OO -c \
        'import hawser.apiserver.server, hawser.node.agent, hawser.controllers.manager' >>"$log" 2>&1 ||
    say "Modules could not be compiled; they are at each start (see $log)"
.venv/bin/python -m hawser.rich.view.library >>"$log" 2>&1 ||
    say "libhawser-view.so could not be built; rich containers' programs are told the node's processors (see $log)"
[ "$profile" = dev ] && printf '%s' "$wanted" >"$root/.venv/.hawser-run"
printf '%s' "$wanted" >"$stamp"
