"""Pushing an image archive to a registry.

Source: the OCI distribution specification 1.1 ("Pushing blobs", "Pushing manifests"), and distribution's token
authentication for registries that want one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
import tarfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

import aiohttp
from yarl import URL

from hawser.cli.context import Failure
from hawser.cli.images.logins import HINT, Login, login
from hawser.cli.images.oci import BLOBS
from hawser.node.images.names import full, repository

_HUB = {"docker.io": "registry-1.docker.io"}
_PIECE = 1 << 20
_QUIET = aiohttp.ClientTimeout(total=None, sock_connect=20, sock_read=120)


async def push(archive: Path, reference: str, say: Callable[[str], None]) -> str:
    """Pushes the one image of an OCI archive under a full reference; the manifest's digest. Raises Failure."""
    host, _, name = repository(reference).partition("/")
    tag = full(reference).rpartition(":")[2]
    known = await asyncio.to_thread(login, reference)
    try:
        async with aiohttp.ClientSession(timeout=_QUIET) as session:
            return await _Registry(session, host, name, known).push(archive, tag, say)
    except aiohttp.ClientConnectorError as error:
        why = error.os_error.strerror or str(error.os_error)
        raise Failure(f"{base_url(host)} can not be reached: {why}") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Failure(f"{host} does not take the image: {error or 'no answer'}", HINT) from None
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise Failure(f"{archive} is no archive of an image: {error}") from None


def base_url(host: str) -> str:
    """Where a registry is: by HTTP on this machine, else by HTTPS, as container runtimes have it."""
    name = urlsplit("//" + host).hostname or host
    try:
        local = ipaddress.ip_address(name).is_loopback
    except ValueError:
        local = name == "localhost"
    return f"{'http' if local else 'https'}://{_HUB.get(host, host)}/v2"


def challenge(header: str) -> tuple[str, dict[str, str]]:
    """The scheme and the parameters of a WWW-Authenticate header; RFC 9110, 11.6.1."""
    scheme, _, rest = header.partition(" ")
    return scheme.lower(), dict(re.findall(r'(\w+)="([^"]*)"', rest))


class _Registry:
    """One repository of a registry."""

    def __init__(self, session: aiohttp.ClientSession, host: str, name: str, known: Login) -> None:
        self._session = session
        self._base = base_url(host)
        self._name = name
        self._login = known
        self._shown = ""  # the Authorization header that the registry took

    async def push(self, archive: Path, tag: str, say: Callable[[str], None]) -> str:
        await self._sign_in()
        with tarfile.open(archive) as tar:
            entry = json.load(_member(tar, "index.json"))["manifests"][0]
            body = _blob(tar, entry["digest"])[0].read()
            manifest = json.loads(body)
            for described in [*manifest["layers"], manifest["config"]]:
                say(f"pushing {described['digest'][7:19]}")
                await self._blob(tar, described["digest"])
        say("pushing the manifest")
        headers = {"Content-Type": entry["mediaType"]}
        await self._call("PUT", f"{self._base}/{self._name}/manifests/{tag}", (201,), data=body, headers=headers)
        return str(entry["digest"])

    async def _sign_in(self) -> None:
        """Finds out how the registry is to be asked."""
        async with self._session.get(self._base + "/") as answer:
            if answer.status != 401:
                return
            scheme, told = challenge(answer.headers.get("WWW-Authenticate", ""))
        if scheme == "basic":
            self._shown = self._login.basic
        elif scheme == "bearer":
            self._shown = "Bearer " + await self._token(told)

    async def _token(self, told: dict[str, str]) -> str:
        """A token of the registry's token service; what it is given for it depends on what this user has."""
        realm = told.get("realm", "")
        if not realm:
            raise Failure(f"{self._base} wants a token and does not say whose", HINT)
        asked = {"service": told.get("service", ""), "scope": f"repository:{self._name}:pull,push"}
        if self._login.token:
            form = {"grant_type": "refresh_token", "client_id": "hawser", "refresh_token": self._login.token, **asked}
            call = self._session.post(realm, data=form)
        else:
            headers = {"Authorization": self._login.basic} if self._login.basic else {}
            call = self._session.get(realm, params=asked, headers=headers)
        async with call as answer:
            if answer.status != 200:
                raise Failure(f"{realm} gives no token: {answer.status} {answer.reason}", HINT)
            try:
                granted = json.loads(await answer.read())
            except ValueError:
                granted = None
        token = granted.get("token") or granted.get("access_token") if isinstance(granted, dict) else None
        if not token:
            raise Failure(f"{realm} gives no token: there is none in its answer", HINT)
        return str(token)

    async def _blob(self, tar: tarfile.TarFile, digest: str) -> None:
        """Pushes a blob unless the registry has it."""
        there = f"{self._base}/{self._name}/blobs/{digest}"
        if (await self._call("HEAD", there, (200, 404)))[0] == 200:
            return
        began = await self._call("POST", f"{self._base}/{self._name}/blobs/uploads/", (202,))
        if not (location := began[1].get("Location")):
            raise Failure(f"the registry does not take the image: it names no place for {digest}", HINT)
        place = URL(self._base).join(URL(location, encoded=True))
        file, size = _blob(tar, digest)
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(size)}
        await self._call("PUT", place.update_query(digest=digest), (201,), data=_pieces(file), headers=headers)

    async def _call(self, verb: str, url: Any, good: tuple[int, ...], **more: Any) -> tuple[int, Any]:
        """One request; its status and headers. Raises Failure for another status than the good ones."""
        headers = {**more.pop("headers", {}), **({"Authorization": self._shown} if self._shown else {})}
        async with self._session.request(verb, url, headers=headers, **more) as answer:
            if answer.status not in good:
                told = " ".join((await answer.text())[:500].split())
                what = f"{verb} {answer.url.path}: {answer.status} {answer.reason} {told}".strip()
                raise Failure(f"the registry does not take the image: {what}", HINT)
            return answer.status, answer.headers


def _member(tar: tarfile.TarFile, name: str) -> IO[bytes]:
    file = tar.extractfile(name)
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file


def _blob(tar: tarfile.TarFile, digest: str) -> tuple[IO[bytes], int]:
    name = BLOBS + digest.removeprefix("sha256:")
    return _member(tar, name), tar.getmember(name).size


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, _PIECE):
        yield piece
