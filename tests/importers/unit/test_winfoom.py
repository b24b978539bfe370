"""Tests for trayproxy.importers.winfoom."""

from base64 import b64encode

import pytest

from tests.importers.examples import SECRET, only
from trayproxy.importers import winfoom
from trayproxy.importers.found import Found, SecretForm, UnreadableSourceError
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import Method, ProxyScheme, SignIn, Upstream

ENCODED = f"encoded({b64encode(SECRET.encode()).decode()})"
PROPERTIES = f"""\
app.version = 5.0.0
api.port = 9999
proxy.type = HTTP
proxy.http.host = 192.168.0.105
proxy.http.port = 80
local.port = 3129
proxy.test.url = http\\://example.com
proxy.http.username = DOMAIN\\\\winfoom
proxy.http.win.useCurrentCredentials = false
proxy.http.password = {ENCODED}
proxy.socks5.host = socks.example
proxy.socks5.port = 1080
proxy.socks5.username = sue
proxy.socks5.password = {ENCODED}
proxy.pac.fileLocation = C:\\\\path_to\\\\proxy.pac
http.auth.protocol = NTLM
"""


def properties(text: str, *, windows: bool = False) -> Found:
    return winfoom.parse_properties(SourceText("w", text), has_own_sign_in=windows)


def json(text: str, *, windows: bool = False) -> Found:
    return winfoom.parse_json(SourceText("w", text), has_own_sign_in=windows)


def test_the_settings_of_winfoom_make_a_profile() -> None:
    found = properties(PROPERTIES)
    profile = only(found)
    assert profile.upstreams == (Upstream("192.168.0.105", 80),)
    assert (profile.user, profile.method) == ("DOMAIN\\winfoom", Method.NTLM)
    assert profile.listens_at == "127.0.0.1:3129"
    assert profile.password is not None
    assert (profile.password.form, profile.password.secret) == (SecretForm.BASE64, SECRET)
    assert profile.password.place.line == 10
    # The password of another kind of proxy is told.
    assert [each.place.line for each in found.passwords] == [14]
    assert SECRET not in repr(found)


def test_the_kind_decides_which_proxy_is_used() -> None:
    socks = only(properties(PROPERTIES.replace("= HTTP", "= SOCKS5")))
    assert socks.upstreams == (Upstream("socks.example", 1080, ProxyScheme.SOCKS5),)
    assert (socks.user, socks.method) == ("sue", Method.AUTOMATIC)
    pac = only(properties(PROPERTIES.replace("= HTTP", "= PAC")))
    assert (str(pac.pac), pac.upstreams) == ("C:\\path_to\\proxy.pac", ())


@pytest.mark.parametrize(
    ("kind", "note"),
    [
        ("SOCKS4", "w: Winfoom uses SOCKS4, which makes no profile."),
        ("DIRECT", "w: Winfoom connects directly, which makes no profile."),
    ],
)
def test_other_kinds_make_no_profile(kind: str, note: str) -> None:
    found = properties(PROPERTIES.replace("= HTTP", f"= {kind}"))
    assert (found.profiles, found.notes) == ((), (note,))


@pytest.mark.parametrize(
    ("windows", "own", "sign_in"),
    [
        (True, "true", SignIn.SSO),
        (True, "false", SignIn.PASSWORD),
        (False, "true", SignIn.PASSWORD),
    ],
)
def test_on_windows_winfoom_signs_in_with_the_log_on(
    windows: bool, own: str, sign_in: SignIn
) -> None:
    text = '{"proxyType": "HTTP", "proxyHost": "p", "proxyPort": 80, "useCurrentCredentials": %s}'
    assert only(json(text % own, windows=windows)).sign_in is sign_in


def test_the_output_of_foomcli_is_read() -> None:
    text = (
        '{\n  "proxyType" : "HTTP",\n  "proxyHost" : "192.168.0.105",\n  "proxyPort" : 80,\n'
        '  "proxyUsername" : "user",\n  "proxyPassword" : "%s",\n  "localPort" : 3130,\n'
        '  "useCurrentCredentials" : false,\n  "httpAuthProtocol" : "BASIC"\n}\n'
    )
    profile = only(json(text % SECRET))
    assert (profile.user, profile.method) == ("user", Method.BASIC)
    assert profile.password is not None
    assert (profile.password.secret, profile.password.place.line) == (SECRET, 6)
    assert only(json(text % "***")).password is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "it is not JSON"),
        ("[1]", "it is not a JSON object"),
        ('{"a":' * 100_000, "it is nested too deeply, or has too long a number"),
        (f'{{"a": {"9" * 5000}}}', "it is nested too deeply, or has too long a number"),
    ],
)
def test_invalid_json_is_refused(text: str, reason: str) -> None:
    with pytest.raises(UnreadableSourceError) as refused:
        json(text)
    assert refused.value.reason == reason


def test_an_invalid_password_is_none() -> None:
    assert only(properties(PROPERTIES.replace(ENCODED, "encoded(***)"))).password is None
