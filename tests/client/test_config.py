"""kubeconfig files and service accounts."""

from __future__ import annotations

import base64
import datetime
import ssl

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hawser.client import config
from hawser.client.config import ConfigError


def document(user, cluster=None, **extra):
    return {
        "current-context": "one",
        "contexts": [
            {"name": "one", "context": {"cluster": "c", "user": "u", "namespace": "ns"}},
            {"name": "two", "context": {"cluster": "c"}},
        ],
        "clusters": [{"name": "c", "cluster": {"server": "https://h:6443/", **(cluster or {})}}],
        "users": [{"name": "u", "user": user}],
        **extra,
    }


@pytest.fixture
def write(tmp_path):
    def write(content, name="config"):
        path = tmp_path / name
        path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return path

    return write


@pytest.fixture(scope="module")
def pki():
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now)
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return cert.public_bytes(serialization.Encoding.PEM), private


def test_the_current_context_is_taken(write):
    cfg = config.load(write(document({"token": "t"})))
    assert (cfg.server, cfg.token, cfg.namespace) == ("https://h:6443", "t", "ns")


def test_a_context_can_be_named_and_need_no_user(write):
    cfg = config.load(write(document({"token": "t"})), "two")
    assert (cfg.token, cfg.namespace) == ("", "default")


def test_certificates_come_inline_or_from_files_beside_the_kubeconfig(write, tmp_path, pki):
    cert, key = pki
    (tmp_path / "c.crt").write_bytes(cert)
    inline = {"client-certificate": "c.crt", "client-key-data": base64.b64encode(key).decode()}
    cfg = config.load(write(document(inline, {"certificate-authority-data": base64.b64encode(cert).decode()})))
    assert (cfg.ca, cfg.cert, cfg.key) == (cert, cert, key)
    context = cfg.ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert len(context.get_ca_certs()) == 1


def test_verification_can_be_switched_off(write):
    context = config.load(write(document({}, {"insecure-skip-tls-verify": True}))).ssl_context()
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


def test_plain_http_needs_no_tls():
    assert config.Config("http://h").ssl_context() is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- a list", "is not a mapping"),
        ("{", "cannot be read"),
        ({}, "no current-context"),
        (document({}, **{"current-context": "x"}), 'no context "x"'),
        (document({}, clusters=[]), 'no cluster "c"'),
        (document({}, users=[]), 'no user "u"'),
        (document({}, {"server": ""}), "has no server"),
        (document({"auth-provider": {"name": "x"}}), '"auth-provider", which is not supported'),
        (document({"exec": {"apiVersion": "client.authentication.k8s.io/v1"}}), "command must be specified"),
        (document({"exec": {"command": "x", "apiVersion": "v1"}}), 'exec: apiVersion "v1" is not supported'),
        (document({}, {"proxy-url": "http://p"}), '"proxy-url", which is not supported'),
        (document({"client-key": "missing.key"}), "client-key cannot be read"),
        (document({"client-key-data": "*"}), "client-key-data is not base64"),
    ],
)
def test_what_cannot_be_used_is_said(write, content, message):
    with pytest.raises(ConfigError, match=message):
        config.load(write(content))


@pytest.mark.parametrize(("ca", "cert"), [(b"nonsense", b""), (b"", b"nonsense")])
def test_unusable_certificates_are_said(ca, cert):
    with pytest.raises(ConfigError, match="cannot be read"):
        config.Config("https://h", ca=ca, cert=cert, key=b"x").ssl_context()


def test_several_files_are_merged_and_the_first_one_wins(write, monkeypatch):
    first = write(document({"token": "first"}, users=[]), "first")
    second = write(document({"token": "second"}, **{"current-context": "two"}), "second")
    monkeypatch.setenv("KUBECONFIG", f"{first}:{second}:/not/there")
    assert config.load().token == "second"
    assert config.load().namespace == "ns"
    monkeypatch.delenv("KUBECONFIG")
    assert config.load(f"/not/there:{first}:{second}").token == "second"


def test_a_pod_uses_its_service_account(tmp_path):
    (tmp_path / "ca.crt").write_text("CA")
    (tmp_path / "namespace").write_text("ns")
    environ = {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "6443"}
    cfg = config.in_cluster(tmp_path, environ)
    assert (cfg.server, cfg.namespace, cfg.token_file) == ("https://[fd00::1]:6443", "ns", tmp_path / "token")
    with pytest.raises(ConfigError, match="not in a cluster"):
        config.in_cluster(tmp_path, {})
