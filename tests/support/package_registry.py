"""A web server with a package named *demo* for each package manager, under one host name.

=========================== ======================================================================
``/hello``                  a short text
``/simple/demo/``           Python (PEP 503), with a wheel
``/npm/demo``               npm, yarn and pnpm
``/cargo/…``                a sparse registry of cargo
``/go/example.com/demo/…``  a module proxy of Go
``/maven/…``                a repository of Maven and Gradle, with the project ``demo:parent:1``
``/dnf/repodata/…``         a repository of DNF, without packages
``/v2/…``                   an image of containers, ``demo:1`` (OCI Distribution Specification)
=========================== ======================================================================
"""

import io
import json
import socket
import tarfile
import zipfile
from hashlib import sha1, sha256
from typing import TYPE_CHECKING

from tests.support.exchange import Exchange, Reader
from tests.support.server import LoopbackServer

if TYPE_CHECKING:
    from tests.support.tls import Certificate

_METADATA = b"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n"
_PARENT = b"""\
<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>demo</groupId><artifactId>parent</artifactId><version>1</version>
  <packaging>pom</packaging>
</project>
"""
_PACKAGES = b'<metadata xmlns="http://linux.duke.edu/metadata/common" packages="0"/>\n'
_REPOSITORY = f"""\
<repomd xmlns="http://linux.duke.edu/metadata/repo">
  <revision>1</revision>
  <data type="primary">
    <checksum type="sha256">{sha256(_PACKAGES).hexdigest()}</checksum>
    <location href="repodata/primary.xml"/>
  </data>
</repomd>
""".encode()
_MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


class PackageRegistry(LoopbackServer):
    """A running registry, reached by proxies under the host name `name`."""

    name = "www.test.lan"

    def __init__(self, certificate: "Certificate | None" = None) -> None:
        """Start the registry, with TLS if there is a certificate."""
        self.scheme = "http" if certificate is None else "https"
        self._pages: dict[str, bytes] = {}
        tls = None if certificate is None else certificate.context()
        super().__init__(self._serve_client, tls)
        wheel = _wheel()
        self._pages = {
            "/hello": b"hello\n",
            "/simple/demo/": self._index(wheel),
            "/files/demo-1.0-py3-none-any.whl": wheel,
            "/npm/demo": self._npm_package(),
            "/cargo/config.json": json.dumps({"dl": self.url("/cargo/dl")}).encode(),
            "/cargo/de/mo/demo": _crate(),
            "/go/example.com/demo/@v/v1.0.0.info": b'{"Version": "v1.0.0"}',
            "/maven/demo/parent/1/parent-1.pom": _PARENT,
            "/maven/demo/parent/1/parent-1.pom.sha1": _sha1(_PARENT),
            "/dnf/repodata/repomd.xml": _REPOSITORY,
            "/dnf/repodata/primary.xml": _PACKAGES,
            **_image(),
        }

    def url(self, path: str) -> str:
        """Return the URL of a path for clients of a proxy."""
        return f"{self.scheme}://{self.name}:{self.port}{path}"

    def _index(self, wheel: bytes) -> bytes:
        link = f"/files/demo-1.0-py3-none-any.whl#sha256={sha256(wheel).hexdigest()}"
        return f'<!DOCTYPE html><a href="{link}">demo-1.0-py3-none-any.whl</a>'.encode()

    def _npm_package(self) -> bytes:
        dist = {"tarball": self.url("/npm/demo-1.0.0.tgz"), "shasum": "0" * 40}
        version = {"name": "demo", "version": "1.0.0", "dist": dist}
        package = {"name": "demo", "dist-tags": {"latest": "1.0.0"}, "versions": {"1.0.0": version}}
        return json.dumps(package).encode()

    def _serve_client(self, connection: socket.socket) -> None:
        with Reader(connection) as reader:
            while head := reader.head():
                page = self._pages.get(head.path)
                exchange = Exchange(connection, head, reader)
                fields = [("Content-Type", _content_type(head.path))]
                exchange.respond(404 if page is None else 200, page or b"", fields)


def _content_type(path: str) -> str:
    if path.startswith("/simple/"):
        return "text/html"
    if path.startswith("/v2/demo/manifests/"):
        return _MANIFEST_TYPE
    return "application/json" if path.startswith("/npm/") else "application/octet-stream"


def _wheel() -> bytes:
    octets = io.BytesIO()
    with zipfile.ZipFile(octets, "w") as archive:
        archive.writestr("demo.py", "")
        archive.writestr("demo-1.0.dist-info/METADATA", _METADATA)
        tags = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("demo-1.0.dist-info/WHEEL", tags)
        archive.writestr("demo-1.0.dist-info/RECORD", "")
    return octets.getvalue()


def _crate() -> bytes:
    line = {"name": "demo", "vers": "1.0.0", "deps": [], "cksum": "0" * 64, "features": {}}
    return (json.dumps({**line, "yanked": False}) + "\n").encode()


def _image() -> dict[str, bytes]:
    """Return the pages of an image with one empty layer (OCI Image Format Specification)."""
    with io.BytesIO() as archive:
        tarfile.open(fileobj=archive, mode="w").close()
        layer = archive.getvalue()
    roots = {"type": "layers", "diff_ids": [_digest(layer)]}
    config = _json({"architecture": "amd64", "os": "linux", "config": {}, "rootfs": roots})
    kind = "application/vnd.oci.image"
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": _MANIFEST_TYPE,
            "config": _descriptor(f"{kind}.config.v1+json", config),
            "layers": [_descriptor(f"{kind}.layer.v1.tar", layer)],
        }
    )
    return {
        "/v2/": b"{}",
        "/v2/demo/manifests/1": manifest,
        f"/v2/demo/manifests/{_digest(manifest)}": manifest,
        **{f"/v2/demo/blobs/{_digest(blob)}": blob for blob in (config, layer)},
    }


def _descriptor(kind: str, blob: bytes) -> dict[str, object]:
    return {"mediaType": kind, "digest": _digest(blob), "size": len(blob)}


def _digest(octets: bytes) -> str:
    return f"sha256:{sha256(octets).hexdigest()}"


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _sha1(octets: bytes) -> bytes:
    return sha1(octets, usedforsecurity=False).hexdigest().encode()
