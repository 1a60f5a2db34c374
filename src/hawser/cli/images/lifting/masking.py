"""Services of a machine that make no sense in a container, with the reason. Pure.

A pattern is a unit's name without its kind, or a whole name; sysv scripts count as services of their name, as
systemd-sysv-generator(8) has it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

KINDS = ("service", "socket", "timer", "mount", "automount", "swap", "path", "target")
_TABLE = (
    (
        "devices are the node's",
        (
            "systemd-udev* udev systemd-hwdb-update hwdb eudev mountdevsubfs systemd-tmpfiles-setup-dev*  "
            "lm-sensors sensord fancontrol acpid apmd acpi-support irqbalance thermald tuned cpufrequtils cpupower "
            "loadcpufreq bluetooth upower ipmi* openipmi mcelog rasdaemon rngd rng-tools* haveged smartd "
            "smartmontools fwupd* usbmuxd gpm alsa* kdump* kexec* microcode* systemd-backlight@* systemd-rfkill* "
            "systemd-battery-check laptop-mode powertop switcheroo-control ModemManager cups-browsed colord bolt"
        ),
    ),
    (
        "the kernel, its modules and settings are the node's",
        (
            "systemd-modules-load kmod kmod-static-nodes modprobe@* module-init-tools systemd-sysctl procps "
            "sysctl systemd-binfmt binfmt-support proc-sys-fs-binfmt_misc apparmor selinux-autorelabel*  "
            "systemd-pstore systemd-random-seed urandom systemd-pcr* systemd-tpm2* tpm2* dracut-* grub-* grub2-*  "
            "systemd-boot-* systemd-bless-boot ldconfig-boot rhel-* auditd systemd-journald-audit  "
            "systemd-machine-id-commit systemd-firstboot"
        ),
    ),
    (
        "the network is the pod's, set up before the first process",
        (
            "systemd-networkd* systemd-network-generator NetworkManager* networking network ifup@* ifupdown-* "
            "netplan-* wicked* dhcpcd* dhclient* isc-dhcp-client connman* wpa_supplicant* wpa_supplicant@* rdnssd "
            "systemd-resolved resolvconf* avahi-daemon hostapd keepalived vpnagentd"
        ),
    ),
    (
        "a firewall needs CAP_NET_ADMIN; a NetworkPolicy does its work",
        (
            "nftables iptables ip6tables iptables-* netfilter-persistent firewalld ufw ferm shorewall* fail2ban "
            "arptables ebtables"
        ),
    ),
    (
        "the clock is the node's",
        (
            "systemd-timesyncd systemd-time-wait-sync chrony* ntp ntpd ntpdate ntpsec* openntpd hwclock*  "
            "fake-hwclock ptp4l phc2sys"
        ),
    ),
    (
        "a container has no console to log in at",
        (
            "getty@* serial-getty@* console-getty container-getty@* getty getty-static getty-pre autovt@* "
            "keyboard-setup* console-setup* console-screen* setvtrgb systemd-vconsole-setup plymouth*  "
            "systemd-ask-password-* gdm* lightdm sddm display-manager kbd"
        ),
    ),
    (
        "file systems are volumes of the pod, mounted before the first process",
        (
            "*.mount *.automount autofs systemd-remount-fs systemd-fsck* systemd-growfs* systemd-quotacheck quota "
            "quotaon* checkfs* checkroot* mountall* mountnfs* mountkernfs* umountfs umountnfs* umountroot netfs "
            "nfs-server nfs-kernel-server nfsd nfs-blkmap x-systemd-growfs*"
        ),
    ),
    (
        "disks and swap are the node's",
        (
            "*.swap dphys-swapfile zram* zramswap lvm2* lvm-* dm-event blk-availability mdmonitor* mdadm* "
            "mdcheck* multipathd multipath-tools* iscsi* iscsid open-iscsi e2scrub* fstrim zfs-* zed cryptdisks* "
            "systemd-cryptsetup* udisks2 drbd hdparm raid-check xfs_scrub* btrfs-scrub*"
        ),
    ),
    (
        "an agent of the machine's hypervisor or cloud",
        (
            "qemu-guest-agent open-vm-tools vmtoolsd vmware-tools* vgauth vgauthd hv-kvp-daemon hv-vss-daemon  "
            "hv-fcopy-daemon hypervkvpd hypervvssd virtualbox-guest* vboxadd* xe-daemon xe-linux-distribution "
            "waagent walinuxagent google-guest-agent* google-startup* google-shutdown* google-oslogin*  "
            "google-osconfig* cloud-init* cloud-config cloud-final growroot cloud-initramfs* spice-vdagent*"
        ),
    ),
    (
        "containers and virtual machines inside need privileges that no pod has",
        (
            "docker docker-storage-setup containerd kubelet crio podman* lxc lxc-net lxc@* lxd lxd-* libvirtd* "
            "virtlogd* virtlockd* snapd* snap.* machines"
        ),
    ),
    (
        "an image is updated by making it anew",
        (
            "apt-daily* unattended-upgrades dnf-makecache* dnf-automatic* yum-cron yum-updatesd packagekit*  "
            "dpkg-db-backup apt-listchanges update-notifier* motd-news ubuntu-advantage* esm-cache zypper-*"
        ),
    ),
)
# `*.mount` and its like mean units that an administrator or a package brings; these are groups, not mounts.
_NEVER = frozenset({"local-fs.target", "remote-fs.target", "swap.target", "network.target", "network-online.target"})


@dataclass(frozen=True)
class Decision:
    """What becomes of a unit: masked for a reason, or kept (no reason)."""

    unit: str
    enabled: bool
    reason: str = ""

    @property
    def masked(self) -> bool:
        """Whether the unit can not start in the container."""
        return bool(self.reason)


def reason(unit: str) -> str:
    """Why a unit makes no sense in a container; empty for those that do."""
    if unit in _NEVER:
        return ""
    stem, _, kind = unit.rpartition(".")
    if kind not in KINDS:
        stem = unit
    for why, patterns in _TABLE:
        for pattern in patterns.split():
            if fnmatchcase(unit, pattern) if pattern.startswith("*.") else fnmatchcase(stem, pattern):
                return why
    return ""


def decide(
    present: Iterable[str], enabled: Iterable[str], keep: Sequence[str] = (), mask: Sequence[str] = ()
) -> list[Decision]:
    """What becomes of each unit that is there; sorted by name.

    `keep` and `mask` are the user's patterns, of whole names (`nginx`, `nginx.service`, `snap.*`); `keep` prevails.
    """
    active = set(enabled)
    decisions = []
    for unit in sorted(set(present) | active):
        why = "as asked" if _named(unit, mask) else reason(unit)
        decisions.append(Decision(unit, unit in active, "" if _named(unit, keep) else why))
    return decisions


def _named(unit: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(unit, pattern) or fnmatchcase(unit, pattern + ".service") for pattern in patterns)
