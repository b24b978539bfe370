"""Tests for trayproxy.importers.px."""

import pytest

from tests.importers.examples import SECRET, only, sample
from trayproxy.importers import px
from trayproxy.importers.found import Found, Place, SecretForm, UnreadableSourceError
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import Method, SignIn, Upstream


def parse(text: str, environ: dict[str, str] | None = None, *, windows: bool = False) -> Found:
    return px.parse(SourceText("px.ini", text), environ or {}, has_own_sign_in=windows)


def with_values(**values: str) -> str:
    """Return Px's own sample with values filled in."""
    text = sample("px.ini").text
    for key, value in values.items():
        before = next(line for line in text.splitlines() if line.startswith(f"{key} ="))
        text = text.replace(f"\n{before}\n", f"\n{key} = {value}\n", 1)
    return text


def test_the_sample_of_px_names_no_proxy() -> None:
    found = parse(sample("px.ini").text)
    assert found.profiles == ()
    assert found.notes == (
        "px.ini names no proxy and no PAC file: Px uses those of the system settings.",
    )


def test_the_settings_of_px_make_a_profile() -> None:
    text = with_values(
        server="proxy1.corp.example:8080, proxy2.corp.example",
        port="3130",
        noproxy="127.0.0.1, 10.*.*.*, 192.168.0.1-192.168.0.3, corp.example, <local>",
        username="CORP\\jdoe",
        auth="NTLM",
    )
    profile = only(parse(text))
    assert profile.upstreams == (
        Upstream("proxy1.corp.example", 8080),
        Upstream("proxy2.corp.example", 80),
    )
    assert (profile.user, profile.method, profile.sign_in) == (
        "CORP\\jdoe",
        Method.NTLM,
        SignIn.PASSWORD,
    )
    assert profile.bypass == (
        *("127.0.0.1", "10.*.*.*", "192.168.0.1/32", "192.168.0.2/31"),
        *("corp.example", "*.corp.example", "<local>"),
    )
    assert profile.listens_at == "127.0.0.1:3130"
    assert profile.password is not None
    assert (profile.password.form, profile.password.place) == (SecretForm.KEYRING, Place("Px"))
    assert profile.notes == ()


@pytest.mark.parametrize(
    ("auth", "method", "sign_in", "note"),
    [
        ("", Method.AUTOMATIC, SignIn.PASSWORD, ""),
        ("ANYSAFE", Method.AUTOMATIC, SignIn.PASSWORD, ""),
        ("ONLYNEGOTIATE", Method.NEGOTIATE, SignIn.PASSWORD, ""),
        ("basic", Method.BASIC, SignIn.PASSWORD, ""),
        ("NONE", Method.AUTOMATIC, SignIn.NONE, ""),
        (
            *("SAFENONTLM", Method.AUTOMATIC, SignIn.PASSWORD),
            "The sign-in method “SAFENONTLM” has no equivalent.",
        ),
    ],
)
def test_the_method_of_px(auth: str, method: Method, sign_in: SignIn, note: str) -> None:
    profile = only(parse(with_values(server="p.example:1", auth=auth, username="u")))
    assert (profile.method, profile.sign_in) == (method, sign_in)
    assert profile.notes == ((note,) if note else ())


@pytest.mark.parametrize(
    ("user", "windows", "expected"),
    [("", True, SignIn.SSO), ("", False, SignIn.PASSWORD), ("CORP\\u", True, SignIn.PASSWORD)],
)
def test_without_a_user_name_px_signs_in_with_the_log_on_to_windows(
    user: str, windows: bool, expected: SignIn
) -> None:
    text = with_values(server="p.example:1", username=user)
    assert only(parse(text, windows=windows)).sign_in is expected


def test_a_pac_script_is_used_only_without_servers() -> None:
    pac = only(parse(with_values(pac="http://pac.example/x.pac"))).pac
    assert str(pac) == "http://pac.example/x.pac"
    text = with_values(pac="http://pac.example/x.pac", server="p.example:1")
    assert only(parse(text)).pac is None


def test_variables_override_the_file() -> None:
    environ = {"PX_SERVER": "other.example:2", "PX_USERNAME": "me", "PX_PASSWORD": SECRET}
    profile = only(parse(with_values(server="p.example:1"), environ))
    assert profile.upstreams == (Upstream("other.example", 2),)
    assert profile.password is not None
    assert profile.password.secret == SECRET
    assert str(profile.password.place) == "the variable PX_PASSWORD"
    assert SECRET not in repr(profile)


def test_a_password_that_was_added_to_the_file_is_found_with_its_line() -> None:
    text = f"[proxy]\nserver = p.example:1\nusername = CORP\\jdoe\npassword = a%%b{SECRET}\n"
    password = only(parse(text)).password
    assert password is not None
    assert (password.form, password.secret) == (SecretForm.CLEAR, f"a%b{SECRET}")
    assert str(password.place) == "px.ini, line 4"


def test_settings_without_an_equivalent_are_told() -> None:
    text = with_values(server="p.example:1", gateway="1", useragent="x", client_auth="NTLM")
    assert only(parse(text)).notes == (
        "Px lets other computers connect. TrayProxy accepts programs of this computer only.",
        "Its setting “useragent” is not carried over.",
        "Its setting “client_auth” is not carried over.",
    )


def test_a_command_line_has_the_same_settings() -> None:
    words = ("--proxy=p.example:8080", "--username=CORP\\jdoe", "--port=4000", "--foreground")
    place = Place("the command line of px")
    profile = only(px.from_arguments(words, place, {}, has_own_sign_in=False))
    assert profile.upstreams == (Upstream("p.example", 8080),)
    assert (profile.user, profile.listens_at) == ("CORP\\jdoe", "127.0.0.1:4000")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("server = p:1\n", "line 1: there is no section before it"),
        ("[proxy]\nserver = a:1\nserver = b:1\n", "is set twice in the section [proxy]"),
        ("[proxy]\nnonsense\n", "line 2: this is neither a section nor a setting"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(UnreadableSourceError, match=r"px\.ini") as refused:
        parse(text)
    assert reason in refused.value.reason


def test_an_address_that_is_none_is_left_out_with_the_reason() -> None:
    profile = only(parse(with_values(server="not a host:1, p.example:99999, p.example:8080")))
    assert profile.upstreams == (Upstream("p.example", 8080),)
    assert profile.notes == (
        "Proxy 1 of its list was left out: This is not the name of a computer; write one such as "
        "proxy.example:8080.",
        "Proxy 2 of its list was left out: The port is a number from 1 to 65535.",
    )
