"""Certificates: one CA, identities in subjects, kept when good, made again when an address is new."""

import base64
import json
import ssl
import stat
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from hawser.cli.engine import pki
from hawser.cli.engine.settings import Settings, SettingsError
from hawser.node import machine


@pytest.fixture
def engine(tmp_path: Path) -> Settings:
    made = Settings(tmp_path, "abc", "127.0.0.1:6443", "127.0.0.1:10250", "node-a", "10.42.0.0/16", "10.96.0.0/20")
    pki.prepare(made)
    return made


def read(engine: Settings, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((engine.pki_dir / f"{name}.crt").read_bytes())


def attribute(cert: x509.Certificate, oid: x509.ObjectIdentifier) -> list[str]:
    return [str(a.value) for a in cert.subject.get_attributes_for_oid(oid)]


@pytest.mark.parametrize(
    ("name", "user", "groups"),
    [
        ("admin", "kubernetes-admin", ["system:masters"]),
        ("agent", "system:node:node-a", ["system:nodes", "hawser:network-agents"]),
        ("controllers", "system:kube-controller-manager", []),
        ("apiserver-kubelet-client", "kube-apiserver-kubelet-client", ["system:masters"]),
    ],
)
def test_subjects_are_identities(engine: Settings, name: str, user: str, groups: list[str]) -> None:
    cert = read(engine, name)
    assert attribute(cert, NameOID.COMMON_NAME) == [user]
    assert attribute(cert, NameOID.ORGANIZATION_NAME) == groups
    cert.verify_directly_issued_by(read(engine, "ca"))


def test_the_api_server_answers_to_its_names(engine: Settings) -> None:
    names = read(engine, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "node-a", "kubernetes.default.svc"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "10.96.0.1"} <= {str(a) for a in names.get_values_for_type(x509.IPAddress)}


def test_servers_answer_to_the_address_that_the_machine_has_as_a_node(
    engine: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever that is: the API server asks the node agent at it."""
    monkeypatch.setattr(machine, "default_address", lambda: "198.51.100.7")
    pki.prepare(engine)
    for name in ("apiserver", "kubelet", "controllers"):
        names = read(engine, name).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert ip_address("198.51.100.7") in names.get_values_for_type(x509.IPAddress)


def test_keys_and_tokens_are_private(engine: Settings) -> None:
    private = [*engine.pki_dir.glob("*.key"), engine.pki_dir / "tokens.csv", engine.kubeconfig("admin")]
    assert {stat.S_IMODE(p.stat().st_mode) for p in private} == {0o600}


def test_a_second_preparation_changes_nothing(engine: Settings) -> None:
    before = {p: p.read_bytes() for p in engine.pki_dir.iterdir()}
    pki.prepare(engine)
    assert {p: p.read_bytes() for p in engine.pki_dir.iterdir()} == before


def test_a_new_address_makes_a_new_serving_certificate_under_the_same_ca(engine: Settings) -> None:
    ca, admin, serving = (read(engine, n).serial_number for n in ("ca", "admin", "apiserver"))
    pki.prepare(replace(engine, listen="192.0.2.7:6443"))
    assert read(engine, "ca").serial_number == ca
    assert read(engine, "admin").serial_number == admin
    assert read(engine, "apiserver").serial_number != serving


def test_another_identity_makes_a_new_certificate_under_the_same_ca(engine: Settings) -> None:
    before = {name: read(engine, name) for name in ("agent", "admin", "ca")}
    pki.prepare(replace(engine, node_name="node-b"))
    assert attribute(read(engine, "agent"), NameOID.COMMON_NAME) == ["system:node:node-b"]
    assert (read(engine, "admin"), read(engine, "ca")) == (before["admin"], before["ca"])


@pytest.mark.parametrize("name", ["admin", "apiserver"])
@pytest.mark.parametrize("damage", ["cut certificate", "cut key", "key of another", "certificate of another CA"])
def test_damaged_pairs_are_made_again(engine: Settings, tmp_path: Path, name: str, damage: str) -> None:
    cert, key = engine.pki_dir / f"{name}.crt", engine.pki_dir / f"{name}.key"
    if damage == "certificate of another CA":
        other = replace(engine, data_dir=tmp_path / "other")
        other.data_dir.mkdir()
        pki.prepare(other)
        for path in (cert, key):
            path.write_bytes((other.pki_dir / path.name).read_bytes())
    elif damage == "key of another":
        key.write_bytes((engine.pki_dir / "agent.key").read_bytes())
    else:
        path = cert if "certificate" in damage else key
        path.write_bytes(path.read_bytes()[:100])
    pki.prepare(engine)
    ssl.create_default_context().load_cert_chain(cert, key)
    read(engine, name).verify_directly_issued_by(read(engine, "ca"))


def test_a_damaged_authority_is_said(engine: Settings) -> None:
    (engine.pki_dir / "ca.crt").write_text("")
    with pytest.raises(SettingsError, match=r"certificate authority .* is damaged"):
        pki.prepare(engine)


def test_a_kubeconfig_stands_alone(engine: Settings, tmp_path: Path) -> None:
    doc = json.loads(engine.kubeconfig("admin").read_text())
    assert doc["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"
    user = doc["users"][0]["user"]
    for field in ("client-certificate-data", "client-key-data"):
        (tmp_path / field).write_bytes(base64.b64decode(user[field]))
    authority = base64.b64decode(doc["clusters"][0]["cluster"]["certificate-authority-data"])
    context = ssl.create_default_context(cadata=authority.decode())
    context.load_cert_chain(tmp_path / "client-certificate-data", tmp_path / "client-key-data")


def test_the_admin_token_is_long_and_stable(engine: Settings) -> None:
    token = pki.admin_token(engine)
    pki.prepare(engine)
    assert len(token) >= 32
    assert pki.admin_token(engine) == token
