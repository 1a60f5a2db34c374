"""Who has which address, among all nodes of an engine: a folder with one small file an address.

Nodes share pools, and a pod keeps its fixed address wherever it runs, so no node can tell alone whether an address is
free. A claim is a file that only one can create. Files are not synced: a boot empties the folder, as it ends all pods.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from ipaddress import ip_address
from pathlib import Path

from hawser.node.network.netlink import Address


@dataclass(frozen=True, slots=True)
class Claim:
    """Whose an address is. node: its name; owner: the sandbox's id; pod: what it is called, for messages."""

    node: str
    owner: str
    pod: str = ""

    def __str__(self) -> str:
        return f"{self.pod or f'sandbox {self.owner[:13]}'} on node {self.node}"


class Taken(Exception):
    """The address is another's: address, and the claim, None when it has just been given up."""

    def __init__(self, address: Address, claim: Claim | None) -> None:
        super().__init__(f"address {address} is in use by {claim or 'another node'}")
        self.address = address
        self.claim = claim


class Ledger:
    """The ledger as a node writes it."""

    def __init__(self, folder: Path, node: str) -> None:
        self._folder = folder
        self._node = node

    def open(self) -> None:
        """Makes the folder, before the first claim."""
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def claim(self, owner: str, addresses: Iterable[Address], pod: str = "") -> None:
        """Writes down that addresses are an owner's; repeating it is no error.

        Raises Taken and OSError: then none of them is.
        """
        claim, made = Claim(self._node, owner, pod), []
        for address in addresses:
            fresh = self._folder / f".{owner}"
            try:
                fresh.write_text(json.dumps(asdict(claim)))
                # A link appears whole or not at all, and not over another.
                self._path(address).hardlink_to(fresh)
                made.append(address)
            except FileExistsError:
                holder = self.holder(address)
                if holder is None or (holder.node, holder.owner) != (self._node, owner):
                    self.release(owner, made)
                    raise Taken(address, holder) from None
            except OSError:
                self.release(owner, made)
                raise
            finally:
                fresh.unlink(missing_ok=True)

    def holder(self, address: Address) -> Claim | None:
        """Who has an address."""
        try:
            return Claim(**json.loads(self._path(address).read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def release(self, owner: str, addresses: Iterable[Address]) -> None:
        """Gives up what is this owner's of the addresses."""
        for address in addresses:
            holder = self.holder(address)
            if holder is not None and (holder.node, holder.owner) == (self._node, owner):
                self._path(address).unlink(missing_ok=True)

    def settle(self, owners: Iterable[str]) -> None:
        """Gives up all that is this node's but what these owners have: after a crash, or when the node is taken off."""
        keep = set(owners)
        for address in list(self._listed()):
            holder = self.holder(address)
            if holder is not None and holder.node == self._node and holder.owner not in keep:
                self._path(address).unlink(missing_ok=True)

    def _listed(self) -> Iterator[Address]:
        if self._folder.is_dir():
            yield from (ip_address(path.name) for path in self._folder.iterdir() if not path.name.startswith("."))

    def _path(self, address: Address) -> Path:
        return self._folder / str(address)
