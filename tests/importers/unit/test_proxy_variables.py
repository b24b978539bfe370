"""Tests for trayproxy.importers.proxy_variables and .assignments."""

import pytest

from tests.importers.examples import SECRET, only
from trayproxy.importers.assignments import assignments
from trayproxy.importers.found import Place, UnreadableSourceError
from trayproxy.importers.proxy_variables import from_environment, parse_git_config, parse_npmrc
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import Method, ProxyScheme, Upstream

PROXY = Upstream("proxy.corp.example", 8080)


def test_a_variable_makes_a_profile_with_its_login() -> None:
    environ = {
        "https_proxy": f"http://us%40er:p%3A{SECRET}@proxy.corp.example:8080/",
        "no_proxy": "localhost,127.0.0.1,.corp.example,intranet,10.0.0.0/8,host:81,*",
    }
    profile = only(from_environment(environ, {"https_proxy": Place("~/.profile", 3)}))
    assert (profile.upstreams, profile.user) == ((PROXY,), "us@er")
    assert profile.password is not None
    assert profile.password.secret == f"p:{SECRET}"
    assert str(profile.password.place) == "~/.profile, line 3"
    assert profile.bypass == (
        *("localhost", "*.localhost", "127.0.0.1", "corp.example", "*.corp.example"),
        *("intranet", "*.intranet", "10.0.0.0/8", "host:81", "*.host:81"),
    )
    assert profile.notes == ("Entries without a proxy that have no equivalent: “*”.",)


@pytest.mark.parametrize(
    ("url", "user", "password"),
    [
        ("http://user:p@ss@proxy.corp.example:8080", "user", "p@ss"),
        ("http://user:p:ss@proxy.corp.example:8080", "user", "p:ss"),
        ("user:p/s?s@proxy.corp.example:8080", "user", "p/s?s"),
        ("http://CORP%5Cuser@proxy.corp.example:8080", "CORP\\user", ""),
        ("proxy.corp.example:8080", "", ""),
    ],
)
def test_the_login_of_a_url(url: str, user: str, password: str) -> None:
    profile = only(from_environment({"http_proxy": url}, {}))
    assert (profile.upstreams, profile.user) == ((PROXY,), user)
    assert (profile.password.secret if profile.password else "") == password


def test_each_proxy_makes_one_profile_and_each_password_is_told() -> None:
    url = f"http://u:{SECRET}@proxy.corp.example:8080"
    environ = {
        "HTTPS_PROXY": url,
        "http_proxy": url,
        "HTTP_PROXY": "http://proxy.corp.example:8080",
        "all_proxy": "socks5h://socks.example:1080",
    }
    found = from_environment(environ, {})
    assert [each.upstreams for each in found.profiles] == [
        (PROXY,),
        (Upstream("socks.example", 1080, ProxyScheme.SOCKS5),),
    ]
    assert [each.key for each in found.passwords] == ["http_proxy"]


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (f"http://u:{SECRET}@proxy", "Add the port"),
        (f"socks4://u:{SECRET}@proxy:1", "by http, https or socks5"),
        (f"http://u:{SECRET}@:8080", "This is not the name of a computer"),
        (f"http://u:{SECRET}@[::1:8080", "brackets"),
    ],
)
def test_an_invalid_address_is_left_out_without_its_password(value: str, why: str) -> None:
    found = from_environment({"https_proxy": value}, {})
    assert found.profiles == ()
    [note] = found.notes
    assert note.startswith("the variable https_proxy: https_proxy was left out. ")
    assert why in note
    assert SECRET not in note


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("export https_proxy=http://p:1", "http://p:1"),
        ("  https_proxy='http://p:1' # home", "http://p:1"),
        ('https_proxy="http://p:1"; export https_proxy', "http://p:1"),
        ("set -gx https_proxy http://p:1", "http://p:1"),
        ("set -x --global https_proxy 'http://p:1'", "http://p:1"),
        ("set " + "--a " * 1000 + ";", None),
        ('$env:https_proxy = "http://p:1"', "http://p:1"),
        ("set https_proxy=http://p:1", "http://p:1"),
        ("https_proxy=", ""),
        ("https_proxy='not closed", "not closed"),
        ("# https_proxy=x", None),
        ("echo https_proxy=x", None),
    ],
)
def test_assignments_in_start_files(line: str, value: str | None) -> None:
    found = list(assignments(SourceText(".profile", f"# one\n{line}\n")))
    expected = [] if value is None else [("https_proxy", value, ".profile, line 2")]
    assert [(each.name, each.value, str(each.place)) for each in found] == expected


def test_npm() -> None:
    text = (
        "registry=https://registry.example/\n"
        f"https-proxy = http://${{WHO}}:{SECRET}@proxy.corp.example:8080/\n"
        "proxy=http://proxy.corp.example\nnoproxy[]=x\nnoproxy=localhost\n"
    )
    first, second = parse_npmrc(SourceText(".npmrc", text), {"WHO": "jdoe"}).profiles
    assert (first.upstreams, first.user) == ((PROXY,), "jdoe")
    assert first.password is not None
    assert (first.password.secret, str(first.password.place)) == (SECRET, ".npmrc, line 2")
    assert second.upstreams == (Upstream("proxy.corp.example", 80),)
    assert first.bypass == ("localhost", "*.localhost")
    assert parse_npmrc(SourceText(".npmrc", "proxy=null\n"), {}).profiles == ()


def test_git() -> None:
    text = (
        "[user]\n\tname = J\n[http]\n"
        f"\tproxy = http://jdoe:{SECRET}@proxy.corp.example\n\tproxyAuthMethod = basic\n"
    )
    profile = only(parse_git_config(SourceText(".gitconfig", text)))
    assert profile.upstreams == (Upstream("proxy.corp.example", 1080),)
    assert (profile.user, profile.method) == ("jdoe", Method.BASIC)
    assert profile.password is not None
    assert str(profile.password.place) == ".gitconfig, line 4"
    assert parse_git_config(SourceText(".gitconfig", "[http]\n\tproxy =\n")).profiles == ()


def test_an_invalid_file_is_refused_with_its_line() -> None:
    with pytest.raises(UnreadableSourceError, match="line 1: this is neither a section"):
        parse_git_config(SourceText(".gitconfig", "{}\n"))
