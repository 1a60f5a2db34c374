"""The audit log's files."""

from __future__ import annotations

import os
from pathlib import Path

from hawser.apiserver.audit.log import AuditLog, rotated, surplus


def test_lines_are_kept_in_order_over_rotated_files(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    lines = [b"%06d\n" % number for number in range(3000)]
    for part in (lines[:1500], lines[1500:]):
        log = AuditLog(path, size=500)
        for line in part:
            log.write(line)
        log.close()
        assert log.lost == 0
    assert path.stat().st_mode & 0o777 == 0o600
    files = [*reversed(rotated(path)), path]
    assert len(files) > 1
    assert b"".join(file.read_bytes() for file in files) == b"".join(lines)


def test_rotated_files_go_when_they_are_too_many_or_too_old(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    for day in range(1, 6):
        file = tmp_path / f"audit-2026-11-0{day}T00-00-00.000.log"
        file.touch()
        os.utime(file, (day * 86400, day * 86400))
    (tmp_path / "audit-other.log").touch()
    files = rotated(path)
    assert [file.name[14:16] for file in files] == ["05", "04", "03", "02", "01"]
    gone = [file.name[14:16] for file in surplus(files, backups=3, days=0, now=0)]
    assert gone == ["01", "02"]
    assert [file.name[14:16] for file in surplus(files, 0, 3, now=5.5 * 86400)] == ["01", "02"]
    assert surplus(files, 0, 0, now=1e12) == []
