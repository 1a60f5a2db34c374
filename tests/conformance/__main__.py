"""Runs Kubernetes' end-to-end suite against a cluster: see README.md."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from . import suite

ROOT = Path(__file__).parents[2]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument(
        "--data-dir", type=Path, default=Path("/var/lib/hawser"), help="of the engine (default: %(default)s)"
    )
    parser.add_argument("--focus", default=r"\[Conformance\]", help="pattern of names (default: %(default)s)")
    parser.add_argument("--skip", default="", help="pattern of names to leave out")
    parser.add_argument("--serial", action="store_true", help="the tests that must have the cluster alone")
    parser.add_argument("--processes", type=int, default=4, help="at a time (default: %(default)s)")
    parser.add_argument(
        "--report", type=Path, default=Path("conformance"), help="folder of the results (default: %(default)s)"
    )
    parser.add_argument("--build", action="store_true", help="build the suite, and no more")
    return parser.parse_args()


def main() -> int:
    """Builds, imports the images, runs; the exit code is ginkgo's."""
    options = _options()
    made = suite.build()
    if options.build:
        return 0
    subprocess.run([ROOT / "hawser", "image", "import", "--data-dir", options.data_dir, made.images], check=True)
    report = options.report.resolve()
    report.mkdir(parents=True, exist_ok=True)
    focus, skip, processes = options.focus, options.skip, options.processes
    if options.serial:
        focus, processes = rf"\[Serial\].*{focus}", 1
    else:
        skip = "|".join(filter(None, (r"\[Serial\]", skip)))
    config = options.data_dir / "kubeconfig/admin.yaml"
    log = report / "log"
    command = [
        made.ginkgo,
        f"-nodes={processes}",
        "-noColor",
        f"-focus={focus}",
        f"-skip={skip or '^$'}",
        made.tests,
        "--",
    ]
    command += [f"--kubeconfig={config}", "--provider=skeleton", f"--kubectl-path={ROOT / '.venv/bin/kubectl'}"]
    command += [f"--report-dir={report}", "--allowed-not-ready-nodes=10", "--disable-log-dump=true"]
    print(f"running; the log is {log}", flush=True)
    with log.open("wb") as out:
        code = subprocess.run(command, stdout=out, stderr=out, cwd=report, env={**os.environ}, check=False).returncode
    text = log.read_text(errors="replace")
    for failure in re.findall(r'^\{"msg":"FAILED (.*?)","total"', text, re.MULTILINE):
        print(f"failed: {failure}")
    print("\n".join(re.findall(r"^\S*(?:Ran \d+ of .*|.*\d+ Passed.*)$", text, re.MULTILINE)))
    return code


if __name__ == "__main__":
    sys.exit(main())
