"""What tests of authorization share: roles and bindings by a word or two, and kubectl as somebody."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

RBAC = "/apis/rbac.authorization.k8s.io/v1"
Obj = dict[str, Any]


class Rules:
    """Writes roles and bindings of one test as the administrator."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.namespace = api.namespace
        self.local = f"{RBAC}/namespaces/{api.namespace}"

    @staticmethod
    def rule(verbs: str, groups: str, resources: str, *names: str) -> Obj:
        """A rule of words; groups apart by commas."""
        made: Obj = {"verbs": verbs.split(), "apiGroups": groups.split(","), "resources": resources.split()}
        return {**made, "resourceNames": list(names)} if names else made

    async def role(self, name: str, *rules: Obj, **options: Any) -> Any:
        """A Role in the namespace; the answer."""
        return await self.api.call(
            "POST", f"{self.local}/roles", {"metadata": {"name": name}, "rules": rules}, **options
        )

    async def bind(self, name: str, role: str, *subjects: str, kind: str = "Role", **options: Any) -> Any:
        """A RoleBinding to users; the answer."""
        return await self.api.call(
            "POST", f"{self.local}/rolebindings", self.binding(name, role, *subjects, kind=kind), **options
        )

    @staticmethod
    def binding(name: str, role: str, *users: str, kind: str = "Role") -> Obj:
        """The body of a binding."""
        group = "rbac.authorization.k8s.io"
        return {
            "metadata": {"name": name},
            "roleRef": {"apiGroup": group, "kind": kind, "name": role},
            "subjects": [{"kind": "User", "apiGroup": group, "name": user} for user in users],
        }

    async def grant(self, user: str, *rules: Obj) -> None:
        """Let a user do something in the namespace."""
        assert (await self.role(f"of-{user}", *rules)).status == 201
        assert (await self.bind(f"of-{user}", f"of-{user}", user)).status == 201


@pytest.fixture
def rules(api: Any) -> Rules:
    return Rules(api)


@pytest.fixture
def as_user(server: Any) -> Any:
    """Runs kubectl with a token of the tests' token file; (exit code, both outputs)."""

    def run(token: str, *arguments: str, stdin: str = "") -> tuple[int, str]:
        done = subprocess.run(
            [
                *(str(Path(sys.executable).parent / "kubectl"), "--kubeconfig", "/dev/null"),
                *("--server", server.url, "--certificate-authority", str(server.folder / "ca.crt")),
                *("--token", token, *arguments),
            ],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=180,
            env={"HOME": str(server.folder)},
        )
        return done.returncode, done.stdout + done.stderr

    return run
