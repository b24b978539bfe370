"""A proxy for the variants of Digest (RFC 7616) that no real program of the tests offers.

Squid and Apache support only MD5 and ``qop=auth``. This proxy is written from the RFC, shares no
code with TrayProxy's Digest, and is checked with the examples of the RFC and with curl.
"""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import new
from itertools import count
from secrets import token_hex
from threading import Lock
from urllib.parse import quote, urlsplit

from tests.support.exchange import Exchange, Reader, ReceivedHead
from tests.support.process_output import PATIENCE
from tests.support.server import LoopbackServer, relay
from trayproxy.auth.login import Login

_ALGORITHMS = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}
"""The names of hashlib. SHA-512/256 differs from the start of SHA-512: it has other initial values
(FIPS 180-4, section 5.3.6)."""

_PARAMETER = re.compile(r'([a-zA-Z*]+)=(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))(?:,\s*|$)')
_MUST_BE_QUOTED = {"username", "realm", "nonce", "uri", "response", "cnonce", "opaque"}
_MUST_NOT = {"algorithm", "qop", "nc", "stale"}


@dataclass(frozen=True, slots=True)
class Demands:
    """The requirements of the proxy.

    Attributes:
        algorithms: The algorithms of the challenges, in order: ``SHA-256``, ``MD5-sess``.
        qop: The offered qop; empty for none, as before RFC 2617.
        userhash: True if user names are to be hashed.
        utf8: True to send ``charset``; names and passwords are UTF-8 in any case.
        opaque: The parameter, returned unchanged by requests.
        uses: The number of uses after which a nonce is stale; 0 for no limit.
        announces: True to send the next nonce before the nonce becomes stale.
        strict: True if a nonce count other than the next one makes the nonce stale.
        any_uri: True if the uri may be the path only, as sent by curl.
        closes: True to close the connection with each 407.
        machines: The number of proxies behind the address. Connections are assigned to them in
            turn; no proxy knows the nonces of the others, or marks them as stale.
    """

    algorithms: tuple[str, ...] = ("SHA-256",)
    qop: str = "auth"
    realm: str = 'Digest, "the double"'
    userhash: bool = False
    utf8: bool = False
    opaque: str = "op\\aque"
    uses: int = 0
    announces: bool = False
    strict: bool = False
    any_uri: bool = False
    closes: bool = False
    machines: int = 1


@dataclass(frozen=True, slots=True)
class DigestVerdict:
    """The verdict on a request with credentials.

    Attributes:
        right: True if the request was accepted.
        stale: True if only the nonce was too old.
        fault: The violation of RFC 7616; empty if there is none.
    """

    right: bool
    stale: bool = False
    algorithm: str = ""
    fault: str = ""


def expected(login: Login, said: dict[str, str], algorithm: str, method: str, body: bytes) -> str:
    """Return the right response (section 3.4.1) for an algorithm such as ``SHA-256-sess``."""
    name = _ALGORITHMS[algorithm.removesuffix("-sess")]

    def digest(octets: bytes) -> str:
        return new(name, octets, usedforsecurity=False).hexdigest()

    def h(*parts: str) -> str:
        return digest(":".join(parts).encode())

    names = {
        "username*": f"UTF-8''{quote(login.user, safe='')}",
        "username": h(login.user, said["realm"]) if said.get("userhash") == "true" else login.user,
    }
    if not any(said.get(name, "").lower() == right.lower() for name, right in names.items()):
        return "nobody"
    a1 = h(login.user, said["realm"], login.password)
    if algorithm.endswith("-sess"):
        a1 = h(a1, said["nonce"], said["cnonce"])
    qop = said.get("qop", "")
    covered = [digest(body)] if qop == "auth-int" else []
    a2 = h(method, said["uri"], *covered)
    fresh = [said["nc"], said["cnonce"], qop] if qop else []
    return h(a1, said["nonce"], *fresh, a2)


class DigestProxy(LoopbackServer):
    """A running proxy."""

    def __init__(self, login: Login, demands: Demands) -> None:
        """Start the proxy."""
        self.demands = demands
        self._login = login
        self._state = Lock()
        self._counts: dict[str, list[int]] = {}
        self._verdicts: list[DigestVerdict] = []
        self._numbers = count(1)
        self._accepted = count()
        self._owners: dict[str, int] = {}
        super().__init__(self._converse)

    @property
    def url(self) -> str:
        """The URL of the proxy, as entered in a profile."""
        return f"http://{self.host}:{self.port}"

    @property
    def verdicts(self) -> list[DigestVerdict]:
        """The verdicts on all requests with credentials, oldest first."""
        with self._state:
            return list(self._verdicts)

    def failed_logons(self) -> int:
        """Return the number of rejected logins."""
        return sum(not verdict.right and not verdict.stale for verdict in self.verdicts)

    def describe(self) -> str:
        """Return the verdicts for the report of a failed test."""
        return "\n".join(map(str, self.verdicts))

    # --- One connection

    def _converse(self, connection: socket.socket) -> None:
        with self._state:
            machine = next(self._accepted) % self.demands.machines
        with Reader(connection) as reader:
            while head := reader.head():
                exchange = Exchange(connection, head, reader)
                # Digest may cover the content, which is therefore read before the response.
                body = b"".join(exchange.body())
                fields = self._judge(head, body, machine)
                if fields is None:
                    closing = [("Connection", "close")] if self.demands.closes else []
                    challenges = self._challenges(head, machine)
                    exchange.respond(407, b"sign in\n", [*challenges, *closing])
                    if closing:
                        return
                elif (origin := self._reach(head)) is None:
                    exchange.respond(502, b"not there\n", fields)
                elif head.method == "CONNECT":
                    self._tunnel(exchange, origin)
                    return
                else:
                    self._fetch(exchange, origin, body, fields)

    def _judge(self, head: ReceivedHead, body: bytes, machine: int) -> list[tuple[str, str]] | None:
        """Record the verdict on a request; return the fields for the response if it is accepted."""
        signed = head.value("proxy-authorization")
        if not signed:
            return None
        with self._state:
            verdict = self._look_at(signed, head, body, machine)
            self._verdicts.append(verdict)
            return self._announce(machine) if verdict.right else None

    def _look_at(self, signed: str, head: ReceivedHead, body: bytes, machine: int) -> DigestVerdict:
        scheme, _, rest = signed.partition(" ")
        said, fault = _read_parameters(rest)
        algorithm = said.get("algorithm", "MD5")
        if fault := fault or self._fault(scheme, said, head, machine):
            return DigestVerdict(False, algorithm=algorithm, fault=fault)
        if said["response"] != expected(self._login, said, algorithm, head.method, body):
            return DigestVerdict(False, algorithm=algorithm)
        is_stale = self._is_stale(said)
        return DigestVerdict(not is_stale, is_stale, algorithm)

    def _fault(self, scheme: str, said: dict[str, str], head: ReceivedHead, machine: int) -> str:
        """Return the violation of RFC 7616 in a request, for any user."""
        demands = self.demands
        qop = said.get("qop", "")
        rules = {
            "another scheme": scheme.lower() != "digest",
            "an algorithm that was not offered": said.get("algorithm", "MD5")
            not in demands.algorithms,
            "another realm": said.get("realm") != demands.realm,
            "another uri than the request's": said.get("uri") not in self._uris(head),
            "a qop that was not offered": qop not in demands.qop.split(",") and bool(demands.qop),
            "a qop though none was offered": bool(qop) and not demands.qop,
            "another opaque": said.get("opaque", "") != demands.opaque,
            "an unknown nonce": self._owners.get(said.get("nonce", "")) != machine,
            "no cnonce": bool(qop) and not said.get("cnonce"),
            "a count that is none": bool(qop)
            and not re.fullmatch("[0-9a-f]{8}", said.get("nc", "")),
            "both user names": "username" in said and "username*" in said,
            "a plain user name": demands.userhash and said.get("userhash") != "true",
            "a hashed user name": not demands.userhash and said.get("userhash") == "true",
        }
        return next((rule for rule, broken in rules.items() if broken), "")

    def _uris(self, head: ReceivedHead) -> set[str]:
        path = urlsplit(head.target).path if self.demands.any_uri else ""
        return {head.target, path or head.target}

    def _is_stale(self, said: dict[str, str]) -> bool:
        """Count the use of a nonce; return True if the nonce is stale."""
        counts = self._counts[said["nonce"]]
        number = int(said["nc"], 16) if "nc" in said else len(counts) + 1
        wrong = number in counts or (self.demands.strict and number != len(counts) + 1)
        counts.append(number)
        return wrong or (0 < self.demands.uses < len(counts))

    def _announce(self, machine: int) -> list[tuple[str, str]]:
        if not self.demands.announces:
            return []
        return [("Proxy-Authentication-Info", f'nextnonce="{self._new_nonce(machine)}"')]

    def _new_nonce(self, machine: int) -> str:
        # Unique, with characters that require quotes.
        nonce = f"{next(self._numbers)}/{token_hex(8)}=="
        self._counts[nonce] = []
        self._owners[nonce] = machine
        return nonce

    def _challenges(self, head: ReceivedHead, machine: int) -> Iterator[tuple[str, str]]:
        with self._state:
            verdict = self._verdicts[-1] if head.value("proxy-authorization") else None
            nonce = self._new_nonce(machine)
        for algorithm in self.demands.algorithms:
            said = [f"realm={_quoted(self.demands.realm)}", f'nonce="{nonce}"']
            said += [f'qop="{self.demands.qop}"'] if self.demands.qop else []
            said += [f"algorithm={algorithm}"] if algorithm != "MD5" else []
            said += [f"opaque={_quoted(self.demands.opaque)}"] if self.demands.opaque else []
            said += ['charset="UTF-8"'] if self.demands.utf8 else []
            said += ["userhash=true"] if self.demands.userhash else []
            said += ["stale=true"] if verdict and verdict.stale else []
            yield "Proxy-Authenticate", "Digest " + ", ".join(said)

    # --- Accepted requests

    def _reach(self, head: ReceivedHead) -> socket.socket | None:
        """Connect to an origin; all host names mean this computer."""
        where = head.target if head.method == "CONNECT" else urlsplit(head.target).netloc
        try:
            return socket.create_connection(
                (self.host, urlsplit(f"//{where}").port or 80), PATIENCE
            )
        except OSError:
            return None

    def _fetch(
        self, exchange: Exchange, origin: socket.socket, body: bytes, fields: list[tuple[str, str]]
    ) -> None:
        head = exchange.head
        parts = urlsplit(head.target)
        lines = [f"{head.method} {parts.path or '/'} HTTP/1.1", f"Host: {parts.netloc}"]
        lines += [f"Content-Length: {len(body)}", "Connection: close"]
        with origin:
            origin.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body)
            answer = b""
            while octets := origin.recv(1 << 16):
                answer += octets
        said, _, content = answer.partition(b"\r\n\r\n")
        exchange.respond(int(said.split(b" ", 2)[1]), content, fields)

    def _tunnel(self, exchange: Exchange, origin: socket.socket) -> None:
        with origin:
            exchange.connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            relay(exchange.connection, origin)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _read_parameters(text: str) -> tuple[dict[str, str], str]:
    """Return the parameters, and the violation of their syntax (sections 3.4 and 3.5)."""
    said: dict[str, str] = {}
    at = 0
    while match := _PARAMETER.match(text, at):
        name, quoted, token = match[1].lower(), match[2], match[3]
        if name in said:
            return said, f"{name} twice"
        if name in (_MUST_BE_QUOTED if token is not None else _MUST_NOT):
            return said, f"{name} with wrong quotes"
        said[name] = token if token is not None else re.sub(r"\\(.)", r"\1", quoted)
        at = match.end()
    missing = {"realm", "nonce", "uri", "response"} - said.keys()
    return said, f"no {missing}" if missing else "" if at == len(text) else "cannot be read"
