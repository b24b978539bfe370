"""Tests for trayproxy.importers.alpaca, .proxydetox and .service_definitions."""

import pytest

from tests.importers.examples import SECRET, only
from trayproxy.importers import alpaca, proxydetox
from trayproxy.importers.found import Place, SecretForm, UnreadableSourceError
from trayproxy.importers.service_definitions import launchd_command, systemd_command
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import Method, SignIn

PLACE = Place("here")
PAC = "http://pac.corp.example/proxy.pac"


@pytest.mark.parametrize(
    ("words", "user", "address"),
    [
        (("-C", PAC, "-d", "CORP", "-u", "jdoe", "-p", "4000"), "CORP\\jdoe", "127.0.0.1:4000"),
        ((f"-C={PAC}", "--u=jdoe", "-q", "-l", "localhost"), "jdoe", "127.0.0.1:3128"),
    ],
)
def test_the_options_of_alpaca(words: tuple[str, ...], user: str, address: str) -> None:
    profile = only(alpaca.from_arguments(words, PLACE))
    assert (str(profile.pac), profile.user, profile.listens_at) == (PAC, user, address)


def test_without_a_pac_option_alpaca_uses_the_system_settings() -> None:
    found = alpaca.from_arguments(("-p", "3128"), PLACE)
    assert found.notes == ("here: Alpaca uses the PAC file of the system settings.",)


def test_the_variables_of_alpaca_are_told_and_never_used() -> None:
    environ = {
        "NTLM_CREDENTIALS": "me@MYDOMAIN:823893adfad2cda6e1a414f3ebdf58f7",
        "BASIC_CREDENTIALS": f"login:{SECRET}",
    }
    found = alpaca.from_variables(environ, {"BASIC_CREDENTIALS": Place("~/.profile", 9)})
    assert [(each.form, str(each.place), each.secret) for each in found.passwords] == [
        (SecretForm.CLEAR, "~/.profile, line 9", ""),
        (SecretForm.HASH, "the variable NTLM_CREDENTIALS", ""),
    ]
    assert found.notes[0].startswith("Alpaca signs in as MYDOMAIN\\me, ")
    assert SECRET not in repr(found)
    assert alpaca.from_variables({}, {}).passwords == ()


def test_the_file_of_proxydetox() -> None:
    text = f"# mine\n--negotiate\n--listen 127.0.0.1:8080\n--pac-file {PAC}\n"
    profile = only(proxydetox.parse(SourceText("rc", text)))
    assert (str(profile.pac), profile.listens_at) == (PAC, "127.0.0.1:8080")
    assert (profile.sign_in, profile.method) == (SignIn.SSO, Method.NEGOTIATE)


def test_the_passwords_of_proxydetox_are_told() -> None:
    netrc = SourceText("~/.netrc", f"machine proxy.example\nlogin u\npassword {SECRET}\n")
    text = "-p=/etc/proxy.pac\n--direct-fallback\n"
    profile = only(proxydetox.parse(SourceText("rc", text), netrc=netrc))
    assert (profile.sign_in, profile.method) == (SignIn.PASSWORD, Method.AUTOMATIC)
    assert profile.notes == (
        "Its option --direct-fallback is not carried over.",
        "Proxydetox reads passwords from ~/.netrc, where they stand in clear text. TrayProxy asks "
        "for the password of each proxy once, and keeps it in the keyring.",
    )


def test_proxydetox_has_a_default_pac_script() -> None:
    empty = SourceText("rc", "--race-connect\n")
    assert str(only(proxydetox.parse(empty, "/home/u/proxy.pac")).pac) == "/home/u/proxy.pac"
    assert proxydetox.parse(empty).notes == ("rc names no PAC file.",)


def test_the_command_of_a_systemd_unit() -> None:
    text = (
        "[Service]\n# ExecStart=no\nEnvironment=BASIC_CREDENTIALS=u:x 'A=b c'\n"
        f"ExecStart=-/usr/bin/alpaca -C \\\n  {PAC}\n"
    )
    command = systemd_command(SourceText("unit", text))
    assert (command.program, command.words[1:]) == ("alpaca", ("-C", PAC))
    assert command.environ == {"BASIC_CREDENTIALS": "u:x", "A": "b c"}
    with pytest.raises(UnreadableSourceError, match="unit, line 2: a quotation is not closed"):
        systemd_command(SourceText("unit", "[Service]\nExecStart='x\n"))


PLIST = """\
<?xml version="1.0" encoding="UTF-8"?>
<plist version="1.0"><dict><key>ProgramArguments</key><array>
<string>/opt/homebrew/bin/alpaca</string><string>-C</string><string>{}</string>
</array></dict></plist>
"""


def test_the_command_of_a_launchd_service() -> None:
    command = launchd_command(SourceText("plist", PLIST.format(PAC)))
    assert (command.program, command.words[1:]) == ("alpaca", ("-C", PAC))


@pytest.mark.parametrize(
    "text",
    [
        "<plist",
        "<plist version='1.0'><array/></plist>",
        '<!DOCTYPE x [<!ENTITY a "aa">]><plist version="1.0"><string>&a;</string></plist>',
        "<plist>" + "<array>" * 100_000,
        "<plist><dict><integer>x</integer></dict></plist>",
        "<plist><date>x</date></plist>",
    ],
)
def test_an_invalid_property_list_is_refused(text: str) -> None:
    with pytest.raises(UnreadableSourceError, match="plist: it is not"):
        launchd_command(SourceText("plist", text))
