"""The certificates for programs behind a proxy that inspects TLS.

Many programs have a list of certificate authorities of their own, and refuse the certificates of an
inspecting proxy although the system trusts its authority. TrayProxy stores the upstreams whose
test has seen a company's authority, and writes all authorities of the system into a file that those
programs can use instead of their list.
"""

import os
import time
from collections.abc import Mapping
from json import dumps, loads
from pathlib import Path

from trayproxy.desktop.trust_store.base import SystemAuthorities, to_pem
from trayproxy.desktop.trust_store.factory import system_authorities
from trayproxy.file_replacement import read_file, replace_file
from trayproxy.paths import Paths
from trayproxy.system_settings.entries import TargetError

CA_VARIABLES = (
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
)
"""The environment variables with which programs find certificate authorities: the AWS CLI, cargo,
curl, Deno, git, Node.js, pip, requests, and those that use OpenSSL, Go or rustls."""
MAX_AGE_S = 86_400.0
"""The age in seconds at which the file is compared with the system again."""

_SCHEMA = 1
_MAX_SIZE = 1 << 16
_MAX_FILE_SIZE = 16 << 20
_MAX_UPSTREAMS = 100


def inspecting_upstreams(paths: Paths) -> dict[str, str]:
    """Return the names of the authorities of inspecting upstreams, by the URL of the upstream.

    If the file is lost or damaged, the result is empty; the next test of a profile fills it again.
    """
    try:
        content = loads(read_file(paths.tls_inspection_file, _MAX_SIZE))
        entries = content["upstreams"] if content["schema"] == _SCHEMA else {}
        return {str(upstream): str(issuer) for upstream, issuer in entries.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def store_upstream(paths: Paths, upstream: str, issuer: str | None) -> None:
    """Store that an upstream inspects TLS, and the name of its authority; None to delete both.

    Raises:
        OSError: The file cannot be written.
    """
    before = inspecting_upstreams(paths)
    after = {url: name for url, name in before.items() if url != upstream}
    if issuer is not None:
        after[upstream] = issuer
    if after != before:
        kept = dict(list(after.items())[-_MAX_UPSTREAMS:])
        text = dumps({"schema": _SCHEMA, "upstreams": kept}, indent=1)
        replace_file(paths.tls_inspection_file, text.encode("ascii"))


def company_ca_file(paths: Paths, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the file with the authorities of the system, in PEM; None if no upstream inspects TLS.

    The file is brought up to date if it is older than a day.

    Raises:
        TargetError: There is no file, and it cannot be written.
    """
    if not inspecting_upstreams(paths):
        return None
    update_ca_file(paths, environ)
    return paths.ca_file


def update_ca_file(paths: Paths, environ: Mapping[str, str] = os.environ) -> None:
    """Write the file of `company_ca_file`, unless it is younger than a day.

    Raises:
        TargetError: There is no file, and it cannot be written.
    """
    file = paths.ca_file
    try:
        age_s = time.time() - file.stat().st_mtime
    except OSError:
        age_s = MAX_AGE_S
    if not 0 <= age_s < MAX_AGE_S:
        try:
            refresh_ca_file(paths, environ)
        except TargetError:
            if not file.exists():
                raise


def refresh_ca_file(paths: Paths, environ: Mapping[str, str] = os.environ) -> None:
    """Write the certificates of the system's authorities into the file of `company_ca_file`.

    Raises:
        TargetError: See `write_ca_file`.
    """
    write_ca_file(paths.ca_file, system_authorities(paths.ca_file, environ))


def write_ca_file(file: Path, authorities: SystemAuthorities) -> None:
    """Write the certificates of authorities into a file in PEM, unless it contains them already.

    Raises:
        TargetError: The certificates cannot be read, or the file cannot be written; it is
            unchanged.
    """
    octets = to_pem(authorities.certificates()).encode("ascii")
    try:
        if file.exists() and read_file(file, _MAX_FILE_SIZE) == octets:
            os.utime(file)
        else:
            replace_file(file, octets)
    except OSError as error:
        raise TargetError(f"{file} cannot be written: {error.strerror or error}") from None


def ca_variables(paths: Paths, environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables with which programs trust the company's authority.

    The result is empty if no upstream inspects TLS. A variable that the user has set is left out.

    Raises:
        TargetError: See `company_ca_file`.
    """
    file = company_ca_file(paths, environ)
    if file is None:
        return {}
    own = str(file)
    return {name: own for name in CA_VARIABLES if environ.get(name, own) == own}


def own_ca_variables(paths: Paths, environ: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the names of the variables that name TrayProxy's file."""
    return tuple(name for name in CA_VARIABLES if environ.get(name) == str(paths.ca_file))
