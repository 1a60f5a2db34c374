"""Images: whose credentials fit, who may use what is here, what is taken away."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from hawser.node.cri.model import Image
from hawser.node.images.collector import Seen, detect, excess, removable
from hawser.node.images.keyring import credentials
from hawser.node.images.manager import ImageError, _failure, check_name, pull_policy
from hawser.node.images.names import full, repository
from hawser.node.images.records import PullRecords

Obj = dict[str, Any]
WEB = "r.io/team/web:1"


def secret(name: str, **registries: str) -> Obj:
    """registries: user by registry, with ``__`` for what identifiers cannot have."""
    auths = {key: {"username": user, "password": "p"} for key, user in registries.items()}
    data = {".dockerconfigjson": base64.b64encode(json.dumps({"auths": auths}).encode()).decode()}
    return {"metadata": {"name": name, "namespace": "shop", "uid": f"uid-{name}"}, "data": data}


@pytest.mark.parametrize(
    ("policy", "image", "wanted"),
    [
        ("", "a", "Always"),
        ("", "a:latest", "Always"),
        ("", "r:5000/a", "Always"),
        ("", "a:1", "IfNotPresent"),
        ("", "a@sha256:00", "IfNotPresent"),
        ("Never", "a", "Never"),
        ("IfNotPresent", "a:latest", "IfNotPresent"),
    ],
)
def test_pull_policy(policy: str, image: str, wanted: str) -> None:
    assert pull_policy(policy, image) == wanted


@pytest.mark.parametrize("name", ["a", "a/b:1", "r.io:5000/a/b-c@sha256:" + "0" * 64, "localhost/x"])
def test_image_names(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize("name", ["a/B", "", "a:", "a b", "-a"])
def test_invalid_image_names(name: str) -> None:
    with pytest.raises(ImageError) as caught:
        check_name(name)
    assert caught.value.reason == "InvalidImageName"


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("busybox", "docker.io/library/busybox"),
        ("team/app:1", "docker.io/team/app"),
        ("index.docker.io/library/a", "docker.io/library/a"),
        ("localhost/x@sha256:" + "0" * 64, "localhost/x"),
        ("r.io:5000/a/b:1", "r.io:5000/a/b"),
    ],
)
def test_a_repository_is_named_in_full(image: str, wanted: str) -> None:
    assert repository(image) == wanted


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("busybox", "docker.io/library/busybox:latest"),
        ("r.io:5000/a/b:1", "r.io:5000/a/b:1"),
        ("r.io:5000/a/b", "r.io:5000/a/b:latest"),
        ("team/app:1@sha256:" + "0" * 64, "docker.io/team/app@sha256:" + "0" * 64),
    ],
)
def test_an_image_is_named_in_full(image: str, wanted: str) -> None:
    assert full(image) == wanted


@pytest.mark.parametrize(
    ("registries", "image", "users"),
    [
        pytest.param({"r.io": "a", "r.io/team": "t"}, WEB, ["t", "a"], id="the longer name first"),
        pytest.param({"r.io/other": "a"}, WEB, [], id="another path"),
        pytest.param({"https://r.io/v2/": "a"}, WEB, ["a"], id="scheme and API version do not count"),
        pytest.param({"*.io": "a"}, WEB, ["a"], id="a star is a part of the host"),
        pytest.param({"*.r.io": "a"}, WEB, [], id="and never more parts"),
        pytest.param({"r.io:5000": "a"}, WEB, [], id="the port counts"),
        pytest.param({"https://index.docker.io/v1/": "a"}, "busybox", ["a"], id="docker's own name of its hub"),
        pytest.param({"docker.io": "b", "index.docker.io": "a"}, "busybox", ["b"], id="the hub's other name"),
        pytest.param({"index.docker.io": "a"}, WEB, [], id="the hub's are not for others"),
    ],
)
def test_credentials_that_fit(registries: dict[str, str], image: str, users: list[str]) -> None:
    assert [dict(found.auth)["username"] for found in credentials(image, [secret("s", **registries)])] == users


def test_what_is_no_secret_is_nobodys() -> None:
    broken = {"data": {".dockerconfigjson": base64.b64encode(b"[]").decode(), ".dockercfg": "%%%"}}
    assert credentials(WEB, [broken, {}]) == []


def test_old_secrets_have_no_auths() -> None:
    auth = base64.b64encode(b"a:b:c").decode()
    data = {".dockercfg": base64.b64encode(json.dumps({"r.io": {"auth": auth}}).encode()).decode()}
    assert dict(credentials(WEB, [{"data": data}])[0].auth) == {"username": "a", "password": "b:c"}


def test_who_may_use_an_image_survives_the_agent(tmp_path: Path) -> None:
    records = PullRecords(tmp_path)
    mine, other = credentials(WEB, [secret("mine", **{"r.io": "me"})]), credentials(WEB, [secret("s", **{"r.io": "x"})])
    assert not records.must_pull(WEB, "sha256:1", []), "what was here before is everybody's"
    records.intend(WEB)
    records.pulled(WEB, "sha256:1", mine[0])
    for known in (records, PullRecords(tmp_path)):
        assert known.must_pull(WEB, "sha256:1", [])
        assert known.must_pull(WEB, "sha256:1", other)
        assert not known.must_pull(WEB, "sha256:1", mine)
        assert known.must_pull("elsewhere.io/web:1", "sha256:1", mine), "the same image of another repository"
    renewed = credentials(WEB, [secret("mine", **{"r.io": "renewed"})])
    assert not records.must_pull(WEB, "sha256:1", renewed), "the same secret with another password"
    copied = credentials(WEB, [secret("copy", **{"r.io": "renewed"})])
    assert not records.must_pull(WEB, "sha256:1", copied), "the same password in another secret"
    records.pulled(WEB, "sha256:1", None)
    assert not records.must_pull(WEB, "sha256:1", []), "the registry gave it to nobody in particular"
    records.prune([])
    assert not list((tmp_path / "pulled").iterdir())


def test_a_pull_that_was_cut_short_is_nobodys(tmp_path: Path) -> None:
    PullRecords(tmp_path).intend(WEB)
    records = PullRecords(tmp_path)
    assert records.must_pull(WEB, "sha256:1", [])
    records.failed(WEB)
    assert not records.must_pull(WEB, "sha256:1", [])


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("not found", "ErrImagePull", "not found"),
        (
            "RegistryUnavailable: it is down",
            "RegistryUnavailable",
            "image pull failed for a:1 because the registry is unavailable: it is down",
        ),
        (
            "SignatureValidationFailed: no key",
            "SignatureValidationFailed",
            "image pull failed for a:1 because the signature validation failed: no key",
        ),
    ],
)
def test_why_a_pull_failed(text: str, reason: str, message: str) -> None:
    error = _failure("a:1", text)
    assert (error.reason, error.message) == (reason, message)


@pytest.mark.parametrize(
    ("available", "wanted"),
    [(16, 0), (15, 5), (0, 20), (100, 0), (120, 0)],
)
def test_a_full_disk_is_freed_to_the_low_threshold(available: int, wanted: int) -> None:
    assert excess(100, available, 85, 80) == wanted


def test_images_are_taken_by_their_last_use() -> None:
    def image(name: str, **more: Any) -> Image:
        return Image(name, (f"{name}:1",), (f"{name}@sha256:0",), 10, None, "", **more)

    images = [image("never"), image("long"), image("pinned", pinned=True), image("pause"), image("young")]
    images += [image("used"), Image("local", ("local:1",), (), 10, None, "")]
    seen: dict[str, Seen] = {"gone": Seen(0)}
    detect([i for i in images if i.id != "young"], {"long"}, seen, 100)
    detect(images, {"used"}, seen, 1000)
    assert "gone" not in seen
    found = removable(images, seen, 1000, 120, {"pause:1"})
    assert [image.id for image in found] == ["never", "long"]
