"""Real upstreams other than Squid: Apache, HAProxy, tinyproxy and proxy.py.

Each requires the login of one user. A relay (`tests.support.recording_relay`) counts failed
log-ons, because not every program logs them.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from enum import Enum
from hashlib import md5

from tests.support.example_site import ExampleSite
from tests.support.ports import start_on_free_port
from tests.support.processes import Home, Process, home
from tests.support.recording_relay import RecordingRelay
from trayproxy.auth.login import Login

REALM = "Works"

_APACHE = """\
ServerRoot /usr/lib/apache2
ServerName proxy.test.lan
DefaultRuntimeDir {directory}
PidFile {directory}/pid
ErrorLog /dev/stderr
Mutex file:{directory}
LoadModule mpm_event_module modules/mod_mpm_event.so
LoadModule authn_core_module modules/mod_authn_core.so
LoadModule authn_file_module modules/mod_authn_file.so
LoadModule authz_core_module modules/mod_authz_core.so
LoadModule authz_user_module modules/mod_authz_user.so
LoadModule auth_basic_module modules/mod_auth_basic.so
LoadModule auth_digest_module modules/mod_auth_digest.so
LoadModule proxy_module modules/mod_proxy.so
LoadModule proxy_http_module modules/mod_proxy_http.so
LoadModule proxy_connect_module modules/mod_proxy_connect.so
User www-data
Group www-data
StartServers 1
ThreadsPerChild 25
Listen 127.0.0.1:{port}
ProxyRequests On
ProxyRemote http://example.com/ http://127.0.0.1:{site}
AllowCONNECT 1-65535
<Proxy "*">
  AuthName {realm}
  Require valid-user
  {method}
</Proxy>
"""

_APACHE_BASIC = """\
AuthType Basic
  AuthUserFile {directory}/users"""

_APACHE_DIGEST = """\
AuthType Digest
  AuthDigestProvider file
  AuthDigestNonceLifetime {lifetime}
  AuthUserFile {directory}/hashes"""

_HAPROXY = """\
defaults
 mode http
 option http-use-proxy-header
 timeout connect 5s
 timeout client 60s
 timeout server 60s
userlist known
 user {user} insecure-password {password}
frontend proxy
 bind 127.0.0.1:{port}
 {rule}
 http-request del-header Authorization
 http-request del-header Proxy-Authorization
 default_backend open
backend open
 server open 127.0.0.1:{behind}
"""

_HAPROXY_PLAIN = f"http-request auth realm {REALM} unless {{ http_auth(known) }}"

# A list of challenges in one field line, with commas inside quotes. HAProxy checks Basic only.
_HAPROXY_LIST = """\
http-request set-header Authorization %[req.hdr(Proxy-Authorization)]
 http-request return status 407 content-type text/plain lf-string "denied" hdr Proxy-Authenticate \
'Bearer realm="a, \\"b\\", Basic realm=c", scope="x,y", Basic realm="Works, in \\"one\\" line", \
charset="UTF-8"' unless { http_auth(known) }"""

_TINYPROXY = """\
Port {port}
Listen 127.0.0.1
LogLevel Connect
BasicAuth {user} {password}
Upstream http 127.0.0.1:{site} "example.com"
"""


class UpstreamKind(Enum):
    """The programs; the value completes "behind …"."""

    APACHE_BASIC = "Apache with Basic"
    APACHE_DIGEST = "Apache with Digest, which looks at the uri"
    APACHE_STALE = "Apache with Digest, whose nonces live for two seconds"
    HAPROXY = "HAProxy"
    HAPROXY_LIST = "HAProxy with a list of challenges in one line"
    TINYPROXY = "tinyproxy, which answers a wrong password with 401"
    PROXY_PY = "proxy.py, which names no realm"


@contextmanager
def upstream(kind: UpstreamKind, login: Login, behind: int = 0) -> Iterator[RecordingRelay]:
    """Run a `bare_upstream` with a relay to it; it accepts connections when the block begins."""
    with bare_upstream(kind, login, behind) as port, RecordingRelay(port) as relay:
        yield relay


@contextmanager
def bare_upstream(kind: UpstreamKind, login: Login, behind: int = 0) -> Iterator[int]:
    """Run an upstream; yield its port of 127.0.0.1, which accepts connections.

    Args:
        login: The accepted login, of letters and digits: the configuration files differ in the
            meaning of other characters.
        behind: The port of an open proxy of 127.0.0.1, to which HAProxy forwards requests.
    """
    with ExitStack() as stack:
        place = stack.enter_context(home("upstream-"))
        place.root.chmod(0o755)
        site = stack.enter_context(ExampleSite()).port
        process, port = start_on_free_port(
            lambda port: Process(
                _prepare(kind, place, login, port, behind, site),
                env=place.environment(),
                cwd=place.root,
            )
        )
        stack.callback(process.end)
        yield port


def _prepare(
    kind: UpstreamKind, place: Home, login: Login, port: int, behind: int, site: int
) -> Sequence[str]:
    """Write the files of a program; return its command line."""
    match kind:
        case UpstreamKind.APACHE_BASIC | UpstreamKind.APACHE_DIGEST | UpstreamKind.APACHE_STALE:
            return _prepare_apache(kind, place, login, port, site)
        case UpstreamKind.HAPROXY | UpstreamKind.HAPROXY_LIST:
            rule = _HAPROXY_PLAIN if kind is UpstreamKind.HAPROXY else _HAPROXY_LIST
            text = _HAPROXY.format(
                user=login.user, password=login.password, port=port, behind=behind, rule=rule
            )
            return ["haproxy", "-db", "-f", _write(place, "haproxy.cfg", text)]
        case UpstreamKind.TINYPROXY:
            text = _TINYPROXY.format(port=port, user=login.user, password=login.password, site=site)
            return ["tinyproxy", "-d", "-c", _write(place, "tinyproxy.conf", text)]
        case UpstreamKind.PROXY_PY:
            workers = ["--num-workers", "1", "--num-acceptors", "1"]
            where = ["--hostname", "127.0.0.1", "--port", str(port)]
            who = ["--basic-auth", f"{login.user}:{login.password}"]
            return [sys.executable, "-m", "proxy", *where, *who, *workers]


def _prepare_apache(
    kind: UpstreamKind, place: Home, login: Login, port: int, site: int
) -> Sequence[str]:
    coded = md5(f"{login.user}:{REALM}:{login.password}".encode(), usedforsecurity=False)
    _write(place, "hashes", f"{login.user}:{REALM}:{coded.hexdigest()}\n")
    hashed = ["openssl", "passwd", "-apr1", "-stdin"]
    made = subprocess.run(hashed, input=login.password.encode(), capture_output=True, check=True)
    _write(place, "users", f"{login.user}:{made.stdout.decode()}")
    method = _APACHE_BASIC if kind is UpstreamKind.APACHE_BASIC else _APACHE_DIGEST
    lifetime = 2 if kind is UpstreamKind.APACHE_STALE else 300
    text = _APACHE.format(
        directory=place.root,
        port=port,
        site=site,
        realm=REALM,
        method=method.format(directory=place.root, lifetime=lifetime),
    )
    if os.geteuid() == 0:
        shutil.chown(place.root, "www-data")
    return ["apache2", "-DFOREGROUND", "-f", _write(place, "apache.conf", text)]


def _write(place: Home, name: str, text: str) -> str:
    path = place.root / name
    path.write_text(text)
    path.chmod(0o644)
    return str(path)
