"""Certificate requests through random histories: nodes' are approved, what is approved is signed, what is old goes."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api import certificates
from hawser.api.certificates import APPROVED, DENIED, FAILED
from hawser.api.kinds import CERTIFICATE_SIGNING_REQUEST as CSR
from hawser.api.types import Obj
from hawser.apiserver.paths import Target
from hawser.client.clock import timestamp
from hawser.client.controller import Controller
from hawser.controllers.csr_approver import ApproverController
from hawser.controllers.csr_cleaner import CleanerController
from hawser.controllers.csr_signer import Authority, SignerController

from .living import FakeClock, Living, interrupted
from .world import Fault, World

KEY = ec.generate_private_key(ec.SECP256R1())
NODE = "system:node:n"
NODE_USAGES = ["digital signature", "client auth"]
HOUR = timedelta(hours=1)


def request(name: str, *organization: str) -> str:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, one) for one in organization]
    subject = x509.Name([*attributes, x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(KEY, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


OF_NODE, OF_JANE = request(NODE, "system:nodes"), request("jane")
OF_KUBELET: Obj = {"signerName": certificates.KUBELET_CLIENT, "request": OF_NODE, "usages": NODE_USAGES}
OF_CLIENT: Obj = {"signerName": certificates.CLIENT, "request": OF_JANE, "usages": ["client auth"], "username": "jane"}
SPECS: dict[str, Obj] = {
    "own": {**OF_KUBELET, "username": NODE},
    "for node": {**OF_KUBELET, "username": "bootstrapper"},
    "stranger": {**OF_KUBELET, "username": "stranger"},
    "jane": OF_CLIENT,
    # Nobody may sign it: its signer is for clients.
    "bad": {**OF_CLIENT, "usages": ["server auth"]},
    "foreign": {**OF_CLIENT, "signerName": "example.com/other"},
}


class Registry(World):
    """Says who may have which certificates, and dates conditions as the API server does."""

    def allows(self, asked: Obj) -> bool:
        return (asked["user"], asked["resourceAttributes"]["subresource"]) in (
            (NODE, "selfnodeclient"),
            ("bootstrapper", "nodeclient"),
        )

    def _changed(self, target: Target, method: str, body: Obj, content_type: str, old: Obj) -> Obj:
        new = super()._changed(target, method, body, content_type, old)
        for one in (new.get("status") or {}).get("conditions") or ():
            one.setdefault("lastUpdateTime", timestamp(self.clock.now()))
        return new


NAMES = st.sampled_from(sorted(SPECS))
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["ask", "approve", "deny", "delete"]), NAMES),
    st.tuples(st.sampled_from(["wait", "restart", "stale", "deliver"]), st.sampled_from([1, 600, 3500, 7200, 90000])),
)


def decided(csr: Obj, *types: str) -> bool:
    return any(certificates.condition(csr, one) for one in types)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world
    found = world.find(CSR, str(value))
    match what:
        case "ask" if found is None:
            world.create(CSR, {"metadata": {"name": value}, "spec": dict(SPECS[value])})
        case "approve" | "deny" if found is not None and not decided(found, APPROVED, DENIED):
            kind = APPROVED if what == "approve" else DENIED
            now = timestamp(world.clock.now())
            made = {"type": kind, "status": "True", "reason": "ByHand", "lastUpdateTime": now}
            world.change(CSR, value, lambda new: new["status"].setdefault("conditions", []).append(made))
        case "delete" if found is not None:
            world.delete(CSR, value)
        case "wait" | "restart" | "stale" | "deliver":
            await living.happens(what, value)
    await living.turn()


def keeps_its_word(world: World) -> None:
    """At every write: only what is approved is signed, nothing is decided on twice, nothing goes too soon."""
    signed: dict[str, str] = {}

    def check(verb: str, obj: Obj) -> None:
        status = obj["status"]
        types = [c["type"] for c in status.get("conditions") or ()]
        assert len(types) == len(set(types)) and not {APPROVED, DENIED} <= set(types), types
        if status.get("certificate"):
            assert APPROVED in types and FAILED not in types
            before = signed.setdefault(obj["metadata"]["uid"], status["certificate"])
            assert before == status["certificate"], "signed twice"
        if verb == "DELETE":
            dated = [c["lastUpdateTime"] for c in status.get("conditions") or ()]
            since = max([obj["metadata"]["creationTimestamp"], *dated])
            waits = 1 if status.get("certificate") or {DENIED, FAILED} & set(types) else 24
            assert world.clock.now() - datetime.fromisoformat(since) > waits * HOUR, "it goes too soon"

    world.on_write = check


def check_final(world: World) -> None:
    now = world.clock.now()
    for csr in world.objects(CSR):
        name, status = csr["metadata"]["name"], csr["status"]
        reasons = {c["type"]: c["reason"] for c in status.get("conditions") or ()}
        assert reasons.get(FAILED, "SignerValidationFailure") == "SignerValidationFailure"
        assert reasons.get(APPROVED, "AutoApproved") in ("AutoApproved", "ByHand")
        age = now - datetime.fromisoformat(csr["metadata"]["creationTimestamp"])
        if name in ("own", "for node"):
            assert decided(csr, APPROVED, DENIED)
        if decided(csr, APPROVED) and name != "foreign":
            assert bool(status.get("certificate")) != (name == "bad")
            assert decided(csr, FAILED) == (name == "bad")
        else:
            assert not status.get("certificate")
        # The cleaner looks once an hour.
        assert age <= 26 * HOUR, "it was forgotten"


def authority(tmp: Any) -> Authority:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ca")])
    since = datetime(2025, 1, 1, tzinfo=UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(KEY.public_key())
        .serial_number(1)
        .not_valid_before(since)
        .not_valid_after(since + timedelta(days=3650))
        .sign(KEY, hashes.SHA256())
    )
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp / "ca.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (tmp / "ca.key").write_bytes(KEY.private_bytes(*form))
    return Authority(tmp / "ca.crt", tmp / "ca.key")


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A whole life of the three controllers, with an authority."""
    signs = authority(tmp_path_factory.mktemp("ca"))

    def signer() -> Controller:
        made = SignerController()
        made.authority = signs
        return made

    async def run(world: World, history: list[tuple[str, Any]]) -> None:
        keeps_its_word(world)
        await Living(world, ApproverController, signer, CleanerController, nodes=0).live(act, history)
        check_final(world)

    return run


@settings(max_examples=60)
@given(history=st.lists(ACTIONS, max_size=14), faults=st.lists(st.sampled_from(Fault), max_size=20))
def test_any_history_ends_as_it_should(live: Any, history: list[tuple[str, Any]], faults: list[Fault]) -> None:
    asyncio.run(live(Registry(FakeClock(), faults), history))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_they_may_be_interrupted_at_every_write(live: Any, fault: Fault) -> None:
    history: list[tuple[str, Any]] = [
        *(("ask", "own"), ("ask", "for node"), ("ask", "stranger"), ("ask", "jane"), ("approve", "jane")),
        *(("ask", "bad"), ("approve", "bad"), ("wait", 7200), ("wait", 7200)),
    ]

    async def all_of_it(world: World) -> None:
        await live(world, history)
        assert [csr["metadata"]["name"] for csr in world.objects(CSR)] == ["stranger"]

    assert interrupted(fault, all_of_it, Registry) > 8
