"""Tokens through random histories: accounts' Secrets are filled or go, and bootstrap tokens sign while they last."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st

from hawser.api.kinds import CONFIG_MAP, SECRET, SERVICE_ACCOUNT
from hawser.api.types import Obj
from hawser.client.clock import timestamp
from hawser.client.controller import Controller
from hawser.controllers import bootstrap_signer, token_cleaner, token_secrets
from hawser.controllers.bootstrap_signer import BootstrapSigner
from hawser.controllers.token_cleaner import TokenCleaner
from hawser.controllers.token_secrets import TokenSecretController

from .living import FakeClock, Living, interrupted
from .world import Fault, World

SYSTEM, PUBLIC = token_cleaner.NAMESPACE, "kube-public"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
Live = Callable[[World, list[tuple[str, Any]]], Any]


def encoded(**values: str) -> dict[str, str]:
    return {key.replace("_", "-"): base64.b64encode(value.encode()).decode() for key, value in values.items()}


def token(number: int, now: Any, seconds: int | None, signs: bool) -> Obj:
    """A bootstrap token that lasts for so many seconds, or for good."""
    until = {"expiration": timestamp(now + timedelta(seconds=seconds))} if seconds is not None else {}
    usage = {"usage_bootstrap_signing": "true"} if signs else {}
    data = encoded(token_id=f"abcde{number}", token_secret=f"secret{number}", **usage, **until)
    metadata = {"name": f"bootstrap-token-abcde{number}", "namespace": SYSTEM}
    return {"metadata": metadata, "type": token_cleaner.TYPE, "data": data}


NUMBERS = st.integers(0, 2)
ACTIONS = st.one_of(
    st.tuples(st.sampled_from(["account", "no account", "spoil", "no secret", "other"]), NUMBERS),
    st.tuples(st.just("secret"), st.tuples(NUMBERS, NUMBERS, st.sampled_from(["", "right", "wrong"]))),
    st.tuples(st.just("token"), st.tuples(NUMBERS, st.sampled_from([None, -5, 10, 50, 10**6]), st.booleans())),
    st.tuples(st.sampled_from(["no token", "content", "no content", "longer"]), NUMBERS),
    st.tuples(st.sampled_from(["wait", "restart", "stale", "deliver"]), st.integers(1, 60)),
)


async def act(living: Living, what: str, value: Any) -> None:
    world = living.world

    def there(kind: Any, name: str, namespace: str = "default") -> bool:
        return world.find(kind, name, namespace) is not None

    match what:
        case "account" if not there(SERVICE_ACCOUNT, f"a{value}"):
            world.create(SERVICE_ACCOUNT, {"metadata": {"name": f"a{value}"}})
        case "no account" if there(SERVICE_ACCOUNT, f"a{value}"):
            world.delete(SERVICE_ACCOUNT, f"a{value}")
        case "secret" if not there(SECRET, f"s{value[0]}"):
            _, account, uid = value
            found = world.find(SERVICE_ACCOUNT, f"a{account}") or {"metadata": {"uid": "gone"}}
            uids = {"right": {UID: found["metadata"]["uid"]}, "wrong": {UID: "uid-0"}}.get(uid, {})
            metadata = {"name": f"s{value[0]}", "annotations": {NAME: f"a{account}", **uids}}
            world.create(SECRET, {"metadata": metadata, "type": token_secrets.TYPE})
        case "spoil" if there(SECRET, f"s{value}"):
            world.change(SECRET, f"s{value}", lambda new: new.update(data={"token": "", "mine": "eA=="}))
        case "no secret" if there(SECRET, f"s{value}"):
            world.delete(SECRET, f"s{value}")
        case "other" if not there(SECRET, f"o{value}"):
            # Of another type: nobody's business here, whatever it says.
            annotations = {NAME: f"a{value}", UID: "uid-0"}
            world.create(SECRET, {"metadata": {"name": f"o{value}", "annotations": annotations}, "type": "Opaque"})
        case "token" if not there(SECRET, f"bootstrap-token-abcde{value[0]}", SYSTEM):
            world.create(SECRET, token(value[0], living.clock.now(), *value[1:]))
        case "no token" if there(SECRET, f"bootstrap-token-abcde{value}", SYSTEM):
            world.delete(SECRET, f"bootstrap-token-abcde{value}", SYSTEM)
        case "longer" if there(SECRET, f"bootstrap-token-abcde{value}", SYSTEM):
            made = token(value, living.clock.now(), 10**6, signs=True)
            world.change(SECRET, made["metadata"]["name"], lambda new: new.update(data=made["data"]), SYSTEM)
        case "content":
            data = {"kubeconfig": f"clusters: {value}", "jws-kubeconfig-zzzzzz": "old"}
            if there(CONFIG_MAP, "cluster-info", PUBLIC):
                world.change(CONFIG_MAP, "cluster-info", lambda new: new.update(data=data), PUBLIC)
            else:
                world.create(CONFIG_MAP, {"metadata": {"name": "cluster-info", "namespace": PUBLIC}, "data": data})
        case "no content" if there(CONFIG_MAP, "cluster-info", PUBLIC):
            world.delete(CONFIG_MAP, "cluster-info", PUBLIC)
        case "wait" | "restart" | "stale" | "deliver":
            await living.happens(what, value)
    await living.turn()


def takes_only_what_is_over(world: World) -> None:
    """At every write: no Secret goes that is of a living account, and no token before its time."""

    def check(verb: str, obj: Obj) -> None:
        if verb != "DELETE" or obj["kind"] != "Secret":
            return
        if obj["type"] == token_cleaner.TYPE:
            assert token_cleaner.left(obj, world.clock.now()) == 0.0, "it goes too soon"
        else:
            name, uid = token_secrets.account_of(obj)
            account = world.find(SERVICE_ACCOUNT, name)
            assert account is None or uid not in ("", account["metadata"]["uid"]), "its account lives"

    world.on_write = check


def check_final(world: World) -> None:
    signing = {}
    for secret in world.objects(SECRET):
        if secret["type"] == token_secrets.TYPE:
            account = world.find(SERVICE_ACCOUNT, secret["metadata"]["annotations"][NAME])
            assert account is not None, "whose is it?"
            uid = account["metadata"]["uid"]
            assert secret["metadata"]["annotations"][UID] == uid
            data = {key: base64.b64decode(text) for key, text in secret["data"].items()}
            assert (data["ca.crt"], data["namespace"]) == (b"the certificate", b"default")
            said = base64.urlsafe_b64decode(data["token"].split(b".")[1] + b"==").decode()
            assert f'"kubernetes.io/serviceaccount/service-account.uid":"{uid}"' in said
        elif secret["type"] == token_cleaner.TYPE:
            assert token_cleaner.left(secret, world.clock.now()) != 0.0, "its time is over"
            if "usage-bootstrap-signing" in secret["data"]:
                signing[token_cleaner.value(secret, "token-id")] = token_cleaner.value(secret, "token-secret")
    info = world.find(CONFIG_MAP, "cluster-info", PUBLIC)
    if info is not None:
        content = info["data"]["kubeconfig"]
        expected = {f"jws-kubeconfig-{one}": bootstrap_signer.signature(content, one, signing[one]) for one in signing}
        assert info["data"] == {"kubeconfig": content, **expected}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Live:
    """A whole life of the controllers, with the key that tokens are signed with."""
    file: Path = tmp_path_factory.mktemp("keys") / "sa.key"
    key = ec.generate_private_key(ec.SECP256R1())
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )

    def filler() -> Controller:
        made = TokenSecretController()
        made.configure({"service_account_private_key_file": file})
        return made

    async def run(world: World, history: list[tuple[str, Any]]) -> None:
        takes_only_what_is_over(world)
        await Living(world, filler, TokenCleaner, BootstrapSigner, nodes=0).live(act, history)
        check_final(world)

    return run


@settings(max_examples=80)
@given(history=st.lists(ACTIONS, max_size=18), faults=st.lists(st.sampled_from(Fault), max_size=20))
def test_any_history_ends_as_it_should(live: Live, history: list[tuple[str, Any]], faults: list[Fault]) -> None:
    asyncio.run(live(World(FakeClock(), faults), history))


@pytest.mark.parametrize("fault", [Fault.CRASH, Fault.LOST, Fault.REFUSED])
def test_they_may_be_interrupted_at_every_write(live: Live, fault: Fault) -> None:
    history: list[tuple[str, Any]] = [
        *(("account", 0), ("account", 1), ("secret", (0, 0, "")), ("secret", (1, 1, "")), ("no account", 0)),
        *(("content", 0), ("token", (0, 50, True)), ("token", (1, None, True)), ("wait", 60), ("content", 1)),
    ]
    assert interrupted(fault, lambda world: live(world, history)) > 6
