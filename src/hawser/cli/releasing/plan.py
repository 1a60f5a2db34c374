"""What a release changes in a container: the difference between the files here and there. Pure."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from dataclasses import dataclass

from hawser.cli.context import Failure
from hawser.cli.images.lifting.selection import Selection
from hawser.cli.releasing.files import File, Files


@dataclass(frozen=True)
class Plan:
    """What is done, as paths below the destination; every list is sorted."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    retyped: tuple[str, ...] = ()
    """Of the changed ones those that have to go first, because they are of another type."""
    size: int = 0
    """Bytes of content that are sent."""

    @property
    def empty(self) -> bool:
        return not (self.added or self.changed or self.deleted)

    @property
    def sent(self) -> tuple[str, ...]:
        """What the archive holds, parents first."""
        return tuple(sorted((*self.added, *self.changed)))

    @property
    def touched(self) -> tuple[str, ...]:
        """What is there now and will not be the same: what a rollback needs, parents first."""
        return tuple(sorted((*self.changed, *self.deleted)))

    def document(self) -> dict[str, object]:
        """The JSON object."""
        return {
            "added": list(self.added),
            "changed": list(self.changed),
            "deleted": list(self.deleted),
            "bytes": self.size,
        }


def doubtful(here: Files, there: Files, checksum: bool = False) -> list[str]:
    """Files of one size whose content only a digest can compare; those of one time, too, when `checksum` says so."""
    found = []
    for path, file in here.items():
        other = there.get(path)
        if other is None or not file.is_regular or not other.is_regular or file.size != other.size:
            continue
        if checksum or file.mtime != other.mtime:
            found.append(path)
    return found


def plan(
    here: Files,
    there: Files,
    same: Mapping[str, bool],
    *,
    delete: bool,
    keep: Selection,
    owners: bool,
) -> Plan:
    """The changes that make `there` as `here`.

    same: of the doubtful files, whether the contents agree. delete: what is only there goes, but for what `keep`
    leaves out. owners: whether who owns a file counts; only root can change that.
    Raises Failure where a directory would have to go for a file and `delete` is not asked for.
    """
    added, changed, retyped = [], [], []
    size = 0
    for path, file in here.items():
        other = there.get(path)
        if other is None:
            added.append(path)
        elif file.is_directory and other.to_directory:
            continue  # a link to a directory, /bin for one: the files go where it leads
        elif _differs(file, other, same.get(path), owners):
            changed.append(path)
            if file.kind != other.kind:
                _may_replace(path, other, delete)
                retyped.append(path)
        else:
            continue
        size += file.size
    deleted = [path for path in there if path not in here and keep.left_out(path) is None] if delete else []
    return Plan(tuple(sorted(added)), tuple(sorted(changed)), tuple(sorted(deleted)), tuple(sorted(retyped)), size)


def _differs(file: File, other: File, same: bool | None, owners: bool) -> bool:
    if file.kind != other.kind or file.target != other.target:
        return True
    if not stat.S_ISLNK(file.mode) and stat.S_IMODE(file.mode) != stat.S_IMODE(other.mode):
        return True
    if owners and (file.uid, file.gid) != (other.uid, other.gid):
        return True
    return file.is_regular and (file.size != other.size or same is False)


def _may_replace(path: str, other: File, delete: bool) -> None:
    if other.is_directory and not delete:
        raise Failure(f"{path} is a directory in the container and none here", "--delete lets a release remove it")
