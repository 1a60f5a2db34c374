"""What a measure creates, and its removal: everything lives in namespaces of its own."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

from http1 import Connection, HTTPError, Target, now
from report import note


@contextmanager
def namespace(target: Target, what: str, keep: bool = False) -> Iterator[tuple[Connection, str]]:
    """A new namespace ``bench-<what>-<random>`` with its service account; deleted with all that is in it."""
    connection = Connection(target)
    name = f"bench-{what}-{secrets.token_hex(3)}"
    connection.must("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    path = f"/api/v1/namespaces/{name}"
    controlled = False
    try:
        # Controllers write into a new namespace; that should be over before something is measured.
        controlled = _until(lambda: connection.call("GET", f"{path}/serviceaccounts/default").status == 200, 10)
        if not controlled:
            note("no default service account after 10 s: are the controllers running?")
        time.sleep(0.5)
        yield connection, path
    finally:
        if not keep:
            _remove(target, path, 60 if controlled else 2)
        connection.close()


def _remove(target: Target, path: str, seconds: float) -> None:
    connection = Connection(target, timeout=120)
    try:
        for item in connection.list(f"{path}/pods")[0]:
            # A pod that was never bound has nobody who would end it gracefully.
            if not item["spec"].get("nodeName"):
                connection.call("DELETE", f"{path}/pods/{item['metadata']['name']}?gracePeriodSeconds=0")
        connection.call("DELETE", f"{path}/configmaps")
        connection.must("DELETE", path)
        if not _until(lambda: connection.call("GET", path).status == 404, seconds):
            note(f"{path} is still there after {seconds} s")
    except (HTTPError, OSError) as error:
        note(f"clean-up of {path}: {error}")
    finally:
        connection.close()


def _until(condition: Callable[[], bool], seconds: float) -> bool:
    end = now() + seconds
    while not condition():
        if now() > end:
            return False
        time.sleep(0.05)
    return True


def in_parallel(target: Target, connections: int, requests: Iterable[tuple[str, str, Any]]) -> None:
    """Sends (method, path, body) requests over so many connections. Raises the first error."""
    queue: SimpleQueue[tuple[str, str, Any]] = SimpleQueue()
    for request in requests:
        queue.put(request)
    errors: list[BaseException] = []

    def work() -> None:
        connection = Connection(target)
        try:
            while not errors:
                connection.must(*queue.get_nowait())
        except Empty:
            pass
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]


def shell_pod(name: str, image: str, script: str, **more: Any) -> dict[str, Any]:
    """A pod whose container ``main`` runs a shell script. more: fields of the container."""
    command = ["sh", "-c", script]
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent", "command": command, **more}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
