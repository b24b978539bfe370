"""Whole scripts: those of other test suites in the same spirit, and scripts that do harm."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pac.scripts import run
from trayproxy.pac.evaluation import PROBLEM_ID, FailureKind

NETSCAPE_EXAMPLE = """
function FindProxyForURL(url, host) {
  if ((isPlainHostName(host) || dnsDomainIs(host, ".netscape.com")) &&
      !localHostOrDomainIs(host, "www.netscape.com") &&
      !localHostOrDomainIs(host, "merchant.netscape.com"))
    return "DIRECT";
  return "PROXY w3proxy.netscape.com:8080; DIRECT";
}
"""
BY_SCHEME = """
function FindProxyForURL(url, host) {
  if (url.substring(0, 5) == "http:") return "PROXY http-proxy.mydomain.com:8080";
  if (url.substring(0, 4) == "ftp:") return "PROXY ftp-proxy.mydomain.com:8080";
  if (url.substring(0, 6) == "https:") return "PROXY security-proxy.mydomain.com:8080";
  return "DIRECT";
}
"""
SUBNETS = """
function FindProxyForURL(url, host) {
  if (inAny(host, ["10.1.2.0", "10.1.3.0"], "255.255.255.0")) return "HTTPS proxy.example.com";
  return "DIRECT";
}
function inAny(host, subnets, mask) {
  for (i = 0; i < subnets.length; i++) if (isInNet(host, subnets[i], mask)) return true;
}
"""
PACPARSER = """
function FindProxyForURL(url, host) {
  if ((isPlainHostName(host) || dnsDomainIs(host, ".manugarg.com")) &&
      !localHostOrDomainIs(host, "www.manugarg.com")) return "plainhost/.manugarg.com";
  if (/'/.test(url)) return "URLHasQuotes";
  if (/.*\\.externaldomain\\.com/.test(host)) return "externaldomain";
  if (dnsDomainIs(host, ".google.com") && isResolvable(host)) return "isResolvable";
  if (dnsDomainIs(host, ".notresolvabledomainXXX.com") && !isResolvable(host))
    return "isNotResolvable";
  if (/^https:/.test(url)) return "secureUrl";
  if (isInNet(myIpAddress(), "10.10.0.0", "255.255.0.0")) return "10.10.0.0";
  // pacparser's own script has the invalid prefix 3ffe:8311:ffff/48, which pacparser accepts.
  if (isInNetEx(myIpAddressEx(), "3ffe:8311:ffff::/48")) return "3ffe:8311:ffff";
  return "END-OF-SCRIPT";
}
"""
NAMES = {"www.google.com": ("192.0.2.1",)}


@pytest.mark.parametrize(
    ("script", "url", "answer"),
    [
        # The examples of Netscape's definition, as in the tests of pac-resolver.
        (NETSCAPE_EXAMPLE, "http://localhost/hello", "DIRECT"),
        (NETSCAPE_EXAMPLE, "http://foo.netscape.com/", "DIRECT"),
        (NETSCAPE_EXAMPLE, "http://www.netscape.com/", "PROXY w3proxy.netscape.com:8080; DIRECT"),
        (NETSCAPE_EXAMPLE, "http://google.com/t", "PROXY w3proxy.netscape.com:8080; DIRECT"),
        (BY_SCHEME, "http://netscape.com/hello", "PROXY http-proxy.mydomain.com:8080"),
        (BY_SCHEME, "ftp://netscape.com/hello", "PROXY ftp-proxy.mydomain.com:8080"),
        (BY_SCHEME, "https://netscape.com/", "PROXY security-proxy.mydomain.com:8080"),
        (BY_SCHEME, "foo://netscape.com/hello", "DIRECT"),
        (SUBNETS, "http://10.1.2.3/bar.html", "HTTPS proxy.example.com"),
        (SUBNETS, "http://foo.com/bar.html", "DIRECT"),
        # pacparser's testdata.
        (PACPARSER, "http://host1", "plainhost/.manugarg.com"),
        (PACPARSER, "http://www1.manugarg.com", "plainhost/.manugarg.com"),
        (PACPARSER, "http://www.manugarg.org/test'o'rama", "URLHasQuotes"),
        (PACPARSER, "http://manugarg.externaldomain.com", "externaldomain"),
        (PACPARSER, "http://www.google.com", "isResolvable"),
        (PACPARSER, "http://www.notresolvabledomainXXX.com", "isNotResolvable"),
        (PACPARSER, "https://www.somehost.com", "secureUrl"),
        (PACPARSER, "http://www.somehost.com", "END-OF-SCRIPT"),
    ],
)
def test_a_script_gives_the_answer_of_the_other_suite(script: str, url: str, answer: str) -> None:
    result = run(script, url, names=NAMES)

    assert result.failure is None
    assert result.answer == answer


@pytest.mark.parametrize(
    ("own", "answer"),
    [
        (("10.10.100.112",), "10.10.0.0"),
        (("0.0.0.0",), "END-OF-SCRIPT"),
        (("3ffe:8311:ffff:1:0:0:0:0",), "3ffe:8311:ffff"),
    ],
)
def test_the_addresses_of_this_computer_decide_as_in_pacparser(
    own: tuple[str, ...], answer: str
) -> None:
    assert run(PACPARSER, "http://www.somehost.com", own=own).answer == answer


@pytest.mark.parametrize(
    ("script", "answer"),
    [
        # Chromium: a comment or a statement without a line end.
        ("function FindProxyForURL() { return 'PROXY a:80'; } // the end", "PROXY a:80"),
        ('f = function () { return "PROXY p:3" }\nFindProxyForURL = f', "PROXY p:3"),
        # Chromium and Mozilla: functions called while the script is loaded.
        ("var x = myIpAddress(); function FindProxyForURL() { return x; }", "10.1.2.3"),
        # Chromium fails for null. Netscape: "If the string is null, no proxies should be used."
        ("function FindProxyForURL() { return null; }", ""),
        ("function FindProxyForURL() { return ''; }", ""),
        # Microsoft: the function with Ex is used if there is one.
        (
            "function FindProxyForURL() { return 'PROXY a:1'; }"
            "function FindProxyForURLEx() { return 'PROXY b:1'; }",
            "PROXY b:1",
        ),
        ("function FindProxyForURL() { return typeof WebAssembly; }", "undefined"),
        ("function FindProxyForURL() { return typeof process; }", "undefined"),
        ("function FindProxyForURL() { return typeof require; }", "undefined"),
        # Scripts may replace the functions of the library and of the language.
        ("function isPlainHostName() { return 'own'; }\nfunction FindProxyForURL(u, h) "
         "{ return isPlainHostName(h); }", "own"),
        ("JSON = null; function FindProxyForURL() { return 'PROXY a:1'; }", "PROXY a:1"),
        ("'use strict'; function FindProxyForURL() { var e = new Error(); e.name = 'Own';"
         "return e.name; }", "Own"),
        ("\ufeffvar a = 'PROXY ü:1'; function FindProxyForURL() { return a; }", "PROXY ü:1"),
        ("const list = ['PROXY a:1']; function FindProxyForURL() { return list[0]; }", "PROXY a:1"),
        ("function FindProxyForURL() { return 'PROXY \\ud800'; }", "PROXY \ud800"),
    ],
)  # fmt: skip
def test_a_script_may_be_written_in_many_ways(script: str, answer: str) -> None:
    result = run(script)

    assert result.failure is None
    assert result.answer == answer


FIND = "function FindProxyForURL(url, host) {\n%s\n}"


@pytest.mark.parametrize(
    ("script", "kind", "line", "reason"),
    [
        ("<!DOCTYPE html>\n<title>Sign in</title>", FailureKind.WEB_PAGE, None, "web page"),
        ("\n  <html>", FailureKind.WEB_PAGE, None, "web page"),
        ("", FailureKind.NO_FUNCTION, None, "FindProxyForURL"),
        ("var FindProxyForURL = 1;", FailureKind.NO_FUNCTION, None, "FindProxyForURL"),
        ("this is not javascript {{{{", FailureKind.SYNTAX, 1, "line 1"),
        ("\nfor(;\n", FailureKind.SYNTAX, 3, "end"),
        ("// one\n/* two */ var x = ;", FailureKind.SYNTAX, 2, "';'"),
        ("function f() {\n\n  return 1;\n", FailureKind.SYNTAX, 4, "end"),
        ("var a = 1;\0", FailureKind.SYNTAX, 1, "syntax"),
        ("\n\nundefined_name;", FailureKind.EXCEPTION, 3, "undefined_name is not defined"),
        (FIND % "return undefined_variable;", FailureKind.EXCEPTION, 2, "not defined"),
        (FIND % "var x = null;\nreturn x.split('-');", FailureKind.EXCEPTION, 3, "split"),
        (FIND % "return isPlainHostName();", FailureKind.EXCEPTION, 2, "string parameter"),
        (FIND % "throw 'crash\\nbang';", FailureKind.EXCEPTION, None, "crash bang"),
        (FIND % "throw {toString() { throw 1; }};", FailureKind.EXCEPTION, None, "without a text"),
        # Chromium: reading the function throws.
        (
            "Object.defineProperty(this, 'FindProxyForURL', {get() { throw 'crash!'; }});",
            FailureKind.EXCEPTION, None, "crash!",
        ),
        ("process.exit(1)", FailureKind.EXCEPTION, 1, "process is not defined"),
        (FIND % "", FailureKind.NO_TEXT, None, "returns nothing"),
        (FIND % "return 5;", FailureKind.NO_TEXT, None, "number"),
        (FIND % "return {foo: 'bar'};", FailureKind.NO_TEXT, None, "object"),
        (FIND % "return FindProxyForURL;", FailureKind.NO_TEXT, None, "function"),
        (FIND % "return FindProxyForURL();", FailureKind.RECURSION, None, "calls itself"),
        (FIND % "for (var a = [];;) a.push({});", FailureKind.MEMORY_LIMIT, None, "32 MB"),
        (FIND % "return 'a'.repeat(5e6).split('');", FailureKind.MEMORY_LIMIT, None, "32 MB"),
    ],
)  # fmt: skip
def test_a_script_that_fails_is_explained(
    script: str, kind: FailureKind, line: int | None, reason: str
) -> None:
    result = run(script)

    assert result.answer is None
    assert result.failure is not None
    assert (result.failure.kind, result.failure.line) == (kind, line)
    assert reason in result.failure.reason
    problem = result.failure.problem("http://pac.example/proxy.pac")
    assert problem.id == PROBLEM_ID
    assert "http://pac.example/proxy.pac" in problem.body


@pytest.mark.parametrize(
    "script",
    [
        "for (;;) {}",
        FIND % "for (;;) try { for (;;); } catch (e) {}",
        FIND % "return /^(a+)+$/.test('a'.repeat(40) + 'b') + '';",
        # The engine reports an exception without a time limit.
        "Error.prototype.toString = function() { for (;;); }; throw {get stack() { for (;;); }};",
        "Object.prototype[Symbol.toPrimitive] = Object.prototype.toJSON = function() { for (;;); };"
        "InternalError.prototype.toString = function() { for (;;); }; for (;;);",
    ],
)
def test_an_endless_script_is_stopped(script: str) -> None:
    result = run(script, limit_s=0.2)

    assert result.failure is not None
    assert result.failure.kind is FailureKind.TIME_LIMIT


def test_a_long_text_of_a_script_is_shortened() -> None:
    result = run(
        FIND % "for (var i = 0; i < 100; i++) alert('x'.repeat(1e6)); throw 'y'.repeat(1e6);"
    )

    assert result.failure is not None
    assert len(result.failure.reason) < 300
    assert len(result.alerts) == 20
    assert all(len(alert) <= 200 for alert in result.alerts)


def test_alerts_are_texts_as_in_chromium() -> None:
    calls = "alert(); alert(null); alert({foo: 'bar'}); alert('a\\nb'); return 'DIRECT';"

    assert run(FIND % calls).alerts == ("undefined", "null", "[object Object]", "a b")


FRAGMENTS = (
    "function FindProxyForURL(){", "return", "'PROXY a:1'", "dnsResolve('a')", "throw", "null",
    "=>", "(", ")", "{", "}", ";", "/", "`", "//",
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=50) | st.lists(st.sampled_from(FRAGMENTS), max_size=12).map(" ".join))
def test_any_text_gives_an_answer_or_a_failure(script: str) -> None:
    result = run(script)

    assert (result.answer is None) != (result.failure is None)


def test_garbage_of_a_megabyte_is_a_syntax_error() -> None:
    result = run("\x01\x02 garbage " * 90_000)

    assert result.failure is not None
    assert result.failure.kind is FailureKind.SYNTAX
