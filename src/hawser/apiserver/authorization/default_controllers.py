"""The roles of Kubernetes' controllers, system:controller:NAME, each bound to the service account kube-system/NAME.

Facts; see ``defaults`` for the notation.
"""

from __future__ import annotations

from hawser.apiserver.authorization.default_roles import EVENTS

_READ = "get list watch"
_REVISIONS = "create delete get list patch update watch / apps / controllerrevisions"
_PODS = "create delete list patch watch / core / pods"
_CSR = "certificates.k8s.io"

CONTROLLERS: dict[str, tuple[str, ...]] = {
    "attachdetach-controller": (
        "list watch / core / persistentvolumeclaims persistentvolumes",
        f"{_READ} / core / nodes",
        "patch update / core / nodes/status",
        "list watch / core / pods",
        EVENTS,
        "create delete get list watch / storage.k8s.io / volumeattachments",
        f"{_READ} / storage.k8s.io / csidrivers",
        f"{_READ} / storage.k8s.io / csinodes",
    ),
    "certificate-controller": (
        f"delete get list watch / {_CSR} / certificatesigningrequests",
        f"update / {_CSR} / certificatesigningrequests/approval certificatesigningrequests/status",
        f"approve / {_CSR} / signers / kubernetes.io/kube-apiserver-client-kubelet",
        (
            f"sign / {_CSR} / signers / kubernetes.io/kube-apiserver-client "
            "kubernetes.io/kube-apiserver-client-kubelet kubernetes.io/kubelet-serving kubernetes.io/legacy-unknown"
        ),
        "create / authorization.k8s.io / subjectaccessreviews",
        EVENTS,
    ),
    "clusterrole-aggregation-controller": (
        "escalate get list patch update watch / rbac.authorization.k8s.io / clusterroles",
    ),
    "cronjob-controller": (
        "get list update watch / batch / cronjobs",
        "create delete get list patch update watch / batch / jobs",
        "update / batch / cronjobs/status",
        "update / batch / cronjobs/finalizers",
        "delete list watch / core / pods",
        EVENTS,
    ),
    "daemon-set-controller": (
        f"{_READ} / apps extensions / daemonsets",
        "update / apps extensions / daemonsets/status",
        "update / apps extensions / daemonsets/finalizers",
        "list watch / core / nodes",
        _PODS,
        "create / core / pods/binding",
        _REVISIONS,
        EVENTS,
    ),
    "deployment-controller": (
        "get list update watch / apps extensions / deployments",
        "update / apps extensions / deployments/status",
        "update / apps extensions / deployments/finalizers",
        "create delete get list patch update watch / apps extensions / replicasets",
        "get list update watch / core / pods",
        EVENTS,
    ),
    "device-taint-eviction-controller": (
        "delete get list watch / core / pods",
        "patch update / core / pods/status",
        f"{_READ} / resource.k8s.io / resourceclaims",
        f"{_READ} / resource.k8s.io / resourceslices",
        f"{_READ} / resource.k8s.io / deviceclasses",
        EVENTS,
    ),
    "disruption-controller": (
        f"{_READ} / apps extensions / deployments",
        f"{_READ} / apps extensions / replicasets",
        f"{_READ} / core / replicationcontrollers",
        f"{_READ} / policy / poddisruptionbudgets",
        f"{_READ} / apps / statefulsets",
        "update / policy / poddisruptionbudgets/status",
        "patch update / core / pods/status",
        "get / * / */scale",
        EVENTS,
    ),
    "endpoint-controller": (
        f"{_READ} / core / pods services",
        "create delete get list update watch / core / endpoints",
        "create / core / endpoints/restricted",
        EVENTS,
    ),
    "endpointslice-controller": (
        f"{_READ} / core / nodes pods services",
        "update / core / services/finalizers",
        "create delete get list update watch / discovery.k8s.io / endpointslices",
        EVENTS,
    ),
    "endpointslicemirroring-controller": (
        f"{_READ} / core / endpoints services",
        "update / core / services/finalizers",
        "update / core / endpoints/finalizers",
        "create delete get list update watch / discovery.k8s.io / endpointslices",
        EVENTS,
    ),
    "ephemeral-volume-controller": (
        f"{_READ} / core / pods",
        "update / core / pods/finalizers",
        "create get list watch / core / persistentvolumeclaims",
        EVENTS,
    ),
    "expand-controller": (
        "get list patch update watch / core / persistentvolumes",
        "patch update / core / persistentvolumeclaims/status",
        f"{_READ} / core / persistentvolumeclaims",
        EVENTS,
    ),
    "generic-garbage-collector": ("delete get list patch update watch / * / *", EVENTS),
    "horizontal-pod-autoscaler": (
        f"{_READ} / autoscaling / horizontalpodautoscalers",
        "update / autoscaling / horizontalpodautoscalers/status",
        "get update / * / */scale",
        "list watch / core / pods",
        "list watch / metrics.k8s.io / pods",
        f"{_READ} / custom.metrics.k8s.io / *",
        f"{_READ} / external.metrics.k8s.io / *",
        EVENTS,
    ),
    "job-controller": (
        "get list patch update watch / batch / jobs",
        "update / batch / jobs/status",
        "update / batch / jobs/finalizers",
        _PODS,
        EVENTS,
    ),
    "legacy-service-account-token-cleaner": (
        "get / core / configmaps / kube-apiserver-legacy-service-account-token-tracking",
        "delete patch / core / secrets",
    ),
    "namespace-controller": (
        "delete get list watch / core / namespaces",
        "update / core / namespaces/finalize namespaces/status",
        "delete deletecollection get list watch / * / *",
    ),
    "node-controller": (
        "delete get list patch update watch / core / nodes",
        "patch update / core / nodes/status",
        "patch update / core / pods/status",
        "delete get list watch / core / pods",
        EVENTS,
    ),
    "persistent-volume-binder": (
        "create delete get list update watch / core / persistentvolumes",
        "update / core / persistentvolumes/status",
        "get list update watch / core / persistentvolumeclaims",
        "update / core / persistentvolumeclaims/status",
        "create delete get list watch / core / pods",
        f"{_READ} / storage.k8s.io / storageclasses",
        "list watch / core / nodes",
        EVENTS,
        "watch / core / events",
    ),
    "pod-garbage-collector": (
        "delete list watch / core / pods",
        f"{_READ} / core / nodes",
        "patch / core / pods/status",
    ),
    "pv-protection-controller": ("get list update watch / core / persistentvolumes", EVENTS),
    "pvc-protection-controller": (
        "get list update watch / core / persistentvolumeclaims",
        "update / core / persistentvolumeclaims/status",
        f"{_READ} / core / pods",
        EVENTS,
    ),
    "replicaset-controller": (
        "get list update watch / apps extensions / replicasets",
        "update / apps extensions / replicasets/status",
        "update / apps extensions / replicasets/finalizers",
        _PODS,
        EVENTS,
    ),
    "replication-controller": (
        "get list update watch / core / replicationcontrollers",
        "update / core / replicationcontrollers/status",
        "update / core / replicationcontrollers/finalizers",
        _PODS,
        EVENTS,
    ),
    "resource-claim-controller": (
        f"{_READ} / core / pods",
        "update / core / pods/finalizers",
        "create delete get list watch / resource.k8s.io / resourceclaims",
        "patch update / resource.k8s.io / resourceclaims resourceclaims/status",
        "patch update / core / pods/status",
        EVENTS,
        "patch update / resource.k8s.io / resourceclaims/binding",
    ),
    "resourcequota-controller": ("list watch / * / *", "update / core / resourcequotas/status", EVENTS),
    "root-ca-cert-publisher": ("create update / core / configmaps", EVENTS),
    "route-controller": ("list watch / core / nodes", "patch / core / nodes/status", EVENTS),
    "selinux-warning-controller": (
        EVENTS,
        f"{_READ} / core / persistentvolumes",
        f"{_READ} / core / persistentvolumeclaims",
        f"{_READ} / core / pods",
        f"{_READ} / storage.k8s.io / csidrivers",
    ),
    "service-account-controller": ("create / core / serviceaccounts", EVENTS),
    "service-cidrs-controller": (
        "get list patch update watch / networking.k8s.io / servicecidrs",
        "patch update / networking.k8s.io / servicecidrs/finalizers",
        "patch update / networking.k8s.io / servicecidrs/status",
        f"{_READ} / networking.k8s.io / ipaddresses",
        EVENTS,
    ),
    "service-controller": (
        f"{_READ} / core / services",
        "patch update / core / services/status",
        "list watch / core / nodes",
        EVENTS,
    ),
    "statefulset-controller": (
        "list watch / core / pods",
        f"{_READ} / apps / statefulsets",
        "update / apps / statefulsets/status",
        "update / apps / statefulsets/finalizers",
        "create delete get patch update / core / pods",
        _REVISIONS,
        "create get list watch / core / persistentvolumeclaims",
        "delete update / core / persistentvolumeclaims",
        "update / core / pods/finalizers",
        EVENTS,
    ),
    "ttl-after-finished-controller": ("delete get list watch / batch / jobs", EVENTS),
    "ttl-controller": ("list patch update watch / core / nodes", EVENTS),
    "validatingadmissionpolicy-status-controller": (
        f"{_READ} / admissionregistration.k8s.io / validatingadmissionpolicies",
        "get patch update / admissionregistration.k8s.io / validatingadmissionpolicies/status",
        EVENTS,
    ),
    "volumeattributesclass-protection-controller": (
        f"{_READ} / core / persistentvolumeclaims",
        f"{_READ} / core / persistentvolumes",
        "get list update watch / storage.k8s.io / volumeattributesclasses",
        EVENTS,
    ),
}
