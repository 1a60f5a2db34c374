"""Health and metrics of the engine's controllers and scheduler, as Prometheus asks for them."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path

from .conftest import Engine, eventually, pod


def _ask(url: str, pki: Path, certificate: str = "") -> tuple[int, str]:
    """The endpoint's answer; its own certificate is checked, under the name that the URL has."""
    context = ssl.create_default_context(cafile=pki / "ca.crt")
    if certificate:
        context.load_cert_chain(pki / f"{certificate}.crt", pki / f"{certificate}.key")
    try:
        with urllib.request.urlopen(url, context=context, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code, refused.read().decode()


def test_controllers_and_scheduler_tell_of_their_work(engine: Engine, namespace: str) -> None:
    metrics = str(json.loads(engine.hawser("status", "-o", "json").stdout)["metrics"])
    server, pki = metrics.removesuffix("/metrics"), engine.data_dir / "pki"
    assert _ask(f"{server}/healthz", pki) == (200, "ok")
    assert _ask(f"{server}/readyz", pki) == (200, "ok")
    assert _ask(metrics, pki)[0] == 403
    assert _ask(metrics, pki, certificate="agent")[0] == 403, "a node is nobody who monitors"
    engine.apply(pod("scheduled"), namespace)
    engine.wait_ready("scheduled", namespace)
    counted = 'scheduler_schedule_attempts_total{result="scheduled",profile="default-scheduler"} '

    def told() -> str:
        code, text = _ask(metrics, pki, certificate="admin")
        assert code == 200
        return text if counted in text else ""

    text = eventually(told, counted)
    assert "node_collector_zone_size{" in text
