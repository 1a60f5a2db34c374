"""Which plugins there are, in Kubernetes' order.

Source: kube-apiserver, ``--enable-admission-plugins``: the recommended order is fixed, whatever order the flag has.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from hawser.apiserver.admission.base import Plugin
from hawser.apiserver.admission.builtin import (
    certificates,
    limits,
    pods,
    quota,
    requesters,
    security,
    service_account,
    signers,
    storage,
)
from hawser.apiserver.admission.chain import Chain
from hawser.apiserver.admission.node_restriction import NodeRestriction
from hawser.apiserver.admission.policies import mutating, validating
from hawser.apiserver.admission.settings import Settings
from hawser.apiserver.authorization.claim_status import ClaimStatus
from hawser.apiserver.authorization.escalation import Escalation
from hawser.apiserver.authorization.upsert import CreationByChange
from hawser.apiserver.committed import Committed
from hawser.apiserver.options import TOLERATION_SECONDS
from hawser.apiserver.writes import utc_now

if TYPE_CHECKING:
    from hawser.apiserver.resources import Resources


class Row(NamedTuple):
    """One plugin. make: None for what is done elsewhere in the server and cannot be switched. on: by default."""

    name: str
    make: Callable[[Resources, Committed], Plugin] | None = None
    on: bool = True


def _optional(name: str) -> Row:
    """A row of a plugin that is off unless the flag names it; until then it is not even imported."""

    def make(resources: Resources, committed: Committed) -> Plugin:
        from hawser.apiserver.admission.builtin import optional

        return optional.make(name, resources, committed)

    return Row(name, make, on=False)


TABLE = (
    _optional("AlwaysAdmit"),
    Row("NamespaceLifecycle"),
    _optional("NamespaceExists"),
    _optional("LimitPodHardAntiAffinityTopology"),
    Row("LimitRanger", lambda resources, committed: limits.LimitRanger(committed)),
    Row("NodeRestriction", lambda resources, committed: NodeRestriction(resources, resources.access.authorizer)),
    Row("ServiceAccount", lambda resources, committed: service_account.ServiceAccount(committed)),
    Row("TaintNodesByCondition", lambda resources, committed: pods.TaintNodesByCondition()),
    _optional("AlwaysPullImages"),
    Row("PodSecurity", lambda resources, committed: security.PodSecurity(committed)),
    Row("Priority", lambda resources, committed: pods.Priority(committed)),
    Row("DefaultTolerationSeconds", lambda resources, committed: pods.DefaultTolerationSeconds()),
    _optional("ExtendedResourceToleration"),
    Row("DefaultStorageClass", lambda resources, committed: storage.DefaultStorageClass(committed)),
    Row("StorageObjectInUseProtection", lambda resources, committed: storage.StorageObjectInUseProtection()),
    _optional("OwnerReferencesPermissionEnforcement"),
    Row("PersistentVolumeClaimResize", lambda resources, committed: storage.PersistentVolumeClaimResize(committed)),
    Row("RuntimeClass", lambda resources, committed: pods.RuntimeClass(committed)),
    Row("CertificateApproval", lambda resources, committed: signers.CertificateApproval(resources.access)),
    Row("CertificateSigning", lambda resources, committed: signers.CertificateSigning(resources.access)),
    Row("CertificateSubjectRestriction", lambda resources, committed: certificates.CertificateSubjectRestriction()),
    Row("DefaultIngressClass", lambda resources, committed: storage.DefaultIngressClass(committed)),
    _optional("DenyServiceExternalIPs"),
    Row("PodTopologyLabels", lambda resources, committed: pods.PodTopologyLabels(committed)),
    Row(
        "MutatingAdmissionPolicy",
        lambda resources, committed: mutating.MutatingAdmissionPolicy(resources, committed),
    ),
    Row("MutatingAdmissionWebhook"),
    Row(
        "ValidatingAdmissionPolicy",
        lambda resources, committed: validating.ValidatingAdmissionPolicy(resources, committed),
    ),
    Row("ValidatingAdmissionWebhook"),
    Row("ResourceQuota", lambda resources, committed: quota.ResourceQuota(committed, utc_now)),
    _optional("AlwaysDeny"),
)


class Choice(NamedTuple):
    """What the flags say: which plugins are on besides the usual ones, which are off, and how they are configured.

    toleration_seconds: how long pods tolerate nodes that are not ready, and that are unreachable.
    """

    enabled: frozenset[str] = frozenset()
    disabled: frozenset[str] = frozenset()
    settings: Settings = Settings()
    toleration_seconds: tuple[int, int] = TOLERATION_SECONDS

    @classmethod
    def read(cls, enable: str, disable: str) -> Choice:
        """From comma-separated names. ValueError for what is no plugin of this server or is named by both."""
        enabled, disabled = _names(enable, "enable"), _names(disable, "disable")
        for name in sorted(enabled & disabled):
            raise ValueError(f'"{name}" in enable-admission-plugins and disable-admission-plugins overlapped')
        fixed = {row.name for row in TABLE if row.make is None}
        for name in sorted(disabled & fixed):
            raise ValueError(f'disable-admission-plugins plugin "{name}" is always on in this server')
        return cls(enabled, disabled)


def _names(text: str, flag: str) -> frozenset[str]:
    listed = frozenset(name.strip() for name in text.split(",") if name.strip())
    unknown = listed - {row.name for row in TABLE}
    for name in sorted(unknown):
        raise ValueError(f'{flag}-admission-plugins plugin "{name}" is unknown')
    return listed


def chosen(rows: Iterable[Row], choice: Choice) -> list[Row]:
    """The rows that are on."""
    return [
        row
        for row in rows
        if row.make is not None and (row.on or row.name in choice.enabled) and row.name not in choice.disabled
    ]


def chain(resources: Resources, choice: Choice | None = None) -> Chain:
    """Every plugin that is on."""
    committed, choice = Committed(resources.store), choice or Choice()
    made = [row.make(resources, committed) for row in chosen(TABLE, choice) if row.make is not None]
    for plugin in made:
        if isinstance(plugin, security.PodSecurity):
            plugin.configure(choice.settings.pod_security, choice.settings.exemptions)
        elif isinstance(plugin, pods.DefaultTolerationSeconds):
            plugin.configure(*choice.toleration_seconds)
        elif isinstance(plugin, quota.ResourceQuota):
            plugin.configure(choice.settings.limited)
    access = resources.access
    unnamed = (CreationByChange(access), Escalation(access), ClaimStatus(access), requesters.Requesters())
    return Chain((*unnamed, *made))
