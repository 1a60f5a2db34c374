"""``/configz``: the agent's settings in the form of a KubeletConfiguration.

Source: API reference, KubeletConfiguration v1beta1. Only what the agent heeds is shown.
"""

from __future__ import annotations

from hawser.api import durations
from hawser.api.quantity import Format, format_quantity
from hawser.api.types import Obj
from hawser.node.options import Options
from hawser.node.registration import LEASE_SECONDS, REPORT_SECONDS


def document(options: Options) -> Obj:
    """The configuration of an agent that was started with these options."""
    return {
        "enableServer": True,
        "enableSystemLogHandler": True,
        "address": options.host,
        "port": options.port,
        "tlsCertFile": str(options.tls_cert or ""),
        "tlsPrivateKeyFile": str(options.tls_key or ""),
        "authentication": {
            "x509": {"clientCAFile": str(options.client_ca or "")},
            "webhook": {"enabled": True, "cacheTTL": "2m0s"},
            "anonymous": {"enabled": False},
        },
        "authorization": {
            "mode": "Webhook",
            "webhook": {"cacheAuthorizedTTL": "5m0s", "cacheUnauthorizedTTL": "30s"},
        },
        "clusterDomain": options.cluster_domain,
        "clusterDNS": list(options.cluster_dns),
        "nodeStatusUpdateFrequency": "10s",
        "nodeStatusReportFrequency": durations.text(REPORT_SECONDS),
        "nodeLeaseDurationSeconds": LEASE_SECONDS,
        "cgroupRoot": f"/{options.cgroup_root.strip('/')}",
        "cgroupsPerQOS": True,
        "cgroupDriver": "cgroupfs",
        "containerRuntimeEndpoint": options.runtime_endpoint,
        "maxPods": options.max_pods,
        "podCIDR": str(options.pod_cidr or ""),
        "resolvConf": "/etc/resolv.conf",
        "containerLogMaxSize": format_quantity(options.limits.logs.most, Format.BINARY),
        "containerLogMaxFiles": options.limits.logs.files,
        "serializeImagePulls": options.limits.max_parallel_image_pulls == 1,
        "imageMinimumGCAge": durations.text(options.limits.image_min_age),
        "imageGCHighThresholdPercent": options.limits.image_gc_high,
        "imageGCLowThresholdPercent": options.limits.image_gc_low,
        "podPidsLimit": options.limits.pod_pids,
        "evictionHard": {t.signal.value: t.value.text for t in options.limits.thresholds if t.hard},
        "evictionSoft": {t.signal.value: t.value.text for t in options.limits.thresholds if not t.hard},
        "evictionPressureTransitionPeriod": durations.text(options.limits.transition),
        "evictionMaxPodGracePeriod": options.limits.max_grace,
        "enableControllerAttachDetach": True,
        "failSwapOn": False,
    }
