"""Tests for trayproxy.cli.import_command, .import_text and .profile_export."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from tests.cli.fake_service import FakeServiceHandler
from tests.cli.terminal_screen import TerminalScreen
from tests.importers.examples import DATA, SECRET
from trayproxy.auth.login import Login
from trayproxy.control.messages import Failed, KeptInMemory, SaveLogin, SaveProfile
from trayproxy.domain.problem import Problem
from trayproxy.profiles.profile import Profile, Upstream
from trayproxy.profiles.store import SettingsStore

REJECTED = Failed(Problem("TP-301", "The proxy did not accept this password", "Check it."), 4)
CNTLM = f"Proxy proxy.example:8080\nUsername jdoe\nDomain CORP\nPassword {SECRET}\nListen 3129\n"
LISTED = """\
proxy.example  (Cntlm: {file})
  Proxy:        http://proxy.example:8080
  User name:    CORP\\jdoe
  Password:     A password is in clear text in {file}, line 4 (Password).
"""
TOLD = (
    "A password is in clear text in {file}, line 4 (Password). Delete it there as soon as no other "
    "program needs it.\n"
    "Programs whose proxy is 127.0.0.1:3129 still use Cntlm. Quit Cntlm; then set these programs "
    "to TrayProxy's address, or TrayProxy's port to 3129.\n"
)


@pytest.fixture
def user_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return tmp_path


@pytest.fixture
def cntlm_conf(user_home: Path) -> Path:
    path = user_home / ".cntlm.conf"
    path.write_text(CNTLM, "utf-8")
    return path


def test_a_dry_run_lists_the_settings_and_changes_nothing(
    cli: Cli, cntlm_conf: Path, config: Path
) -> None:
    assert cli("import", "cntlm", "--dry-run") == (0, LISTED.format(file=cntlm_conf), "")
    assert not config.exists()


def test_settings_become_profiles_once(cli: Cli, cntlm_conf: Path, config: Path) -> None:
    code, out, err = cli("import", "cntlm", "--yes")
    assert (code, out) == (0, LISTED.format(file=cntlm_conf))
    assert err == "Added “proxy.example”.\n" + TOLD.format(file=cntlm_conf)
    profile = Profile(
        "proxy-example", "proxy.example", Upstream("proxy.example", 8080), user="CORP\\jdoe"
    )
    assert SettingsStore(config).load().profiles == (profile,)
    code, out, err = cli("import", str(cntlm_conf), "--yes")
    assert (code, SettingsStore(config).load().profiles) == (0, (profile,))
    assert "  There is such a profile already; it is not added again.\n" in out
    assert err.startswith("No profile was added.\n")


def test_all_sources_are_searched_without_a_name(cli: Cli, cntlm_conf: Path) -> None:
    code, out, _ = cli("import", "--dry-run")
    assert code == 0
    assert LISTED.format(file=cntlm_conf) in out


def test_json_has_everything_but_the_password(cli: Cli, cntlm_conf: Path) -> None:
    code, out, err = cli("import", "cntlm", "--json", "--dry-run")
    assert (code, err) == (0, "")
    assert SECRET not in out
    members = json.loads(out)
    [profile] = members.pop("profiles")
    assert members == {"schema": 1, "passwords": [], "notes": [], "errors": []}
    assert profile == {
        "source": "cntlm",
        "title": "Cntlm",
        "place": str(cntlm_conf),
        "line": 0,
        "state": "new",
        "reason": "",
        "name": "proxy.example",
        "upstreams": ["http://proxy.example:8080"],
        "pac": "",
        "user": "CORP\\jdoe",
        "sign_in": "password",
        "method": "automatic",
        "bypass": [],
        "listens_at": "127.0.0.1:3129",
        "password": {"form": "clear text", "place": str(cntlm_conf), "line": 4, "key": "Password"},
        "notes": [],
    }


def test_a_password_is_saved_by_the_service_after_the_proxy_has_accepted_it(
    cli: Cli, cntlm_conf: Path, service: FakeServiceHandler
) -> None:
    code, _, err = cli("import", "cntlm", "--yes", "--try-passwords")
    assert code == 0
    # The fake service already has the profile of the proxy.
    assert service.requests == [SaveLogin("office", Login("CORP\\jdoe", SECRET), is_typed=False)]
    assert "The proxy has accepted the password for “Office”; it is in the keyring.\n" in err
    assert SECRET not in err


def test_a_rejected_password_is_told_and_tried_once(
    cli: Cli, cntlm_conf: Path, service: FakeServiceHandler
) -> None:
    service.failure = REJECTED
    code, _, err = cli("import", "cntlm", "--yes", "--try-passwords")
    assert code == 4
    assert len(service.requests) == 1
    assert "The password for “Office” was not saved. The proxy did not accept this pass" in err
    # The password still stands in the file.
    assert "line 4 (Password). Delete it there" in err


def test_one_password_of_an_account_is_tried(
    cli: Cli, cntlm_conf: Path, service: FakeServiceHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two wrong passwords of one user would be two failed log-ons."""
    monkeypatch.setenv("https_proxy", "http://CORP%5Cjdoe:other@proxy.example:8080")
    service.failure = REJECTED
    code, _, err = cli("import", "--yes", "--try-passwords")
    assert code == 4
    logins = [each.login for each in service.requests if isinstance(each, SaveLogin)]
    assert [each.password for each in logins if each.user == "CORP\\jdoe"] == [SECRET]
    assert "Another password for “Office” was tried already.\n" in err


def test_a_rejected_password_is_not_tried_at_another_proxy(
    cli: Cli, user_home: Path, service: FakeServiceHandler, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proxies of a company check passwords at one directory: it would count each attempt."""
    monkeypatch.setenv("https_proxy", f"http://CORP%5Cjdoe:{SECRET}@proxy.example:8080")
    monkeypatch.setenv("http_proxy", f"http://JDoe:{SECRET}@other.example:8080")
    monkeypatch.setenv("all_proxy", f"http://guest:{SECRET}@third.example:8080")
    for host in ("other", "third"):
        profile = Profile(host, host, Upstream(f"{host}.example", 8080))
        service.config = service.config.with_profile(profile)
    service.failure = REJECTED
    code, _, err = cli("import", "env", "--yes", "--try-passwords")
    assert code == 4
    tried = [each.login.user for each in service.requests if isinstance(each, SaveLogin)]
    assert tried == ["CORP\\jdoe", "guest"]
    assert "The password for “other” was not tried: a password of this user was" in err


def test_without_a_keyring_the_password_stays_in_memory(
    cli: Cli, cntlm_conf: Path, service: FakeServiceHandler
) -> None:
    service.kept_in_memory = KeptInMemory(Problem("TP-402", "No keyring", "There is none."))
    code, _, err = cli("import", "cntlm", "--yes", "--try-passwords")
    assert code == 6
    assert "TrayProxy keeps it in memory until it quits: There is none.\n" in err


def test_a_password_is_not_tried_without_consent(
    cli: Cli, cntlm_conf: Path, service: FakeServiceHandler
) -> None:
    assert cli("import", "cntlm", "--yes")[0] == 0
    assert service.requests == []


def test_nothing_is_changed_without_a_terminal_or_consent(
    cli: Cli, cntlm_conf: Path, config: Path
) -> None:
    expected = "There is no terminal for questions. Use --yes or --dry-run.\n"
    assert cli("import", "cntlm") == (2, "", expected)
    assert cli("import", "cntlm", "--json") == (2, "", expected)
    assert not config.exists()


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("none.ini", "none.ini: there is no such file"),
        (f"http://u:{SECRET}@p:1", "the command line: leave the password out"),
    ],
)
def test_a_source_that_cannot_be_read_is_an_error(
    cli: Cli, config: Path, argument: str, message: str
) -> None:
    code, out, err = cli("import", argument, "--yes")
    assert (code, out) == (1, "")
    assert err.startswith(message)
    assert err.endswith(". Nothing was imported.\n")
    assert SECRET not in err
    assert not config.exists()


def test_a_source_without_settings_is_told(cli: Cli, user_home: Path) -> None:
    assert cli("import", "px", "--dry-run") == (1, "", "No settings of a proxy were found.\n")
    (user_home / ".config/px").mkdir(parents=True)
    (user_home / ".config/px/px.ini").write_text("nonsense", "utf-8")
    code, out, err = cli("import", "px", "--dry-run")
    assert (code, out) == (1, "")
    assert "px.ini: line 1: there is no section before it.\n" in err


def test_the_sample_configurations_are_imported(cli: Cli, config: Path) -> None:
    code, out, _ = cli("import", str(DATA / "cntlm.conf"), "--yes")
    assert code == 0
    assert "pass #1 word" not in out
    [profile] = SettingsStore(config).load().profiles
    assert profile.bypass == ("localhost", "127.0.0.*", "10.*", "192.168.*")
    code, out, err = cli("import", str(DATA / "px.ini"), "--yes")
    assert (code, err) == (1, "No settings of a proxy were found.\n")
    assert "Px uses those of the system settings.\n" in out


def test_trayproxy_is_not_its_own_proxy(cli: Cli, config: Path) -> None:
    code, out, err = cli("import", "127.0.0.1:3128", "--yes")
    assert (code, err) == (0, "No profile was added.\n")
    assert "  Not imported: This proxy is TrayProxy itself.\n" in out


def test_a_pac_address_becomes_an_automatic_profile(cli: Cli, config: Path) -> None:
    code, out, _ = cli("import", "http://pac.example/proxy.pac", "--yes")
    assert code == 0
    assert "  PAC script:   http://pac.example/proxy.pac\n" in out
    [profile] = SettingsStore(config).load().profiles
    assert (profile.name, str(profile.pac)) == ("pac.example", "http://pac.example/proxy.pac")


def test_at_a_terminal_each_step_is_asked(
    cntlm_conf: Path, service: FakeServiceHandler, screen: Callable[..., TerminalScreen]
) -> None:
    cntlm_conf.write_text(CNTLM.replace("proxy.example", "new.example"), "utf-8")
    shown = screen("trayproxy", "import", "cntlm")
    shown.wait_for(r"Add “new\.example”\? \[y/N\]")
    shown.type("y\n")
    shown.wait_for(
        r"at http://new\.example:8080 now\? A wrong password counts as one failed log-on\."
    )
    shown.type("n\n")
    shown.wait_for("Delete it there")
    assert shown.end() == 0
    assert [type(request) for request in service.requests] == [SaveProfile]


OFFICE = ("profiles", "add", "Office", "proxy.example:8080", "--user", "CORP\\jdoe")
LAB = ("profiles", "add", "Lab", "lab.example:3128", "--bypass", "*.lab")


def test_profiles_travel_in_a_file(cli: Cli, config: Path, tmp_path: Path) -> None:
    cli(*OFFICE)
    cli(*LAB)
    file = tmp_path / "profiles.toml"
    assert cli("profiles", "export", str(file)) == (
        0,
        "",
        f"Wrote 2 profiles to {file}, without passwords. The file contains the user names.\n",
    )
    before = SettingsStore(config).load().profiles
    config.unlink()
    code, _, err = cli("profiles", "import", str(file), "--yes")
    assert (code, err) == (0, "Added “Office”.\nAdded “Lab”.\n")
    assert SettingsStore(config).load().profiles == before
    assert cli("profiles", "import", str(file), "--yes")[2] == "No profile was added.\n"


def test_an_export_replaces_no_file_and_may_leave_out_user_names(cli: Cli, tmp_path: Path) -> None:
    file = tmp_path / "profiles.toml"
    assert cli("profiles", "export", str(file)) == (1, "", "There are no profiles to export.\n")
    cli(*OFFICE)
    cli(*LAB)
    file.write_text("mine", "utf-8")
    expected = f"{file} exists already. Use --overwrite to replace it.\n"
    assert cli("profiles", "export", str(file)) == (1, "", expected)
    assert file.read_text("utf-8") == "mine"
    options = ("--overwrite", "--without-user-names", "--profile", "office")
    assert cli("profiles", "export", str(file), *options) == (
        0,
        "",
        f"Wrote 1 profile to {file}, without passwords.\n",
    )
    assert "jdoe" not in file.read_text("utf-8")
    code, out, err = cli("profiles", "export", "-", "--profile", "Lab")
    assert (code, err) == (0, "")
    assert 'name = "Lab"' in out
    folder = tmp_path / "none" / "x.toml"
    assert cli("profiles", "export", str(folder))[2] == f"There is no folder {folder.parent}.\n"
    assert (
        cli("profiles", "export", str(tmp_path), "--overwrite")[2] == f"{tmp_path} is not a file.\n"
    )


def test_an_export_warns_of_a_pac_address_with_a_query(cli: Cli) -> None:
    cli("import", "http://pac.example/x.pac?key=1", "--yes")
    code, out, err = cli("profiles", "export", "-")
    assert code == 0
    assert 'pac = "http://pac.example/x.pac?key=1"\n' in out
    assert err.startswith(
        "The PAC address of “pac.example” has a part after “?”, which is exported"
    )


def test_an_invalid_file_is_refused_with_its_line(cli: Cli, config: Path, tmp_path: Path) -> None:
    cli(*OFFICE)
    file = tmp_path / "profiles.toml"
    cli("profiles", "export", str(file))
    before = config.read_text("utf-8")
    file.write_text(file.read_text("utf-8") + f'password = "{SECRET}"\n', "utf-8")
    code, out, err = cli("profiles", "import", str(file), "--yes")
    assert (code, out) == (1, "")
    reason = "passwords are not kept here; use trayproxy login"
    assert err == f"{file}, line 12: {reason}. Nothing was imported.\n"
    assert config.read_text("utf-8") == before
