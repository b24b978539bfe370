"""The PAC file as a JavaScript engine runs it, compared with the bypass rules of the engine."""

import json
import subprocess

import pytest

from trayproxy.profiles.host_pattern import Host, HostPattern
from trayproxy.service.system_proxy.bypass_rules import bypass_rules
from trayproxy.service.system_proxy.pac_file import pac_file

# The functions of a PAC file's surroundings, as Mozilla documents them.
SURROUNDINGS = r"""
function isPlainHostName(host) { return host.indexOf(".") < 0; }
function shExpMatch(text, pattern) {
  var escaped = pattern.replace(/[.+^${}()|[\]\\]/g, "\\$&");
  return new RegExp("^" + escaped.replace(/\*/g, ".*").replace(/\?/g, ".") + "$").test(text);
}
function number(address) {
  return address.split(".").reduce(function (sum, part) { return sum * 256 + Number(part); }, 0);
}
function isInNet(host, network, mask) {
  return ((number(host) & number(mask)) >>> 0) === ((number(network) & number(mask)) >>> 0);
}
function dnsResolve() { throw new Error("the PAC file must not resolve names"); }
"""
RULES = (
    "intranet",
    ".corp.example",
    "dev-*.test.example",
    "10.0.0.0/8",
    "192.168.1.7",
    "<local>",
    "Bücher.example",
    "with-port.example:8080",
    "fd00::/8",
)
HOSTS = (
    "intranet",
    "INTRANET",
    "intranet.",
    "other",
    "intranet.example",
    "corp.example",
    "www.corp.example",
    "a.b.corp.example",
    "evilcorp.example",
    "dev-1.test.example",
    "dev-.x.test.example",
    "test.example",
    "10.1.2.3",
    "11.1.2.3",
    "192.168.1.7",
    "192.168.1.70",
    "xn--bcher-kva.example",
    "10.example",
)


def proxies_for(text: str, hosts: tuple[str, ...]) -> dict[str, str]:
    """Return what the PAC file answers for http URLs of these hosts, as Node.js runs it."""
    call = f"{json.dumps(hosts)}.map(h => FindProxyForURL('http://' + h + '/', h))"
    script = f"{SURROUNDINGS}\n{text}\nconsole.log(JSON.stringify({call}))"
    run = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    return dict(zip(hosts, json.loads(run.stdout), strict=True))


def test_the_hosts_of_the_bypass_rules_are_direct() -> None:
    patterns = [HostPattern.parse(rule) for rule in RULES]
    found = proxies_for(pac_file("127.0.0.1", 3128, bypass_rules(RULES)), HOSTS)
    expected = {
        host: "DIRECT"
        if any(pattern.matches(Host.parse(host), 80) for pattern in patterns)
        else "PROXY 127.0.0.1:3128; DIRECT"
        for host in HOSTS
    }
    assert found == expected


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_loopback_is_always_direct(host: str) -> None:
    assert proxies_for(pac_file("127.0.0.1", 3128, ()), (host,)) == {host: "DIRECT"}


def test_an_ipv6_address_gets_brackets() -> None:
    found = proxies_for(pac_file("::1", 3128, ()), ("www.example",))
    assert found == {"www.example": "PROXY [::1]:3128; DIRECT"}


@pytest.mark.parametrize("rule", ["with-port.example:8080", "fd00::/8"])
def test_rules_that_pac_cannot_express_go_through_trayproxy(rule: str) -> None:
    text = pac_file("127.0.0.1", 3128, bypass_rules((rule,)))
    assert text == pac_file("127.0.0.1", 3128, ())
