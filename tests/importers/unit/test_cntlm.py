"""Tests for trayproxy.importers.cntlm."""

import pytest

from tests.importers.examples import SECRET, only, sample
from trayproxy.importers import cntlm
from trayproxy.importers.found import SecretForm
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import Method, SignIn, Upstream


def test_the_settings_of_cntlm_make_a_profile() -> None:
    found = cntlm.parse(sample("cntlm.conf"))
    profile = only(found)
    assert profile.upstreams == (Upstream("10.0.0.41", 8080), Upstream("10.0.0.42", 8080))
    assert (profile.user, profile.method) == ("corp-uk\\testuser", Method.NTLM)
    assert profile.bypass == ("localhost", "127.0.0.*", "10.*", "192.168.*")
    assert profile.listens_at == "127.0.0.1:3129"
    assert profile.password is not None
    assert profile.password.secret == "pass #1 word"
    assert str(profile.password.place) == "cntlm.conf, line 7"
    assert profile.notes == (
        "Cntlm lets other computers connect. TrayProxy accepts programs of this computer only.",
        "Its settings Header, Tunnel, Allow, Deny are not carried over.",
    )


def test_hashes_are_told_and_not_used() -> None:
    found = cntlm.parse(sample("cntlm.conf"))
    assert {(each.form, each.key, each.place.line, each.secret) for each in found.passwords} == {
        (SecretForm.HASH, "PassNTLMv2", 11, ""),
        (SecretForm.HASH, "PassNT", 9, ""),
        (SecretForm.HASH, "PassLM", 8, ""),
    }
    text = "Proxy p:1\nUsername u\nPassNTLMv2 D5826E9C665C37C80B53397D5C07BBCB\n"
    profile = only(cntlm.parse(SourceText("c", text)))
    assert profile.password is None
    assert profile.notes == (
        "Cntlm keeps only a hash of the password. TrayProxy asks for the password.",
    )


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("Password plain", "plain"),
        ("  password\t plain  # a comment", "plain"),
        ('Password "with space" ignored', "with space"),
        ("Password a;b", "a;b"),
        ('Password ""', None),
        ('Password "not closed', None),
        ("Password", None),
        ("# Password x", None),
        ("Password=x", None),
    ],
)
def test_values_are_read_as_by_cntlm(line: str, value: str | None) -> None:
    password = only(cntlm.parse(SourceText("c", f"Proxy p:1\n{line}\n"))).password
    assert (password and password.secret) == value


@pytest.mark.parametrize(
    ("lines", "method", "sign_in"),
    [
        ("Auth GSS", Method.NEGOTIATE, SignIn.PASSWORD),
        ("Auth LM", Method.NTLM, SignIn.PASSWORD),
        ("SSPI NTLM", Method.AUTOMATIC, SignIn.SSO),
        ("SSPI NTLM\nUsername u", Method.AUTOMATIC, SignIn.PASSWORD),
    ],
)
def test_the_sign_in_of_cntlm(lines: str, method: Method, sign_in: SignIn) -> None:
    profile = only(cntlm.parse(SourceText("c", f"[main]\nProxy p:1\n{lines}\n")))
    assert (profile.method, profile.sign_in) == (method, sign_in)


def test_a_pac_script_names_the_proxies() -> None:
    profile = only(cntlm.parse(SourceText("c", "Proxy p:1\nPac /etc/company.pac\n")))
    assert (str(profile.pac), profile.upstreams) == ("/etc/company.pac", ())


def test_the_passwords_of_clients_are_told() -> None:
    text = f"Proxy p:1\nSOCKS5User dave:{SECRET}\n"
    found = cntlm.parse(SourceText("c", text))
    [password] = found.passwords
    assert (password.form, password.place.line, password.secret) == (SecretForm.CLEAR, 2, "")
    assert SECRET not in repr(found)


def test_without_a_proxy_there_is_no_profile() -> None:
    found = cntlm.parse(SourceText("c", "Username u\n"))
    assert (found.profiles, found.notes) == ((), ("c names no proxy.",))
