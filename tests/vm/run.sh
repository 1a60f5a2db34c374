#!/bin/sh
# Boots a throw-away virtual machine, as most users' hosts are: systemd is init, control groups are pure version 2. Runs
# trial.py in it and shows what that prints. Needs root, a Debian host and 6 GB in /var/cache; the first run needs apt
# and pip, the machine itself reaches no network. KVM is used where it runs Debian's kernel, else the machine is
# emulated, which takes about ten times as long; HAWSER_VM_ACCEL decides otherwise. HAWSER_VM_KERNEL has further
# parameters of its kernel, as systemd.unified_cgroup_hierarchy=0 for control groups of both versions.
#
#   tests/vm/run.sh [bookworm|trixie]                        the trial, on the host's release or another one
#   tests/vm/run.sh trixie 'pytest tests/e2e/test_rich.py'   any command of the environment instead
set -eu
here=$(dirname "$(readlink -f "$0")")
repo=$(readlink -f "$here/../..")
host=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
suite=${1:-$host}
trial=${2:-python tests/vm/trial.py}
cache=${HAWSER_VM_CACHE:-/var/cache/hawser/vm}
minutes=${HAWSER_VM_MINUTES:-40}
acceleration=${HAWSER_VM_ACCEL:-}
if [ -z "$acceleration" ]; then
    acceleration=tcg,thread=multi
    # /dev/kvm alone does not tell: without one of these (kvm_pvm is another) it runs only kernels made for it.
    for module in kvm_intel kvm_amd; do
        if [ -d "/sys/module/$module" ] && [ -w /dev/kvm ]; then acceleration=kvm; fi
    done
fi

say() { printf '\033[2m%s\033[0m\n' "$*" >&2; }
fail() {
    printf 'Error: %s\n' "$1" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || fail "making a root file system needs root; run it with sudo"
case $suite in *[!a-z]* | '') fail "a release's code name is wanted, for example bookworm or trixie" ;; esac

# --- tools of the host
missing=
command -v qemu-system-x86_64 >/dev/null || missing="$missing qemu-system-x86"
command -v mmdebstrap >/dev/null || missing="$missing mmdebstrap"
command -v mkfs.ext4 >/dev/null || missing="$missing e2fsprogs"
if [ -n "$missing" ]; then
    say "Installing$missing …"
    # shellcheck disable=SC2086
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $missing; } >&2
fi

# --- the machine's packages, kept between runs
packages=$(sed -n 's/^\(.*&& \)*packages="\(\$packages \)*\(.*\)"$/\3/p' "$repo/tools/setup.sh" | tr '\n' ' ')
packages="systemd-sysv udev kmod dbus initramfs-tools linux-image-cloud-amd64 apparmor make git python3 python3-venv $packages"
sources=$(PYTHONPATH="$repo/src" python3 -c 'from hawser.cli.images.sources import host_sources
print("\n".join(host_sources()[1]))' | sed "s/\b$host\b/$suite/g")
key=$(printf '%s\n' "$packages" "$sources" | sha256sum | cut -c1-12)
root=$cache/$suite-$key
mkdir -p "$cache"
exec 9>"$root.lock"
flock 9
if ! [ -d "$root" ]; then
    say "Installing $suite …"
    rm -rf "$root.new"
    printf '%s\n' "$sources" >"$root.list"
    mmdebstrap --quiet --mode=root --variant=minbase --format=directory \
        --include="$(echo "$packages" | tr ' ' ,)" "$suite" "$root.new" "$root.list" ||
        fail "mmdebstrap could not make a $suite system"
    mv "$root.new" "$root"
fi
# What earlier lists of packages made; who boots from one of them has its lock.
for old in "$cache/$suite"-*.lock; do
    [ "$old" = "$root.lock" ] || flock -n "$old" rm -rf "${old%.lock}" "${old%.lock}.list" "$old" || :
done

# --- the clone as it is now, its environment and the rich image's packages
say "Copying the clone, preparing its environment …"
[ ! -d /usr/local/share/ca-certificates ] || cp -r /usr/local/share/ca-certificates "$root/usr/local/share/"
cp /etc/resolv.conf "$root/etc/resolv.conf"
apt-config dump | grep -E '^Acquire::(Check-|https?::)' >"$root/etc/apt/apt.conf.d/90-host" || :
find "$root/srv/hawser" -mindepth 1 -maxdepth 1 ! -name .venv -exec rm -rf {} + 2>/dev/null || true
mkdir -p "$root/srv/hawser"
(cd "$repo" && git ls-files -z --cached --others --exclude-standard |
    tar --ignore-failed-read --null -cf - --files-from=- 2>/dev/null) | tar -xf - -C "$root/srv/hawser"
printf '%s\n' "$trial" >"$root/srv/trial"
cat >"$root/srv/prepare" <<'EOF'
set -eu
cd /srv/hawser
update-ca-certificates >/dev/null 2>&1
tools/setup.sh dev
.venv/bin/python - <<'EOP'
from pathlib import Path
from hawser.cli.images.description import load
from hawser.cli.images.rich import build_base
build_base(load(Path("examples/legacy-app/image.yaml")), progress=print)
EOP
# The newest containerd, runc and crun, which tests/e2e/test_rich_newer.py starts an engine with.
PYTHONPATH=. .venv/bin/python -c 'from tests.runtime.environments import newer
for name in ("containerd", "runc", "crun"): newer(name)' || echo "Without the newest runtimes" >&2
ln -sf /dev/null /etc/systemd/system/apt-daily.timer
ln -sf /dev/null /etc/systemd/system/apt-daily-upgrade.timer
echo vm >/etc/hostname
echo '127.0.0.1 localhost vm' >/etc/hosts
: >/etc/machine-id
cat >/etc/systemd/system/trial.service <<'EOU'
[Unit]
Description=Hawser's trial
After=multi-user.target network-online.target
Wants=network-online.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
WorkingDirectory=/srv/hawser
Environment=PATH=/srv/hawser/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root PYTHONUNBUFFERED=1 NO_COLOR=1 COLUMNS=160
ExecStart=/bin/sh -c 'if sh /srv/trial; then echo "The trial passed"; else echo "The trial failed"; fi'
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0

[Install]
WantedBy=graphical.target
EOU
printf '[Match]\nType=ether\nKind=!*\n[Network]\nDHCP=ipv4\n' >/etc/systemd/network/80-dhcp.network
systemctl -q enable systemd-networkd.service systemd-networkd-wait-online.service trial.service
systemctl -q set-default graphical.target
systemctl -q mask serial-getty@ttyS0.service
EOF
# Mounts of the preparation are in a namespace of their own, so none can be left behind or get into the disk.
env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root $(env | grep -E '^(PIP_[A-Z_]+|[a-z]+_proxy)=[^ ]*$' || true) \
    unshare --mount --propagation private sh -euc '
        mount --bind "$1" "$1"
        mount -t proc proc "$1/proc"
        mount --rbind /sys "$1/sys"
        mount --rbind /dev "$1/dev"
        mount -t tmpfs tmpfs "$1/tmp"
        exec chroot "$1" sh /srv/prepare' sh "$root" || fail "the clone could not be prepared in $root"

# --- the disk, and the boot
scratch=$(mktemp -d "$cache/run.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
say "Writing the disk …"
truncate -s 10G "$scratch/disk"
mkfs.ext4 -q -F -E lazy_itable_init=1 -d "$root" "$scratch/disk"
cp "$(ls "$root"/boot/vmlinuz-* | tail -n 1)" "$scratch/kernel"
cp "$(ls "$root"/boot/initrd.img-* | tail -n 1)" "$scratch/initrd"
flock -u 9
# Emulated vector instructions make SHA-256 of images take four times as long, and the time is slow to read from devices.
case $acceleration in
tcg*) processor=qemu64 clock=tsc=reliable ;;
*) processor=host clock= ;;
esac
say "Booting $suite ($acceleration), at most $minutes minutes …"
timeout --foreground "${minutes}m" qemu-system-x86_64 -accel "$acceleration" -cpu "$processor" -m 3072 -smp 2 \
    -display none -monitor none -serial stdio -no-reboot \
    -nic user,model=virtio-net-pci,restrict=on -device virtio-rng-pci \
    -kernel "$scratch/kernel" -initrd "$scratch/initrd" -append "root=/dev/vda rw console=ttyS0 quiet $clock ${HAWSER_VM_KERNEL:-}" \
    -drive "file=$scratch/disk,format=raw,if=virtio,cache=unsafe" </dev/null | tee "$scratch/output"
grep -q 'The trial passed' "$scratch/output" || fail "the trial did not pass on $suite"
