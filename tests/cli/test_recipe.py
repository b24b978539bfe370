"""Tests for trayproxy.cli.recipe."""

import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Cli
from trayproxy.cli import local_address, recipe
from trayproxy.desktop.company_ca import store_upstream
from trayproxy.desktop.installation import InstallationError
from trayproxy.desktop.system_name import SystemName
from trayproxy.desktop.tool_file import ToolFiles
from trayproxy.paths import Paths
from trayproxy.recipes.catalogue import parse, tools
from trayproxy.recipes.recipe import Recipe
from trayproxy.system_settings.entries import TargetError

URL = "http://127.0.0.1:3128"
GITCONFIG = b"[user]\r\n\tname = J\xc3\xb6rg ; a comment\n[http]\n\tsslVerify = true"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home folder of the user, with a file of git."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GIT_CONFIG_GLOBAL", "XDG_CONFIG_HOME", "CURL_HOME", "ZDOTDIR", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    # The result must not depend on programs that listen on this computer.
    monkeypatch.setattr(local_address, "is_in_use", lambda port, host: False)
    (tmp_path / ".gitconfig").write_bytes(GITCONFIG)
    return tmp_path


def listen_on(paths: Paths, port: int) -> None:
    paths.prepare()
    paths.config_file.write_text(f"[listen]\nport = {port}\n")


def states(cli: Cli) -> dict[str, str]:
    recipes = json.loads(cli("recipe", "--json")[1])["recipes"]
    return {recipe["tool"]: recipe["state"] for recipe in recipes}


def test_real_git_uses_the_address_and_its_file_is_restored_octet_for_octet(
    cli: Cli, home: Path
) -> None:
    def proxy() -> str:
        command = ["git", "config", "--global", "http.proxy"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    file = home / ".gitconfig"
    file.chmod(0o640)
    code, out, _ = cli("recipe", "git", "--apply")
    assert (code, out) == (
        0,
        f"Git uses TrayProxy at 127.0.0.1:3128: {file}\nTo undo it: trayproxy recipe git --undo\n",
    )
    assert proxy() == f"{URL}\n"
    assert states(cli)["git"] == "applied"
    assert cli("recipe", "git", "--apply")[1] == (
        "Git already uses TrayProxy; nothing was changed.\n"
    )
    assert cli("recipe", "git", "--undo") == (0, f"Git is as before: {file}\n", "")
    assert file.read_bytes() == GITCONFIG
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert proxy() == ""
    assert cli("recipe", "git", "--undo") == (0, "Git: there is nothing to undo.\n", "")


def test_the_list_names_each_recipe_its_state_and_its_file(cli: Cli, home: Path) -> None:
    code, out, err = cli("recipe")
    assert (code, err) == (0, "")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["git"].split(maxsplit=1)[1].split() == ["off", "Git:", f"{home}/.gitconfig"]
    assert "to copy" in lines["docker"]
    assert set(lines) <= set(tools())


def test_the_lines_to_copy(cli: Cli, home: Path) -> None:
    code, out, err = cli("recipe", "git")
    assert (code, err) == (0, "")
    assert out == cli("recipe", "git", "--print")[1]
    assert f"\ngit config --global http.proxy {URL}\n" in out
    assert "\ngit config --global --unset http.proxy\n" in out
    assert "# Git: https://git-scm.com/" in out
    assert "trayproxy recipe git --apply" in out
    assert f"# Add to {home}/.curlrc:\n" in cli("recipe", "curl")[1]
    shown = json.loads(cli("recipe", "curl", "--json")[1])["recipes"][0]
    assert shown["files"][0]["path"] == f"{home}/.curlrc"
    assert URL in shown["files"][0]["text"]


def test_the_bypass_rules_of_the_profile_are_written_as_programs_read_them(
    cli: Cli, home: Path
) -> None:
    bypass = "*.corp.example,intra:8080"
    assert cli("profiles", "add", "Office", "proxy.example:8080", "--bypass", bypass)[0] == 0
    code, _, err = cli("recipe", "bash", "--apply")
    assert code == 0
    assert "localhost,127.0.0.1,::1,.corp.example'" in (home / ".bashrc").read_text()
    assert "no notation for these exceptions: intra:8080." in err


def test_hosts_that_the_file_excludes_from_the_proxy_stay_excluded(cli: Cli, home: Path) -> None:
    (home / ".curlrc").write_text("noproxy = intra.corp.example\n")
    assert cli("recipe", "curl", "--apply")[0] == 0
    assert 'noproxy = "intra.corp.example,localhost,127' in (home / ".curlrc").read_text()
    assert states(cli)["curl"] == "applied"
    assert cli("recipe", "curl", "--undo")[0] == 0
    assert (home / ".curlrc").read_text() == "noproxy = intra.corp.example\n"


def test_where_the_proxy_inspects_tls_programs_get_the_certificates_of_the_system(
    cli: Cli, paths: Paths, home: Path
) -> None:
    assert "sslCAInfo" not in cli("recipe", "git")[1]
    store_upstream(paths, "http://proxy.example:8080", "Example CA")
    assert f"http.sslCAInfo '{paths.ca_file}'" in cli("recipe", "git")[1]
    code, _, err = cli("recipe", "git", "--apply")
    assert code == 0
    assert f"the certificates of your system, in {paths.ca_file}, unless" in err
    assert f"sslCAInfo = {paths.ca_file}" in (home / ".gitconfig").read_text()
    assert paths.ca_file.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
    store_upstream(paths, "http://proxy.example:8080", None)
    assert states(cli)["git"] == "outdated"
    assert cli("recipe", "git", "--undo")[0] == 0
    assert (home / ".gitconfig").read_bytes() == GITCONFIG


def test_a_moved_port_is_shown_and_corrected(cli: Cli, paths: Paths, home: Path) -> None:
    cli("recipe", "git", "--apply")
    listen_on(paths, 8888)
    assert states(cli)["git"] == "outdated"
    assert "on, with old values" in cli("recipe")[1]
    assert cli("recipe", "git", "--apply")[0] == 0
    assert b"http://127.0.0.1:8888" in (home / ".gitconfig").read_bytes()
    cli("recipe", "git", "--undo")
    assert (home / ".gitconfig").read_bytes() == GITCONFIG


def test_without_a_known_address_nothing_is_applied_but_all_is_undone(
    cli: Cli, paths: Paths, home: Path
) -> None:
    cli("recipe", "git", "--apply")
    listen_on(paths, 0)
    assert cli("recipe", "npm", "--apply")[0] == 3
    assert states(cli)["git"] == "outdated"
    assert cli("recipe", "git", "--undo")[0] == 0
    assert (home / ".gitconfig").read_bytes() == GITCONFIG


def test_undo_without_a_program_undoes_all(cli: Cli, home: Path) -> None:
    before = sorted(home.rglob("*"))
    applied = (
        "bash",
        "curl",
        "environment.d",
        "fish",
        "git",
        "npm",
        "nushell",
        "powershell",
        "zsh",
    )
    for tool in applied:
        assert cli("recipe", tool, "--apply")[0] == 0
    assert {tool for tool, state in states(cli).items() if state == "applied"} == set(applied)
    code, out, err = cli("recipe", "--undo")
    assert (code, err, len(out.splitlines())) == (0, "", len(applied))
    assert sorted(home.rglob("*")) == before
    assert cli("recipe", "--undo") == (0, "There is nothing to undo.\n", "")


def test_a_file_that_was_changed_since_is_left_alone_and_shown(
    cli: Cli, paths: Paths, home: Path
) -> None:
    file = home / ".bashrc"
    cli("recipe", "bash", "--apply")
    cli("recipe", "git", "--apply")
    with file.open("a") as appended:
        appended.write("alias l=ls\n")
    changed = file.read_bytes()
    for arguments in (("bash", "--undo"), ("--undo",), ("--undo", "--json")):
        code, out, err = cli("recipe", *arguments)
        assert code == 1
        assert f"{file}: it was changed since TrayProxy wrote to it." in err
        assert "(TP-611)\n  export http_proxy=http://127.0.0.1:3128" in err
        assert file.read_bytes() == changed
    assert json.loads(out)["recipes"][0]["left"][0]["path"] == str(file)
    assert (home / ".gitconfig").read_bytes() == GITCONFIG
    assert states(cli)["bash"] == "changed"
    assert cli("recipe", "bash", "--apply")[0] == 0
    listen_on(paths, 8888)
    code, _, err = cli("recipe", "bash", "--apply")
    assert (code, "TP-611" in err, "  export http_proxy=" in err) == (1, True, True)
    assert file.read_bytes() == changed
    # The user follows the advice.
    file.write_text("alias l=ls\n")
    assert cli("recipe", "bash", "--undo")[0] == 0
    assert states(cli)["bash"] == "off"


def test_a_file_that_was_changed_since_is_shown_with_its_earlier_values(
    cli: Cli, home: Path
) -> None:
    file = home / ".gitconfig"
    file.write_bytes(b"[http]\n\tproxy = http://old\xf6:8080\n")
    assert cli("recipe", "git", "--apply")[0] == 0
    subprocess.run(["git", "config", "--global", "user.name", "J"], check=True)
    code, out, err = cli("recipe", "git", "--undo", "--json")
    assert code == 1
    assert err.endswith(
        f"  http.proxy = {URL}\nBefore TrayProxy changed the file, it contained:\n"
        "  http.proxy = http://old\\udcf6:8080\n"
    )
    left = json.loads(out)["recipes"][0]["left"][0]
    assert left["earlier"] == ["http.proxy = http://old\\udcf6:8080"]


def _link(file: Path) -> None:
    file.rename(file.with_name("real"))
    file.symlink_to(file.with_name("real"))


@pytest.mark.parametrize(
    ("prepare", "reason"),
    [
        (_link, "it is a symbolic link, to "),
        (lambda file: file.write_bytes(b"[http\n"), "TrayProxy does not understand it: line 1"),
        (lambda file: file.write_bytes(b"x" * (1 << 21)), "it is larger than 1 MiB"),
        (
            lambda file: file.write_bytes(b"[http]\nproxy = http://jdoe:secret@proxy:8080\n"),
            "line 2 contains a login",
        ),
    ],
)
def test_a_file_that_must_be_left_alone_is_named(
    cli: Cli, home: Path, paths: Paths, prepare: Callable[[Path], object], reason: str
) -> None:
    file = home / ".gitconfig"
    prepare(file)
    before = file.read_bytes()
    code, out, err = cli("recipe", "git", "--apply")
    assert (code, out) == (1, "")
    assert f"{file}: {reason}" in err
    assert "Nothing was changed. To set it by hand: trayproxy recipe git (TP-610)" in err
    assert "secret" not in err
    assert file.read_bytes() == before
    assert not paths.recipes_folder.exists()
    assert cli("recipe")[0] == 0


def test_a_failed_write_changes_nothing(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: ToolFiles, path: str, old: bytes | None, new: bytes) -> None:
        raise TargetError("it cannot be written: No space left on device")

    monkeypatch.setattr(ToolFiles, "write", refuse)
    code, _, err = cli("recipe", "git", "--apply")
    assert code == 1
    assert "No space left on device. Nothing was left half-done. (TP-610)" in err
    assert (home / ".gitconfig").read_bytes() == GITCONFIG
    assert states(cli)["git"] == "off"


@pytest.mark.parametrize("action", ["--apply", "--undo"])
def test_a_damaged_record_is_kept_and_reported(
    cli: Cli, paths: Paths, home: Path, action: str
) -> None:
    cli("recipe", "git", "--apply")
    present = (home / ".gitconfig").read_bytes()
    journal = paths.recipes_folder / "git.json"
    journal.write_bytes(journal.read_bytes()[:50])
    assert states(cli)["git"] == "unknown"
    assert "the record of its changes cannot be read" in cli("recipe")[1]
    code, _, err = cli("recipe", "git", action)
    assert code == 1
    assert f"kept as {journal}.damaged-1. Check the proxy in the files of Git. (TP-612)" in err
    assert (home / ".gitconfig").read_bytes() == present


def _system_recipe(path: Path, commands: str = "", format: str = "whole") -> Recipe:
    return parse(
        f"""
        title = "APT"
        source = "https://manpages.debian.org/apt.conf"
        {commands}
        [[files]]
        format = "{format}"
        admin = true
        paths = ["{path}"]
        [[files.settings]]
        path = []
        value = ["{{url}}"]
        """.encode()
    )


def test_a_file_of_the_system_gives_the_lines_for_the_administrator(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = home / "apt.conf.d" / "95trayproxy"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    own = f'[commands]\nset = ["echo | sudo tee {path}"]\nundo = ["sudo rm {path}"]'
    for found, shown in (
        (_system_recipe(path), f"sudo tee {path} >/dev/null <<'END'\n{URL}\nEND\n"),
        (_system_recipe(path, own), f"# Set:\necho | sudo tee {path}\n# Undo:\nsudo rm {path}\n"),
        (_system_recipe(path, format="block"), f"# Add with “sudoedit {path}”:\n"),
    ):
        monkeypatch.setattr(recipe, "load", lambda tool, found=found: found)
        code, out, err = cli("recipe", "git", "--apply")
        assert code == 1
        assert shown in out
        assert "Use the lines above, as an administrator. (TP-613)" in err
        assert not path.parent.exists()


def test_a_recipe_without_files_has_only_text(cli: Cli) -> None:
    code, out, err = cli("recipe", "docker", "--apply")
    assert code == 1
    assert out.startswith("# Docker client: ")
    assert "There is no file that TrayProxy can change for it here." in err
    shown = json.loads(cli("recipe", "docker", "--apply", "--json")[1])["recipes"][0]
    assert shown["tool"] == "docker"


def test_apply_reports_that_the_program_cannot_connect_until_trayproxy_runs(
    cli: Cli, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, _, err = cli("recipe", "curl", "--apply")
    assert code == 0
    assert "TrayProxy is not running, and programs with this setting cannot connect" in err
    assert "TrayProxy does not start when you log in. To make it start: trayproxy aut" in err
    assert "not running" not in cli("recipe", "ssh", "--apply")[2]
    request.getfixturevalue("service")
    monkeypatch.setattr(recipe, "starts_at_log_in", lambda: True)
    code, _, err = cli("recipe", "git", "--apply")
    assert (code, "not running" in err, "log in" in err) == (0, False, False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_state_folder_that_cannot_be_used_is_reported(cli: Cli, paths: Paths) -> None:
    paths.prepare()
    os.chown(paths.state, 65534, 65534)
    code, out, err = cli("recipe", "--undo")
    assert (code, out) == (1, "")
    assert err.startswith(f"No file was changed. {paths.state} belongs to another user")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("gti",), "there is no “gti”; did you mean “git”?"),
        (("xyzzy",), "there is no “xyzzy”; there are "),
        (("gti", "--undo"), "did you mean “git”?"),
        (("--apply",), "write the program: trayproxy recipe TOOL --apply"),
        (("git", "--apply", "--undo"), "not allowed with argument"),
    ],
)
def test_wrong_usage(cli: Cli, arguments: tuple[str, ...], text: str) -> None:
    code, out, err = cli("recipe", *arguments)
    assert (code, out) == (2, "")
    assert text in err


def test_a_recipe_of_another_system_is_not_offered(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipe, "system_name", lambda: SystemName.WINDOWS)
    code, _, err = cli("recipe", "zsh")
    assert (code, err) == (1, "The recipe for Zsh is only for Linux and macOS.\n")
    assert "zsh" not in states(cli)


def test_a_recipe_that_no_longer_exists_can_be_undone(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("recipe", "git", "--apply")
    monkeypatch.setattr(recipe, "tools", lambda: ())
    assert "Recipes:             git\n" in cli("--debug-info")[1]
    assert cli("recipe", "git", "--undo")[:2] == (0, f"git is as before: {home}/.gitconfig\n")


def test_the_result_as_json(cli: Cli, home: Path) -> None:
    out = json.loads(cli("recipe", "git", "--apply", "--json")[1])
    assert out == {
        "schema": 1,
        "recipes": [
            {
                "tool": "git",
                "title": "Git",
                "source": "https://git-scm.com/docs/git-config#Documentation/git-config.txt-httpproxy",
                "paths": [f"{home}/.gitconfig"],
                "state": "applied",
                "changed": [f"{home}/.gitconfig"],
            }
        ],
    }
    out = json.loads(cli("recipe", "git", "--undo", "--json")[1])
    assert out["recipes"] == [
        {"tool": "git", "title": "Git", "changed": [f"{home}/.gitconfig"], "left": []}
    ]


def test_trayproxy_may_run_from_a_folder_that_is_not_installed(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise InstallationError("it is not installed")

    monkeypatch.setattr(recipe, "installed_program", refuse)
    assert cli("recipe", "git")[0] == 0


def test_a_home_with_octets_that_are_no_text_is_listed(
    cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = home / os.fsdecode(b"B\xfcro")
    other.mkdir()
    monkeypatch.setenv("HOME", str(other))
    code, out, _ = cli("recipe", "git", "--json")
    [git] = json.loads(out)["recipes"]
    assert (code, git["paths"]) == (0, [f"{home}/B?ro/.gitconfig"])
    code, _, err = cli("recipe", "git", "--apply")
    assert (code, "is not UTF-8. (TP-610)" in err) == (1, True)
    assert list(other.iterdir()) == []
