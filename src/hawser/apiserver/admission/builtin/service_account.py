"""ServiceAccount: pods run as an account of their namespace, with its token in a volume unless they do not want it.

Source: Kubernetes documentation, "Managing Service Accounts", ServiceAccount admission controller; "Configure Service
Accounts for Pods"; the annotation ``kubernetes.io/enforce-mountable-secrets``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from hawser.api.kind import Kind
from hawser.api.kinds import POD, SERVICE_ACCOUNT
from hawser.api.types import Obj
from hawser.apiserver.admission.base import Operation, Plugin, Request
from hawser.apiserver.admission.refusals import refused
from hawser.apiserver.committed import Committed
from hawser.apiserver.writes import generate

DEFAULT = "default"
VOLUME = "kube-api-access-"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
ROOT_CA = "kube-root-ca.crt"
TOKEN_SECONDS = 3607
"""What the API server takes as the sign that the token was asked for here."""
_ENFORCE = "kubernetes.io/enforce-mountable-secrets"
_MIRROR = "kubernetes.io/config.mirror"
_TRUE = ("1", "t", "T", "TRUE", "true", "True")


class ServiceAccount(Plugin):
    """See the module."""

    name = "ServiceAccount"

    def __init__(self, committed: Committed) -> None:
        self._committed = committed

    def handles(self, kind: Kind, subresource: str, operation: Operation) -> bool:
        """New pods, and containers that are put into running ones."""
        if kind is not POD:
            return False
        return (not subresource and operation is Operation.CREATE) or (
            subresource == "ephemeralcontainers" and operation is Operation.UPDATE
        )

    def mutate(self, request: Request) -> None:
        """Give the pod its account, the account's pull secrets and token. APIError 403 without such an account."""
        pod = request.new
        if request.operation is not Operation.CREATE or mirrored(pod):
            return
        spec = pod["spec"]
        name = spec.get("serviceAccountName") or DEFAULT
        spec["serviceAccountName"] = spec["serviceAccount"] = name
        account = self._account(request, name)
        if wants_token(spec, account):
            mount_token(spec, generate)
        if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
            spec["imagePullSecrets"] = [{"name": ref.get("name", "")} for ref in account["imagePullSecrets"]]

    def validate(self, request: Request) -> None:
        """Refuse what mirror pods and accounts that limit their secrets do not allow. APIError 403."""
        pod = request.new
        problem: str | None
        if request.operation is Operation.CREATE and mirrored(pod):
            problem = mirror_problem(pod["spec"])
        else:
            name = pod["spec"].get("serviceAccountName")
            if not name:
                where = f"{request.namespace}/{pod['metadata'].get('name', '')}"
                raise refused(request, f"no service account specified for pod {where}")
            account = self._account(request, name)
            if (account["metadata"].get("annotations") or {}).get(_ENFORCE) not in _TRUE:
                return
            if request.operation is Operation.CREATE:
                problem = secret_problem(pod["spec"], account)
            else:
                problem = _container_problem(pod["spec"], account, (("ephemeralContainers", "ephemeral container"),))
        if problem:
            raise refused(request, problem)

    def _account(self, request: Request, name: str) -> Obj:
        account = self._committed.get(SERVICE_ACCOUNT, request.namespace, name)
        if account is None:
            where = f"{request.namespace}/{name}"
            raise refused(request, f'error looking up service account {where}: serviceaccount "{name}" not found')
        return account


def mirrored(pod: Obj) -> bool:
    """Whether a pod only shows what a node runs by itself."""
    return _MIRROR in (pod["metadata"].get("annotations") or {})


def wants_token(spec: Obj, account: Obj) -> bool:
    """The pod's word counts, then the account's; otherwise it does."""
    for said in (spec.get("automountServiceAccountToken"), account.get("automountServiceAccountToken")):
        if said is not None:
            return bool(said)
    return True


def mount_token(spec: Obj, named: Callable[[str], str]) -> None:
    """Mount the token's volume wherever nothing is mounted at its place yet. named: makes a name of a prefix."""
    volumes = spec.get("volumes") or []
    existing = next((name for v in volumes if (name := v.get("name", "")).startswith(VOLUME)), None)
    name = existing or named(VOLUME)
    needed = False
    for container in (*(spec.get("initContainers") or ()), *(spec.get("containers") or ())):
        mounts = container.get("volumeMounts") or []
        if any(mount.get("mountPath") == MOUNT_PATH for mount in mounts):
            continue
        container["volumeMounts"] = [*mounts, {"name": name, "readOnly": True, "mountPath": MOUNT_PATH}]
        needed = True
    if needed and existing is None:
        spec["volumes"] = [*volumes, {"name": name, "projected": _token_volume()}]


def _token_volume() -> Obj:
    field = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    return {
        "defaultMode": 0o644,
        "sources": [
            {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
            {"configMap": {"name": ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": field}]}},
        ],
    }


def mirror_problem(spec: Obj) -> str | None:
    """Why a mirror pod is refused: it may use nothing that only the API server could give it."""
    if spec.get("serviceAccountName"):
        return "a mirror pod may not reference service accounts"
    volumes = spec.get("volumes") or ()
    if (
        spec.get("imagePullSecrets")
        or any(True for (*_,) in _container_secrets(spec, _ALL))
        or any(True for volume in volumes for _ in _volume_secrets(volume))
    ):
        return "a mirror pod may not reference secrets"
    sources = (source for volume in volumes for source in (volume.get("projected") or {}).get("sources") or ())
    if any("serviceAccountToken" in source for source in sources):
        return "a mirror pod may not use ServiceAccountToken volume projections"
    return None


def secret_problem(spec: Obj, account: Obj) -> str | None:
    """Why a pod is refused whose account limits it to the secrets that it lists."""
    name, allowed = account["metadata"]["name"], _listed(account, "secrets")
    for volume in spec.get("volumes") or ():
        secret = (volume.get("secret") or {}).get("secretName")
        if secret is not None and secret not in allowed:
            return (
                f'volume with secret.secretName="{secret}" is not allowed because service account {name} does not '
                "reference that secret"
            )
    problem = _container_problem(spec, account, (("initContainers", "init container"), ("containers", "container")))
    if problem:
        return problem
    pulls = _listed(account, "imagePullSecrets")
    for number, ref in enumerate(spec.get("imagePullSecrets") or ()):
        if ref.get("name") not in pulls:
            return (
                f'imagePullSecrets[{number}].name="{ref.get("name", "")}" is not allowed because service account '
                f"{name} does not reference that imagePullSecret"
            )
    return None


_Fields = tuple[tuple[str, str], ...]
_ALL: _Fields = (("initContainers", ""), ("containers", ""), ("ephemeralContainers", ""))


def _container_problem(spec: Obj, account: Obj, fields: _Fields) -> str | None:
    name, allowed = account["metadata"]["name"], _listed(account, "secrets")
    for what, secret in _container_secrets(spec, fields):
        if secret not in allowed:
            return (
                f'{what} referencing secret.secretName="{secret}" is not allowed because service account {name} does '
                "not reference that secret"
            )
    return None


def _container_secrets(spec: Obj, fields: _Fields) -> Iterator[tuple[str, str]]:
    """What refers to a secret, and its name. fields: of the spec, and what messages call their containers."""
    for field, word in fields:
        for container in spec.get(field) or ():
            for env in container.get("env") or ():
                ref = (env.get("valueFrom") or {}).get("secretKeyRef")
                if ref:
                    yield f"{word} {container['name']} with envVar {env['name']}", ref.get("name") or ""
            for source in container.get("envFrom") or ():
                if source.get("secretRef"):
                    yield f"{word} {container['name']} with envFrom", source["secretRef"].get("name") or ""


def _volume_secrets(volume: Obj) -> Iterator[str]:
    """The names of the secrets that a volume is made from or reached with."""
    for kind, source in volume.items():
        if kind == "name" or not isinstance(source, dict):
            continue
        for key in ("secretName", "secretRef", "nodePublishSecretRef"):
            found = source.get(key)
            if found:
                yield found if isinstance(found, str) else found.get("name") or ""
        for part in (source.get("sources") or ()) if kind == "projected" else ():
            if part.get("secret"):
                yield part["secret"].get("name") or ""


def _listed(account: Obj, field: str) -> set[str]:
    return {ref.get("name") or "" for ref in account.get(field) or ()}
