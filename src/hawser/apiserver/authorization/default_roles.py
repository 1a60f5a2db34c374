"""The default roles that are not controllers': facts, see ``defaults`` for the notation."""

from __future__ import annotations

EVENTS = "create patch update / core events.k8s.io / events"
_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_ALL = "create delete deletecollection get list patch update watch"
_CSR = "certificates.k8s.io"

AGGREGATED = ("admin", "edit", "view")

ROLES: dict[str, tuple[str, ...]] = {
    "cluster-admin": ("* / * / *", "* / *"),
    "system:aggregate-to-admin": (
        "create / authorization.k8s.io / localsubjectaccessreviews",
        f"{_ALL} / rbac.authorization.k8s.io / rolebindings roles",
    ),
    "system:aggregate-to-edit": (
        f"{_READ} / core / pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy",
        "impersonate / core / serviceaccounts",
        f"{_WRITE} / core / pods pods/attach pods/exec pods/portforward pods/proxy",
        "create / core / pods/eviction",
        (
            f"{_WRITE} / core / configmaps events persistentvolumeclaims replicationcontrollers "
            "replicationcontrollers/scale secrets serviceaccounts services services/proxy"
        ),
        "create / core / serviceaccounts/token",
        (
            f"{_WRITE} / apps / daemonsets deployments deployments/rollback deployments/scale replicasets "
            "replicasets/scale statefulsets statefulsets/scale"
        ),
        f"{_WRITE} / autoscaling / horizontalpodautoscalers",
        f"{_WRITE} / batch / cronjobs jobs",
        (
            f"{_WRITE} / extensions / daemonsets deployments deployments/rollback deployments/scale ingresses "
            "networkpolicies replicasets replicasets/scale replicationcontrollers/scale"
        ),
        f"{_WRITE} / policy / poddisruptionbudgets",
        f"{_WRITE} / networking.k8s.io / ingresses networkpolicies",
        f"{_ALL} / coordination.k8s.io / leases",
        f"{_WRITE} / resource.k8s.io / resourceclaims resourceclaimtemplates",
    ),
    "system:aggregate-to-view": (
        (
            f"{_READ} / core / configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
            "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status"
        ),
        (
            f"{_READ} / core / bindings events limitranges namespaces/status pods/log pods/status "
            "replicationcontrollers/status resourcequotas resourcequotas/status"
        ),
        f"{_READ} / core / namespaces",
        f"{_READ} / discovery.k8s.io / endpointslices",
        (
            f"{_READ} / apps / controllerrevisions daemonsets daemonsets/status deployments deployments/scale "
            "deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale "
            "statefulsets/status"
        ),
        f"{_READ} / autoscaling / horizontalpodautoscalers horizontalpodautoscalers/status",
        f"{_READ} / batch / cronjobs cronjobs/status jobs jobs/status",
        (
            f"{_READ} / extensions / daemonsets daemonsets/status deployments deployments/scale deployments/status "
            "ingresses ingresses/status networkpolicies replicasets replicasets/scale replicasets/status "
            "replicationcontrollers/scale"
        ),
        f"{_READ} / policy / poddisruptionbudgets poddisruptionbudgets/status",
        f"{_READ} / networking.k8s.io / ingresses ingresses/status networkpolicies",
        f"{_READ} / resource.k8s.io / resourceclaims resourceclaims/status resourceclaimtemplates",
    ),
    "system:auth-delegator": (
        "create / authentication.k8s.io / tokenreviews",
        "create / authorization.k8s.io / subjectaccessreviews",
    ),
    "system:basic-user": (
        "create / authorization.k8s.io / selfsubjectaccessreviews selfsubjectrulesreviews",
        "create / authentication.k8s.io / selfsubjectreviews",
    ),
    "system:certificates.k8s.io:certificatesigningrequests:nodeclient": (
        f"create / {_CSR} / certificatesigningrequests/nodeclient",
    ),
    "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient": (
        f"create / {_CSR} / certificatesigningrequests/selfnodeclient",
    ),
    "system:certificates.k8s.io:kube-apiserver-client-approver": (
        f"approve / {_CSR} / signers / kubernetes.io/kube-apiserver-client",
    ),
    "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver": (
        f"approve / {_CSR} / signers / kubernetes.io/kube-apiserver-client-kubelet",
    ),
    "system:certificates.k8s.io:kubelet-serving-approver": (
        f"approve / {_CSR} / signers / kubernetes.io/kubelet-serving",
    ),
    "system:certificates.k8s.io:legacy-unknown-approver": (
        f"approve / {_CSR} / signers / kubernetes.io/legacy-unknown",
    ),
    "system:discovery": (
        "get / /api /api/* /apis /apis/* /healthz /livez /openapi /openapi/* /readyz /version /version/",
    ),
    "system:heapster": (
        f"{_READ} / core / events namespaces nodes pods",
        f"{_READ} / extensions / deployments",
    ),
    "system:kube-aggregator": (f"{_READ} / core / endpoints services",),
    "system:kube-controller-manager": (
        EVENTS,
        "create / coordination.k8s.io / leases",
        "get update / coordination.k8s.io / leases / kube-controller-manager",
        "create / core / secrets serviceaccounts",
        "delete / core / secrets",
        "get / core / configmaps namespaces secrets serviceaccounts",
        "update / core / secrets serviceaccounts",
        "create / authentication.k8s.io / tokenreviews",
        "create / authorization.k8s.io / subjectaccessreviews",
        "list watch / * / *",
        "create / core / serviceaccounts/token",
    ),
    "system:kube-dns": ("list watch / core / endpoints services",),
    "system:kube-scheduler": (
        EVENTS,
        "create / coordination.k8s.io / leases",
        "get list update watch / coordination.k8s.io / leases / kube-scheduler",
        f"{_READ} / core / nodes",
        "delete get list watch / core / pods",
        "create / core / bindings pods/binding",
        "patch update / core / pods/status",
        f"{_READ} / core / replicationcontrollers services",
        f"{_READ} / apps extensions / replicasets",
        f"{_READ} / apps / statefulsets",
        f"{_READ} / policy / poddisruptionbudgets",
        f"{_READ} / core / persistentvolumeclaims persistentvolumes",
        "create / authentication.k8s.io / tokenreviews",
        "create / authorization.k8s.io / subjectaccessreviews",
        f"{_READ} / storage.k8s.io / csinodes",
        f"{_READ} / storage.k8s.io / volumeattachments",
        f"{_READ} / core / namespaces",
        f"{_READ} / storage.k8s.io / csidrivers",
        f"{_READ} / storage.k8s.io / csistoragecapacities",
        f"{_READ} / resource.k8s.io / deviceclasses",
        "get list patch update watch / resource.k8s.io / resourceclaims",
        "get list patch update watch / resource.k8s.io / resourceclaims/status",
        "get list patch update watch / core / pods/finalizers",
        f"{_READ} / resource.k8s.io / resourceslices",
        "create delete / resource.k8s.io / resourceclaims",
        "patch update / resource.k8s.io / resourceclaims/binding",
    ),
    "system:kubelet-api-admin": (
        f"{_READ} / core / nodes",
        "proxy / core / nodes",
        "* / core / nodes/log nodes/metrics nodes/proxy nodes/stats",
        "* / core / nodes/configz nodes/healthz nodes/pods",
    ),
    "system:monitoring": (
        "get / /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",
        "get / /flagz",
        "get / /statusz",
    ),
    "system:node": (
        "create / authentication.k8s.io / tokenreviews",
        "create / authorization.k8s.io / localsubjectaccessreviews subjectaccessreviews",
        f"{_READ} / core / services",
        "create get list watch / core / nodes",
        "patch update / core / nodes/status",
        "patch update / core / nodes",
        "create patch update / core / events",
        f"{_READ} / core / pods",
        "create delete / core / pods",
        "patch update / core / pods/status",
        "create / core / pods/eviction",
        f"{_READ} / core / configmaps secrets",
        "get / core / persistentvolumeclaims persistentvolumes",
        "get / core / endpoints",
        f"create get list watch / {_CSR} / certificatesigningrequests",
        "create delete get patch update / coordination.k8s.io / leases",
        "get / storage.k8s.io / volumeattachments",
        "create / core / serviceaccounts/token",
        "get patch update / core / persistentvolumeclaims/status",
        f"{_READ} / storage.k8s.io / csidrivers",
        "create delete get patch update / storage.k8s.io / csinodes",
        f"{_READ} / node.k8s.io / runtimeclasses",
        "get / resource.k8s.io / resourceclaims",
        "deletecollection / resource.k8s.io / resourceslices",
        "get / core / serviceaccounts",
    ),
    "system:node-bootstrapper": (f"create get list watch / {_CSR} / certificatesigningrequests",),
    "system:node-problem-detector": (
        "get / core / nodes",
        "patch / core / nodes/status",
        EVENTS,
    ),
    "system:node-proxier": (
        "list watch / core / endpoints services",
        f"{_READ} / core / nodes",
        EVENTS,
        "list watch / networking.k8s.io / servicecidrs",
        "list watch / discovery.k8s.io / endpointslices",
    ),
    "system:persistent-volume-provisioner": (
        "create delete get list watch / core / persistentvolumes",
        "get list update watch / core / persistentvolumeclaims",
        f"{_READ} / storage.k8s.io / storageclasses",
        "watch / core / events",
        EVENTS,
    ),
    "system:public-info-viewer": ("get / /healthz /livez /readyz /version /version/",),
    "system:service-account-issuer-discovery": (
        "get / /.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
    ),
    "system:volume-scheduler": (
        "get list patch update watch / core / persistentvolumes",
        f"{_READ} / storage.k8s.io / storageclasses",
        "get list patch update watch / core / persistentvolumeclaims",
    ),
}

_LEADER = (
    "create get list update watch / coordination.k8s.io / leases",
    "create get list update watch / coordination.k8s.io / leasecandidates",
)
_SIGNER = "system:controller:bootstrap-signer"

NAMESPACED: dict[tuple[str, str], tuple[tuple[str, ...], str, tuple[str, ...]]] = {
    ("kube-public", _SIGNER): (
        (f"{_READ} / core / configmaps", "update / core / configmaps / cluster-info", EVENTS),
        _SIGNER,
        ("bootstrap-signer",),
    ),
    ("kube-system", "extension-apiserver-authentication-reader"): (
        (f"{_READ} / core / configmaps / extension-apiserver-authentication",),
        "system::extension-apiserver-authentication-reader",
        ("user system:kube-controller-manager", "user system:kube-scheduler"),
    ),
    ("kube-system", "system::leader-locking-kube-controller-manager"): (
        _LEADER,
        "system::leader-locking-kube-controller-manager",
        ("user system:kube-controller-manager", "kube-controller-manager", "leader-election-controller"),
    ),
    ("kube-system", "system::leader-locking-kube-scheduler"): (
        _LEADER,
        "system::leader-locking-kube-scheduler",
        ("user system:kube-scheduler", "kube-scheduler"),
    ),
    ("kube-system", _SIGNER): ((f"{_READ} / core / secrets",), _SIGNER, ("bootstrap-signer",)),
    ("kube-system", "system:controller:cloud-provider"): (
        ("create get list watch / core / configmaps",),
        "system:controller:cloud-provider",
        ("cloud-provider",),
    ),
    ("kube-system", "system:controller:token-cleaner"): (
        ("delete get list watch / core / secrets", EVENTS),
        "system:controller:token-cleaner",
        ("token-cleaner",),
    ),
}
"""(namespace, role) -> rules, the binding's name, and its subjects: users, or service accounts of kube-system."""
