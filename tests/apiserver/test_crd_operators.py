"""Definitions as operators bring them, with kubectl."""

from __future__ import annotations

import json
from typing import Any

import pytest

CERTIFICATES = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "certificates.pki.example.com"},
    "spec": {
        "group": "pki.example.com",
        "scope": "Namespaced",
        "names": {
            "kind": "Certificate",
            "listKind": "CertificateList",
            "plural": "certificates",
            "singular": "certificate",
            "shortNames": ["cert", "certs"],
            "categories": ["pki"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "additionalPrinterColumns": [
                    {
                        "name": "Ready",
                        "type": "string",
                        "jsonPath": '.status.conditions[?(@.type == "Ready")].status',
                    },
                    {"name": "Secret", "type": "string", "jsonPath": ".spec.secretName"},
                    {"name": "Issuer", "type": "string", "jsonPath": ".spec.issuerRef.name", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "schema": {
                    "openAPIV3Schema": {
                        "description": "A Certificate asks for a signed certificate.",
                        "type": "object",
                        "properties": {
                            "apiVersion": {"type": "string"},
                            "kind": {"type": "string"},
                            "metadata": {"type": "object"},
                            "spec": {
                                "description": "What is wanted.",
                                "type": "object",
                                "required": ["issuerRef", "secretName"],
                                "properties": {
                                    "dnsNames": {
                                        "type": "array",
                                        "items": {"type": "string", "format": "hostname"},
                                        "x-kubernetes-list-type": "set",
                                    },
                                    "duration": {"type": "string", "format": "duration"},
                                    "issuerRef": {
                                        "type": "object",
                                        "required": ["name"],
                                        "properties": {
                                            "kind": {"type": "string", "enum": ["Issuer", "ClusterIssuer"]},
                                            "name": {"type": "string"},
                                        },
                                    },
                                    "secretName": {"description": "Where it is kept.", "type": "string"},
                                },
                            },
                            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                        },
                    }
                },
            }
        ],
    },
}


CERTIFICATE = """
apiVersion: pki.example.com/v1
kind: Certificate
metadata: {name: web}
spec:
  secretName: web-tls
  duration: 2160h
  dnsNames: [web.example.com]
  issuerRef: {name: ca, kind: Issuer}
"""


STATUS_PATCH = '{"status":{"conditions":[{"type":"Ready","status":"True"}]}}'


async def test_kubectl_and_a_certificate_operator(api: Any, kubectl: Any) -> None:
    space = api.namespace
    kubectl("apply", "-f", "-", stdin=json.dumps(CERTIFICATES))
    kubectl("wait", "--for=condition=Established", "crd/certificates.pki.example.com", "--timeout=120s")
    resources = kubectl("api-resources", "--api-group=pki.example.com", "--no-headers").split()
    assert resources == ["certificates", "cert,certs", "pki.example.com/v1", "true", "Certificate"]
    assert "created" in kubectl("apply", "-f", "-", stdin=CERTIFICATE, namespace=space)
    assert "unchanged" in kubectl("apply", "-f", "-", stdin=CERTIFICATE, namespace=space)
    changed = CERTIFICATE.replace("2160h", "24h")
    assert "configured" in kubectl("apply", "-f", "-", stdin=changed, namespace=space)
    kubectl("patch", "cert", "web", "--subresource=status", "--type=merge", "-p", STATUS_PATCH, namespace=space)
    for name in ("certificates", "certificate", "cert", "pki", "certificates.v1.pki.example.com"):
        header, row = kubectl("get", name, namespace=space).splitlines()
        assert header.split() == ["NAME", "READY", "SECRET", "AGE"]
        assert row.split()[1:3] == ["True", "web-tls"]
    assert "ISSUER" in kubectl("get", "cert", "-o", "wide", namespace=space)
    explained = kubectl("explain", "certificate.spec")
    assert "What is wanted." in explained
    assert "secretName\t<string> -required-" in explained
    assert "Certificate" in kubectl("describe", "cert", "web", namespace=space)
    kubectl("wait", "cert/web", "--for=condition=Ready", "--timeout=120s", namespace=space)
    kubectl("label", "cert", "web", "a=b", namespace=space)
    with pytest.raises(AssertionError, match=r'spec\.issuerRef\.kind: Unsupported value: "Other"'):
        kubectl("apply", "-f", "-", stdin=CERTIFICATE.replace("kind: Issuer", "kind: Other"), namespace=space)
    with pytest.raises(AssertionError, match=r'unknown field "spec\.wrong"'):
        kubectl("apply", "-f", "-", stdin=CERTIFICATE.replace("duration", "wrong"), namespace=space)
    assert "deleted" in kubectl("delete", "crd", "certificates.pki.example.com", "--timeout=120s")
    assert "certificates" not in kubectl("api-resources", "--api-group=pki.example.com")


MONITORS = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: monitors.metrics.example.com}
spec:
  group: metrics.example.com
  scope: Namespaced
  names: {plural: monitors, kind: Monitor, shortNames: [mon]}
  versions:
    - name: v1
      served: true
      storage: true
      schema:
        openAPIV3Schema:
          type: object
          required: [spec]
          properties:
            spec:
              type: object
              required: [endpoints, selector]
              properties:
                endpoints:
                  type: array
                  items:
                    type: object
                    properties:
                      interval: {type: string, pattern: '^(0|(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?)$'}
                      port: {type: string}
                      targetPort:
                        anyOf: [{type: integer}, {type: string}]
                        x-kubernetes-int-or-string: true
                selector:
                  type: object
                  properties:
                    matchLabels: {type: object, additionalProperties: {type: string}}
                  x-kubernetes-map-type: atomic
"""


MONITOR = """
apiVersion: metrics.example.com/v1
kind: Monitor
metadata: {name: web}
spec:
  endpoints: [{interval: 30s, targetPort: 80}, {interval: 1m, targetPort: http}]
  selector: {matchLabels: {app: web}}
"""


async def test_kubectl_and_a_monitoring_operator(api: Any, kubectl: Any) -> None:
    space = api.namespace
    # In one go, as charts are installed: the second document needs the first.
    kubectl("create", "-f", "-", stdin=MONITORS)
    kubectl("create", "-f", "-", stdin=MONITOR, namespace=space)
    assert "web" in kubectl("get", "mon", "-o", "name", namespace=space)
    with pytest.raises(AssertionError, match=r"spec\.endpoints\[0\]\.interval in body should match"):
        kubectl("create", "-f", "-", stdin=MONITOR.replace("30s", "soon").replace("web", "x"), namespace=space)
    kubectl("delete", "-f", "-", stdin=MONITORS)
