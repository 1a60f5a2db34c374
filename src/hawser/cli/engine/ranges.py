"""The address ranges of an engine that its user may choose: load balancers, further pod ranges, a second family."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import sha256

from hawser.cli.engine.settings import Settings, SettingsError

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Ranges:
    """What is asked; None: as it was. balancers: comma-separated, "" for none; pools: ``NAME=CIDR``, empty for none."""

    dual_stack: bool | None = None
    balancers: str | None = None
    pools: tuple[str, ...] | None = None

    def changed(self, engine: Settings) -> Settings:
        """The settings with what is asked. Raises SettingsError."""
        if self.dual_stack is not None:
            pods, services = unique_local(engine.instance) if self.dual_stack else ("", "")
            engine = replace(engine, pod_cidr6=pods, service_cidr6=services)
        if self.balancers is not None:
            engine = replace(engine, load_balancer_range=self.balancers)
        if self.pools is not None:
            engine = replace(engine, ip_pools="\n".join(self.pools))
        check(engine)
        return engine


AS_IT_WAS = Ranges()


def unique_local(instance: str) -> tuple[str, str]:
    """The IPv6 ranges of an engine's pods and Services: of a prefix that is its own (RFC 4193)."""
    prefix = bytes([0xFD]) + sha256(instance.encode()).digest()[:5]
    pods, services = (ipaddress.IPv6Address(prefix + number.to_bytes(2) + bytes(8)) for number in (1, 2))
    return f"{pods}/64", f"{services}/112"


def pools_of(engine: Settings) -> dict[str, str]:
    """The further pod ranges by name. Raises SettingsError."""
    found = {}
    for line in engine.ip_pools.splitlines():
        name, _, cidr = line.partition("=")
        if not _NAME.fullmatch(name) or not cidr:
            raise SettingsError(f"--ip-pool wants NAME=CIDR, for example storage=10.60.0.0/24; got {line!r}")
        found[name] = cidr
    return found


def check(engine: Settings) -> None:
    """Raises SettingsError for ranges that are none or overlap."""
    balancers = [("--load-balancer-range", text) for text in engine.load_balancer_range.split(",") if text]
    pools = [("--ip-pool", text) for text in pools_of(engine).values()]
    own = [engine.pod_cidr, engine.service_cidr, engine.pod_cidr6, engine.service_cidr6]
    seen = [ipaddress.ip_network(text) for text in own if text]
    for option, text in (*balancers, *pools):
        try:
            network = ipaddress.ip_network(text)
        except ValueError as e:
            raise SettingsError(f"{option}: {e}") from None
        for other in seen:
            if network.version == other.version and network.overlaps(other):
                raise SettingsError(f"{option} {text} overlaps {other}")
        seen.append(network)
    for option, text in pools:
        if ipaddress.ip_network(text).num_addresses < 2:
            raise SettingsError(f"{option} {text} is too small")


def joined(texts: Iterable[str]) -> str:
    """A flag's value of several ranges, empty ones left out."""
    return ",".join(text for text in texts if text)
