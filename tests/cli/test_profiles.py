"""Tests for trayproxy.cli.profiles, .login and .settings: with a service and without."""

import re
from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path

import pytest
from msgspec import structs

from tests.cli.conftest import Cli
from tests.cli.fake_service import LAB, LOCKED, OFFICE, FakeServiceHandler
from tests.cli.terminal_screen import TerminalScreen
from tests.desk.test_desk import FakeCredentialStore
from trayproxy.auth.login import Login
from trayproxy.cli.output import CommandError
from trayproxy.cli.settings import OfflineSettings, find_profile
from trayproxy.control.messages import (
    DeleteProfile,
    ForgetLogin,
    KeptInMemory,
    PacAnswer,
    Quit,
    SaveLogin,
    SaveProfile,
    ShowWindow,
    UseProfile,
)
from trayproxy.domain.problem import Problem
from trayproxy.paths import Paths
from trayproxy.profiles.config import Config
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import DIRECT_ID, Encoding, Method, Profile, SignIn, Upstream
from trayproxy.profiles.store import SettingsStore

SECRET = "canary-51c7"
SYSTEM_PAC = PacSource(PacKind.SYSTEM)
ADD_OFFICE = ["profiles", "add", "Office", "proxy.example:8080", "--user", "CORP\\jdoe"]
ADD_LAB = ["profiles", "add", "Lab", "lab.example:3128"]


def active_profile(config: Path) -> Profile:
    profile = SettingsStore(config).load().profile
    assert profile is not None
    return profile


def test_profiles_are_added_listed_and_activated_without_a_service(cli: Cli, config: Path) -> None:
    assert cli(*ADD_OFFICE) == (0, "", "Added “Office”, which is in use now.\n")
    assert cli(*ADD_LAB) == (0, "", "Added “Lab”.\n")
    assert cli("profiles", "list") == (
        0,
        "* Office  http://proxy.example:8080  CORP\\jdoe\n"
        "  Lab     http://lab.example:3128\n"
        "  Connect directly\n",
        "",
    )
    assert cli("profiles", "use", "lab") == (0, "", "“Lab” is in use.\n")
    assert cli("profiles") == cli("profiles", "list")
    assert SettingsStore(config).load().active == "lab"


@pytest.mark.parametrize("name", ["direct", "Connect Directly"])
def test_connecting_directly_is_chosen_like_a_profile(cli: Cli, config: Path, name: str) -> None:
    cli(*ADD_OFFICE)
    done = (0, "", "Programs connect directly now, without a proxy.\n")
    assert cli("profiles", "use", name) == done
    assert SettingsStore(config).load().is_direct
    _, out, _ = cli("profiles", "list")
    assert out.startswith("  Office")
    assert out.endswith("* Connect directly\n")
    cli("profiles", "use", "office")
    assert not SettingsStore(config).load().is_direct


def test_a_running_service_connects_directly(cli: Cli, service: FakeServiceHandler) -> None:
    assert cli("profiles", "use", "direct")[0] == 0
    assert UseProfile(DIRECT_ID) in service.requests
    service.status = structs.replace(service.status, profile=None, direct=True)
    assert cli("profiles", "list")[1].endswith("* Connect directly\n")


def test_https_and_socks_proxies_can_be_added_and_are_shown(
    cli: Cli, config: Path, tmp_path: Path
) -> None:
    file = tmp_path / "company.pem"
    file.touch()
    where = ["https://proxy.example:8443", "--ca-file", str(file)]
    assert cli("profiles", "add", "Office", *where, "--fallback", "b:1,socks5://c:2")[0] == 0
    profile = active_profile(config)
    assert [str(upstream) for upstream in profile.upstreams] == [
        "https://proxy.example:8443",
        "http://b:1",
        "socks5://c:2",
    ]
    assert profile.ca_file == str(file)
    _, out, _ = cli("profiles", "show")
    assert "Proxy:        https://proxy.example:8443\n" in out
    assert "Otherwise:    http://b:1, socks5://c:2\n" in out
    assert f"Certificate:  {file}\n" in out


def test_a_missing_certificate_file_is_reported(cli: Cli, tmp_path: Path) -> None:
    where = ["https://proxy.example:8443", "--ca-file", str(tmp_path / "none")]
    code, _, err = cli("profiles", "add", "Office", *where)
    assert code == 2
    assert "there is no such file" in err


def test_each_field_of_a_profile_has_an_option(cli: Cli, config: Path) -> None:
    cli(*ADD_OFFICE)
    options = ["--sign-in", "none", "--bypass", "localhost, *.lab", "--use"]
    assert cli(*ADD_LAB, *options)[0] == 0
    loaded = SettingsStore(config).load()
    assert loaded.profile == Profile(
        "lab", "Lab", Upstream("lab.example", 3128), SignIn.NONE, "", ("localhost", "*.lab")
    )
    assert cli("profiles", "show")[1] == (
        "Name:         Lab\n"
        "Proxy:        http://lab.example:3128\n"
        "Sign-in:      none\n"
        "User name:    not set\n"
        "Not used for: localhost, *.lab\n"
        "In use:       yes\n"
        "Id:           lab\n"
    )


def test_single_sign_on_and_a_method_have_options(cli: Cli, config: Path) -> None:
    assert cli(*ADD_OFFICE, "--sign-in", "sso", "--method", "negotiate")[0] == 0
    profile = active_profile(config)
    assert (profile.sign_in, profile.method) == (SignIn.SSO, Method.NEGOTIATE)
    _, out, _ = cli("profiles", "show")
    assert "Sign-in:      your Windows or Kerberos sign-in, no password\n" in out
    assert "Method:       Negotiate\n" in out


def test_an_encoding_can_be_given_and_is_shown_r_092(cli: Cli, config: Path) -> None:
    cli(*ADD_OFFICE)
    assert "Encoding" not in cli("profiles", "show")[1]
    assert cli("profiles", "edit", "Office", "--encoding", "latin-1")[0] == 0
    assert active_profile(config).encoding is Encoding.LATIN_1
    assert "Encoding:     Latin-1\n" in cli("profiles", "show")[1]


def test_the_name_for_kerberos_can_be_given_and_is_shown(cli: Cli, config: Path) -> None:
    cli(*ADD_OFFICE)
    assert "Service name" not in cli("profiles", "show")[1]
    assert cli("profiles", "edit", "Office", "--spn", "HTTP/p.corp.example")[0] == 0
    assert "Service name: HTTP/p.corp.example\n" in cli("profiles", "show")[1]
    code, _, err = cli("profiles", "edit", "Office", "--canonical-name")
    assert (code, "Choose either" in err) == (1, True)
    assert cli("profiles", "edit", "Office", "--canonical-name", "--spn", "")[0] == 0
    assert (active_profile(config).spn, active_profile(config).canonical_name) == ("", True)
    assert "Service name: the canonical name of the proxy\n" in cli("profiles", "show")[1]
    assert cli("profiles", "edit", "Office", "--no-canonical-name")[0] == 0
    assert not active_profile(config).canonical_name


def test_the_networks_of_a_profile_can_be_given_and_are_shown(cli: Cli, config: Path) -> None:
    cli(*ADD_OFFICE)
    assert "Use on" not in cli("profiles", "show")[1]
    networks = "wifi:Branch Office,DNS:Corp.Example"
    assert cli("profiles", "edit", "Office", "--use-on", networks, "--else-direct")[0] == 0
    profile = active_profile(config)
    assert profile.use_on == ("wifi:Branch Office", "dns:corp.example")
    assert profile.else_direct
    shown = cli("profiles", "show")[1]
    assert "Use on:       wifi:Branch Office, dns:corp.example\n" in shown
    assert "Elsewhere:    connect directly\n" in shown
    code, _, err = cli("profiles", "edit", "Office", "--use-on", "Branch")
    assert (code, "Write a network as wifi:NAME" in err) == (2, True)
    assert cli("profiles", "edit", "Office", "--use-on", "", "--no-else-direct")[0] == 0
    assert (active_profile(config).use_on, active_profile(config).else_direct) == ((), False)


def test_a_client_certificate_can_be_given_and_is_shown(
    cli: Cli, config: Path, tmp_path: Path
) -> None:
    for name in ("c.pem", "k.pem"):
        (tmp_path / name).touch()
    cli(*ADD_OFFICE)
    files = [f"{tmp_path}/c.pem", "--client-key", f"{tmp_path}/k.pem"]
    assert cli("profiles", "edit", "Office", "--client-certificate", *files)[0] == 0
    profile = active_profile(config)
    assert profile.client_certificate == f"{tmp_path}/c.pem"
    assert profile.client_key == f"{tmp_path}/k.pem"
    shown = cli("profiles", "show")[1]
    assert f"Your cert.:   {tmp_path}/c.pem\n" in shown
    assert f"Its key:      {tmp_path}/k.pem\n" in shown
    missing = cli("profiles", "edit", "Office", "--client-certificate", f"{tmp_path}/no.pem")
    assert (missing[0], "no such file" in missing[2]) == (2, True)


def test_a_ticket_can_be_requested_for_the_own_sign_in_only(cli: Cli, config: Path) -> None:
    code, _, err = cli(*ADD_OFFICE, "--get-ticket")
    assert (code, "only for your own sign-in" in err) == (1, True)
    assert cli(*ADD_OFFICE, "--sign-in", "sso", "--get-ticket")[0] == 0
    assert active_profile(config).get_ticket
    assert "Ticket:       with a saved password" in cli("profiles", "show")[1]
    assert cli("profiles", "edit", "Office", "--method", "ntlm")[0] == 1
    assert cli("profiles", "edit", "Office", "--sign-in", "password")[0] == 0
    assert not active_profile(config).get_ticket


@pytest.mark.parametrize(
    ("option", "values"), [("--sign-in", SignIn), ("--method", Method), ("--encoding", Encoding)]
)
def test_each_sign_in_and_method_has_a_text(cli: Cli, option: str, values: type[StrEnum]) -> None:
    _, out, _ = cli("profiles", "add", "--help")
    choices = re.search(rf"^ +{option} {{(.+)}}", out, re.MULTILINE)
    assert choices is not None
    assert set(choices[1].split(",")) == set(values)


def test_a_change_keeps_the_other_fields(cli: Cli, config: Path) -> None:
    cli(*ADD_OFFICE, "--bypass", "localhost", "--fallback", "b:1")
    before = active_profile(config)
    changes = ["--name", "Head office", "--method", "ntlm", "--fallback", ""]
    assert cli("profiles", "edit", "office", *changes) == (0, "", "Changed “Head office”.\n")
    assert SettingsStore(config).load().profile == replace(
        before, name="Head office", method=Method.NTLM, fallbacks=()
    )
    assert cli("profiles", "edit", "Head office", "--address", "https://c.example:2")[0] == 0
    after = active_profile(config)
    assert (after.id, str(after.upstream)) == (before.id, "https://c.example:2")


def test_an_inconsistent_change_is_reported(cli: Cli, config: Path) -> None:
    cli(*ADD_OFFICE)
    code, _, err = cli("profiles", "edit", "Office", "--sign-in", "sso", "--method", "basic")
    assert code == 1
    assert "Your own sign-in works with the method Automatic, Negotiate or NTLM." in err
    assert active_profile(config).sign_in is SignIn.PASSWORD


def test_a_change_is_sent_to_the_running_service(cli: Cli, service: FakeServiceHandler) -> None:
    assert cli("profiles", "edit", "Lab", "--sign-in", "sso")[0] == 0
    assert service.requests == [SaveProfile(replace(LAB, sign_in=SignIn.SSO))]


def test_a_certificate_file_can_be_removed(cli: Cli, config: Path, tmp_path: Path) -> None:
    file = tmp_path / "company.pem"
    file.touch()
    cli("profiles", "add", "Office", "https://proxy.example:1", "--ca-file", str(file))
    assert cli("profiles", "edit", "Office", "--ca-file", "")[0] == 0
    assert active_profile(config).ca_file == ""


def test_a_removed_profile_is_deleted(cli: Cli, config: Path) -> None:
    cli(*ADD_OFFICE)
    cli(*ADD_LAB)
    code, _, err = cli("profiles", "remove", "Office", "--keep-password")
    assert code == 0
    assert (
        err == "Removed “Office”.\nNo profile is in use now. Choose one: trayproxy profiles use\n"
    )
    assert [profile.name for profile in SettingsStore(config).load().profiles] == ["Lab"]
    _, _, err = cli("profiles", "remove", "Lab", "--keep-password")
    # No profile is left to activate.
    assert "Add one: trayproxy profiles add" in err
    assert "profiles use" not in err


@pytest.mark.parametrize("answer", ["y", "", "n"])
def test_at_a_terminal_removing_the_active_profile_needs_a_confirmation(
    answer: str, screen: Callable[..., TerminalScreen], service: FakeServiceHandler
) -> None:
    terminal = screen("trayproxy", "profiles", "remove", "Office")
    terminal.wait_for("is in use. Until you choose another profile, programs cannot connect")
    terminal.answer(r"Remove it\? \[y/N\] ", f"{answer}\n")
    terminal.wait_for("Removed “Office”." if answer == "y" else "Nothing was removed.")
    assert terminal.end() == (0 if answer == "y" else 1)
    assert service.requests == ([DeleteProfile("office", forget=True)] if answer == "y" else [])


def test_a_profile_name_is_unique(cli: Cli) -> None:
    cli(*ADD_OFFICE)
    code, _, err = cli("profiles", "add", "OFFICE", "other.example:1")
    assert code == 1
    assert "There is already a profile “OFFICE”." in err


def test_an_unknown_profile_is_reported(cli: Cli) -> None:
    assert cli("profiles", "show", "x")[2] == (
        "There is no profile “x”. There are none yet; add one: trayproxy profiles add.\n"
    )
    cli(*ADD_OFFICE)
    for arguments in (["use", "x"], ["remove", "x"], ["show", "x"]):
        code, _, err = cli("profiles", *arguments)
        assert (code, err) == (1, "There is no profile “x”. There are: Office.\n")


def test_an_empty_list_explains_how_to_add_a_profile(cli: Cli) -> None:
    code, out, err = cli("profiles", "list")
    assert (code, out) == (0, "")
    assert "profiles add" in err


def test_a_broken_file_is_reported(cli: Cli, paths: Paths) -> None:
    paths.prepare()
    paths.config_file.write_text("schema = 1\nactive = \n")
    for arguments in (["profiles", "list"], ADD_OFFICE):
        code, out, err = cli(*arguments)
        assert (code, out) == (1, "")
        assert f"{paths.config_file}, line 2: " in err
        assert err.endswith(" (TP-801)\n")
    assert paths.config_file.read_text() == "schema = 1\nactive = \n"


def test_requests_are_sent_to_the_running_service(
    cli: Cli, service: FakeServiceHandler, config: Path
) -> None:
    assert cli("profiles", "add", "New", "new.example:1", "--use")[0] == 0
    assert service.config.profile == Profile("new", "New", Upstream("new.example", 1))
    assert cli("profiles", "use", "Office")[0] == 0
    assert cli("profiles", "list")[1].startswith("* Office")
    assert cli("profiles", "remove", "Lab")[0] == 0
    assert service.requests[-1] == DeleteProfile("lab", forget=True)
    assert cli("profiles", "remove", "New", "--keep-password")[0] == 0
    assert service.requests[-1] == DeleteProfile("new", forget=False)
    assert not config.exists()


def test_a_new_profile_does_not_take_the_id_of_a_renamed_profile(
    cli: Cli, service: FakeServiceHandler
) -> None:
    service.config = service.config.with_profile(Profile("office", "Head office", OFFICE.upstream))
    cli("profiles", "add", "Office", "new.example:1")
    assert [profile.id for profile in service.config.profiles] == ["office", "lab", "office-2"]


def test_login_is_refused_for_a_profile_without_a_password(
    cli: Cli, service: FakeServiceHandler
) -> None:
    for kind, words in ((SignIn.SSO, "Windows or Kerberos"), (SignIn.NONE, "to need no sign-in")):
        service.config = service.config.with_profile(replace(OFFICE, sign_in=kind))
        code, _, err = cli("login", "--stdin", stdin=SECRET.encode())
        assert code == 1
        assert words in err
    assert service.requests == []


def test_a_password_is_read_from_standard_input(cli: Cli, service: FakeServiceHandler) -> None:
    code, out, err = cli("login", "--stdin", stdin=f"{SECRET} ü \r\nsecond\n".encode())
    assert (code, out) == (0, "")
    assert SECRET not in err
    assert service.requests == [
        SaveLogin("office", Login("CORP\\jdoe", f"{SECRET} ü "), is_typed=False)
    ]
    cli("login", "lab", "--user", "me", "--stdin", stdin=SECRET.encode())
    assert service.requests[-1] == SaveLogin("lab", Login("me", SECRET), is_typed=False)


@pytest.mark.parametrize(
    ("arguments", "stdin", "code", "words"),
    [
        (["login", "--stdin"], b"", 1, "no password"),
        (["login", "--stdin"], b"\xff\n", 1, "not UTF-8"),
        (["login", "Lab", "--stdin"], b"x\n", 2, "--user"),
        (["login", "x", "--stdin"], b"x\n", 1, "no profile “x”"),
        (["logout", "x"], b"", 1, "no profile “x”"),
    ],
)
def test_a_failure_to_save_is_reported(
    cli: Cli, service: FakeServiceHandler, arguments: list[str], stdin: bytes, code: int, words: str
) -> None:
    ended, out, err = cli(*arguments, stdin=stdin)
    assert (ended, out) == (code, "")
    assert words in err
    assert service.requests == []


def test_a_locked_keyring_has_its_exit_code(cli: Cli, service: FakeServiceHandler) -> None:
    service.failure = LOCKED
    for arguments in (["login", "--stdin"], ["logout"]):
        code, _, err = cli(*arguments, stdin=b"x\n")
        assert code == 6
        assert err.endswith("GNOME Keyring is locked. Unlock it. (TP-401)\n")


def test_logout_deletes_the_password(cli: Cli, service: FakeServiceHandler) -> None:
    code, _, err = cli("logout", "Office")
    # The message is true even if no password was saved.
    assert (code, err) == (0, "TrayProxy no longer keeps a password of “Office”.\n")
    assert service.requests == [ForgetLogin("office")]


def test_the_password_of_a_certificate_is_saved(cli: Cli, service: FakeServiceHandler) -> None:
    code, _, err = cli("login", "--certificate", "--stdin", stdin=SECRET.encode())
    assert (code, "has no client certificate" in err, service.requests) == (1, True, [])
    service.config = service.config.with_profile(replace(OFFICE, client_certificate="/jd.p12"))
    code, _, err = cli("login", "--certificate", "--stdin", stdin=SECRET.encode())
    assert (code, err) == (0, "The password opens the certificate; it is saved.\n")
    assert service.requests == [SaveLogin("office", Login("", SECRET), is_certificate=True)]
    service.kept_in_memory = KeptInMemory(Problem("TP-402", "No keyring", "None."))
    code, _, err = cli("login", "--certificate", "--stdin", stdin=SECRET.encode())
    assert code == 0
    assert "until it quits" in err


def test_a_typed_password_is_not_echoed(
    screen: Callable[..., TerminalScreen], service: FakeServiceHandler
) -> None:
    terminal = screen("trayproxy", "login", "Lab")
    terminal.answer("User name: ", "jdoe\n")
    terminal.wait_for("Password for jdoe: ")
    assert not terminal.has_echo()
    terminal.type(f"{SECRET}\n")
    terminal.wait_for("is saved")
    assert terminal.end() == 0
    assert SECRET not in terminal.shown
    typed_for = "http://lab.example:3128"
    assert service.requests == [SaveLogin("lab", Login("jdoe", SECRET), typed_for=typed_for)]


def test_a_login_without_a_keyring_is_in_use_until_the_service_ends(
    cli: Cli, service: FakeServiceHandler
) -> None:
    for problem, exit_code in (("TP-402", 0), ("TP-404", 6)):
        service.kept_in_memory = KeptInMemory(Problem(problem, "It was not saved", "Full."))
        code, _, err = cli("login", "--stdin", stdin=SECRET.encode())
        assert code == exit_code
        assert "has accepted the password. TrayProxy keeps it in memory until it quits." in err
        assert f"({problem})" in err


def test_an_interrupted_login_saves_nothing(
    screen: Callable[..., TerminalScreen], service: FakeServiceHandler
) -> None:
    terminal = screen("trayproxy", "login")
    terminal.answer("Password for ", f"{SECRET}\x03")
    assert terminal.end() == 130
    assert terminal.has_echo()
    assert "Traceback" not in terminal.shown
    assert service.requests == []


def test_without_a_service_the_keyring_is_used_directly(cli: Cli, paths: Paths) -> None:
    cli(*ADD_OFFICE)
    keyring = FakeCredentialStore()
    tried: list[object] = []

    def save(paths: Paths, config: Config, profile: Profile, login: Login, is_typed: bool) -> None:
        tried.append((profile.id, login, is_typed))

    settings = OfflineSettings(paths, lambda: keyring, save)
    office = find_profile(settings.load(), None)
    settings.save_login(office, Login("jdoe", SECRET), is_typed=True)
    settings.forget_login(office)
    assert tried == [("office", Login("jdoe", SECRET), True)]
    # The profile has the accepted user name, under which the keyring stores the login.
    assert find_profile(settings.load(), None).user == "jdoe"
    assert keyring.forgotten == ["office"]
    cli(*ADD_LAB)
    settings.save_login(find_profile(settings.load(), "Lab"), Login("jdoe", SECRET), is_typed=True)
    assert find_profile(settings.load(), "Lab").user == "jdoe"


@pytest.mark.parametrize(("problem", "code"), [("TP-302", 4), ("TP-307", 5), ("TP-404", 6)])
def test_the_exit_code_states_why_a_password_was_not_saved(
    problem: str, code: int, cli: Cli, paths: Paths
) -> None:
    cli(*ADD_OFFICE)
    failure = Problem(problem, "It was not saved", "Try again.")
    settings = OfflineSettings(paths, FakeCredentialStore, lambda *_: failure)
    with pytest.raises(CommandError, match=problem) as caught:
        settings.save_login(find_profile(settings.load(), None), Login("a", "b"), is_typed=False)
    assert caught.value.exit_code == code


def test_a_keyring_error_is_reported(cli: Cli, paths: Paths) -> None:
    cli(*ADD_OFFICE)
    settings = OfflineSettings(paths, lambda: FakeCredentialStore(problem=LOCKED.problem))
    office = find_profile(settings.load(), None)
    with pytest.raises(CommandError, match="TP-401") as caught:
        settings.forget_login(office)
    assert caught.value.exit_code == 6
    with pytest.raises(CommandError, match="is removed, but its password may be left"):
        settings.delete(office, forget=True)
    assert settings.load().profiles == ()


def test_show_requests_the_window(
    cli: Cli, service: FakeServiceHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_ACTIVATION_TOKEN", "token")
    assert cli("show") == (0, "", "")
    assert service.requests == [ShowWindow("token")]


def test_quitting_waits_for_the_end(cli: Cli, service: FakeServiceHandler, paths: Paths) -> None:
    assert cli("quit") == (0, "", "")
    assert service.requests == [Quit()]
    assert cli("status")[0] == 3


def test_names_are_printed_without_control_characters(
    cli: Cli, service: FakeServiceHandler
) -> None:
    service.config = service.config.with_profile(
        Profile("lab", "Lab <b>&_x</b>", LAB.upstream, user="jdoe")
    )
    assert "  Lab <b>&_x</b>  http://lab.example:3128  jdoe\n" in cli("profiles", "list")[1]


def test_a_login_of_an_automatic_profile_names_the_proxy_first(
    screen: Callable[..., TerminalScreen], service: FakeServiceHandler
) -> None:
    service.config = service.config.with_profile(replace(OFFICE, upstream=None, pac=SYSTEM_PAC))
    proxies = ("direct", "http://auto.example:8080", "http://other.example:8080")
    service.answer = PacAnswer("system settings", proxies, proxies[1])
    terminal = screen("trayproxy", "login", "Office")
    terminal.wait_for("“Office” is http://auto.example:8080.")
    terminal.answer("Password for ", f"{SECRET}\n")
    terminal.wait_for("is saved")
    assert terminal.end() == 0
    login = Login(OFFICE.user, SECRET)
    assert service.requests[-1] == SaveLogin("office", login, typed_for=proxies[1])


def test_a_password_without_a_prompt_is_for_no_named_proxy(
    cli: Cli, service: FakeServiceHandler
) -> None:
    assert cli("login", "--stdin", stdin=SECRET.encode())[0] == 0
    assert service.requests == [SaveLogin("office", Login(OFFICE.user, SECRET), is_typed=False)]


def test_without_a_service_no_script_is_asked_for_the_proxy_of_a_login(cli: Cli) -> None:
    assert cli("profiles", "add", "Auto", "system", "--user", "jdoe")[0] == 0
    code, _, err = cli("login", "--stdin", stdin=SECRET.encode())
    assert (code, "Start TrayProxy first" in err) == (3, True)
