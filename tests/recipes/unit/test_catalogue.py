"""Tests for trayproxy.recipes.catalogue, and of all data files against the schema."""

from dataclasses import replace
from ipaddress import ip_network

import pytest

from trayproxy.desktop.system_name import SystemName, system_name
from trayproxy.desktop.system_proxy.base import BypassKind, BypassRule
from trayproxy.recipes.catalogue import RecipeError, load, parse, tools
from trayproxy.recipes.formats.setting import Setting
from trayproxy.recipes.placeholders import NAMES, PlaceholderValues, fill, fill_setting, names_in
from trayproxy.recipes.plan import LINE_FORMATS, edited, has_settings
from trayproxy.recipes.recipe import Recipe, SettingTemplate, ToolFile
from trayproxy.recipes.targets import Computer, path_of, targets

VALUES = PlaceholderValues("127.0.0.1:3128", ca="/home/jdoe/ca.pem")
HOMES = {
    SystemName.LINUX: "/home/jdoe",
    SystemName.MACOS: "/Users/jdoe",
    SystemName.WINDOWS: "C:/Users/jdoe",
}
ENVIRON = {"APPDATA": "C:/Users/jdoe/AppData/Roaming", "ProgramData": "C:/ProgramData"}

MINIMAL = """
title = "Git"
source = "https://git-scm.com/docs/git-config"
[[files]]
format = "git"
paths = ["~/.gitconfig"]
[[files.settings]]
path = ["http", "proxy"]
value = "{url}"
"""


def computer(system: SystemName, *existing: str, **environ: str) -> Computer:
    return Computer(system, environ, HOMES[system], set(existing).__contains__)


@pytest.mark.parametrize("tool", tools())
@pytest.mark.parametrize("system", SystemName)
def test_each_data_file_follows_the_schema(tool: str, system: SystemName) -> None:
    recipe = load(tool)
    assert tool == tool.lower()
    assert recipe.title
    assert all(note.endswith((".", ":")) and len(note) <= 300 for note in recipe.notes)
    # Everything exists, so that no file of the recipe is left out.
    here = Computer(system, ENVIRON, HOMES[system], lambda path: True)
    found = targets(recipe, here, VALUES)
    assert len({target.path for target in found}) == len(found)
    for target in found:
        assert target.settings or target.ca
        octets = edited(target, None)
        assert has_settings(target, octets)
        assert edited(target, octets) == octets
        words = (b"3128", b"trayproxy", b"mirrored") if target.settings else (b"/ca.pem",)
        assert any(word in octets for word in words)
    commands = recipe.commands_on(system)
    for text in (*commands.set, *commands.undo, *commands.ca) if commands else ():
        assert fill(text, VALUES)


@pytest.mark.parametrize("system", SystemName)
@pytest.mark.parametrize("has_files", [True, False])
def test_no_two_recipes_change_the_same_file(system: SystemName, has_files: bool) -> None:
    # Each recipe would see the changes of the other as those of another program.
    here = Computer(system, ENVIRON, HOMES[system], lambda path: has_files)
    found = [t.path for tool in tools() for t in targets(load(tool), here, VALUES)]
    assert sorted(set(found)) == sorted(found)


def test_the_smallest_recipe() -> None:
    recipe = parse(MINIMAL.encode())
    (target,) = targets(recipe, computer(SystemName.LINUX), VALUES)
    assert target.path == "/home/jdoe/.gitconfig"
    assert target.settings == (Setting(("http", "proxy"), "http://127.0.0.1:3128"),)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("title", "titel", "unknown field"),
        ('"git"', '"svn"', "Invalid enum value"),
        ("https://", "http://", "vendor"),
        ("{url}", "{uri}", "unknown placeholder"),
        ("{url}", "{ca}", "only for"),
        ('paths = ["~/.gitconfig"]', "", "no path"),
        ('["http", "proxy"]', "[]", "lines have no path"),
        ('"{url}"', '["a"]\nextra = 1', "unknown field"),
        ("[[files]]", "[files", "Expected"),
        (MINIMAL[MINIMAL.index("[[files.") :], "", "a file has no settings"),
        (MINIMAL[MINIMAL.index("[[files]]") :], "", "neither files nor commands"),
    ],
)
def test_a_data_file_that_breaks_a_rule_is_refused(old: str, new: str, reason: str) -> None:
    assert old in MINIMAL
    with pytest.raises(RecipeError, match=reason):
        parse(MINIMAL.replace(old, new, 1).encode())


BYPASS = (
    BypassRule("*.corp.example", BypassKind.SUBDOMAINS, "corp.example"),
    BypassRule("intra", BypassKind.NAME, "intra"),
    BypassRule("10.0.0.0/8", BypassKind.NETWORK, str(ip_network("10.0.0.0/8"))),
    BypassRule("a.example:8080", BypassKind.NAME, "a.example", 8080),
    BypassRule("127.0.0.1", BypassKind.ADDRESS, "127.0.0.1"),
)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{url} {address} {host} {port}", "http://127.0.0.1:3128 127.0.0.1:3128 127.0.0.1 3128"),
        ("{container_url}", "http://host.docker.internal:3128"),
        (
            "{container_hint}",
            "Containers with a network of their own reach TrayProxy only after: "
            "trayproxy containers on.",
        ),
        ("{no_proxy}", "localhost,127.0.0.1,::1,.corp.example,10.0.0.0/8"),
        ("{no_proxy_stars}", "localhost,127.0.0.1,::1,*.corp.example,intra"),
        ("{no_proxy_java}", "localhost|127.*|[::1]|*.corp.example|intra|127.0.0.1"),
        ("{http_proxy: '{url}'}", "{http_proxy: 'http://127.0.0.1:3128'}"),
        ("{trayproxy} connect %h:%p", "/opt/100%%/trayproxy connect %h:%p"),
        ("${ca}", "$/ca.pem"),
    ],
)
def test_the_placeholders(text: str, filled: str) -> None:
    values = PlaceholderValues("127.0.0.1:3128", BYPASS, "/ca.pem", "/opt/100%/trayproxy")
    assert fill(text, values) == filled
    assert set(names_in(text)) <= set(NAMES)


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("'{ca_sh}'", r"""'/home/o'\''brien/"\ca.pem'"""),
        ("'{ca_fish}'", r"""'/home/o\'brien/"\\ca.pem'"""),
        ("'{ca_powershell}'", r"""'/home/o''brien/"\ca.pem'"""),
        ('"{ca_double_quoted}"', r'''"/home/o'brien/\"\\ca.pem"'''),
    ],
)
def test_the_path_of_the_ca_is_one_word_in_each_shell(text: str, filled: str) -> None:
    assert (
        fill(text, PlaceholderValues("127.0.0.1:3128", ca=r"""/home/o'brien/"\ca.pem""")) == filled
    )


@pytest.mark.parametrize("tool", tools())
def test_no_shell_gets_the_path_of_the_ca_without_escapes(tool: str) -> None:
    recipe = load(tool)
    blocks = [file for file in recipe.files if file.format in LINE_FORMATS]
    assert not any("{ca}" in str(file.ca) for file in blocks)


def test_all_placeholders_have_values() -> None:
    values = PlaceholderValues("[::1]:3128", BYPASS, "/ca.pem")
    for name in NAMES:
        assert fill(f"{{{name}}}", values)
    assert fill("{host}", values) == "::1"
    assert values.inexpressible == ("intra", "a.example:8080")


def test_a_number_and_a_list_of_hosts() -> None:
    values = PlaceholderValues("127.0.0.1:3128", BYPASS[:1])

    def value(template: object) -> object:
        return fill_setting(SettingTemplate(("a", "{host}"), template), values)  # type: ignore[arg-type]

    assert value("{port_number}") == Setting(("a", "127.0.0.1"), 3128)
    assert value(("{no_proxy}",)) == Setting(
        ("a", "127.0.0.1"), ("localhost", "127.0.0.1", "::1", ".corp.example")
    )
    assert value(("x", "{port}")) == Setting(("a", "127.0.0.1"), ("x", "3128"))
    assert value(True) == Setting(("a", "127.0.0.1"), True)


def test_the_ca_is_set_only_if_it_exists() -> None:
    recipe = load("git")
    here = computer(SystemName.LINUX)
    (target,) = targets(recipe, here, VALUES)
    ca = Setting(("http", "sslCAInfo"), "/home/jdoe/ca.pem")
    assert target.ca == (ca,)
    assert b"sslCAInfo = /home/jdoe/ca.pem" in edited(target, None)
    own = b"[http]\n\tsslCAInfo = /own.pem\n"
    assert edited(target, own).startswith(own)
    assert targets(recipe, here, PlaceholderValues("127.0.0.1:3128"))[0].ca == ()


def test_a_file_for_the_ca_only_is_left_out_without_a_ca() -> None:
    here = computer(SystemName.LINUX, XDG_CONFIG_HOME="/c")
    with_ca = [t.path for t in targets(load("pnpm"), here, VALUES)]
    without = [t.path for t in targets(load("pnpm"), here, PlaceholderValues("127.0.0.1:3128"))]
    assert with_ca == ["/c/pnpm/config.yaml", "/c/pnpm/auth.ini"]
    assert without == with_ca[:1]


def test_a_setting_for_other_systems_is_left_out() -> None:
    text = MINIMAL + 'systems = ["windows"]\n[[files.settings]]\npath = ["a", "b"]\nvalue = 1\n'
    recipe = parse(text.encode())
    (target,) = targets(recipe, computer(SystemName.LINUX), VALUES)
    assert [setting.name for setting in target.settings] == ["a.b"]


def _file(**members: object) -> ToolFile:
    return ToolFile("git", (), **members)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("file", "existing", "environ", "path"),
    [
        (_file(paths=("~/a", "~/b")), (), {}, "/home/jdoe/a"),
        (_file(paths=("~/a", "~/b")), ("/home/jdoe/b",), {}, "/home/jdoe/b"),
        (_file(paths=("~/a", "~/b"), new="~/b"), (), {}, "/home/jdoe/b"),
        (_file(paths=("$X/a", "~/b")), (), {}, "/home/jdoe/b"),
        (_file(paths=("$X/a", "~/b")), (), {"X": "/x"}, "/x/a"),
        (_file(paths=("~/a",), override=("$X",)), ("/home/jdoe/a",), {"X": "/x"}, "/x"),
        (_file(paths=("~/a",), override=("$X",)), (), {"X": ""}, "/home/jdoe/a"),
        (_file(paths=("$XDG_CONFIG_HOME/a",)), (), {}, "/home/jdoe/.config/a"),
        (
            _file(paths=("$XDG_CONFIG_HOME/a",)),
            (),
            {"XDG_CONFIG_HOME": "x"},
            "/home/jdoe/.config/a",
        ),
        (_file(paths=("$XDG_CONFIG_HOME/a",)), (), {"XDG_CONFIG_HOME": "/x"}, "/x/a"),
        (_file(paths=("~/a",), linux=("~/b",)), (), {}, "/home/jdoe/b"),
        (_file(macos=("~/a",)), (), {}, None),
        (_file(paths=("$X/a",)), (), {}, None),
        (_file(paths=("~/a",), if_exists=("~/d",)), (), {}, None),
        (_file(paths=("~/a",), if_exists=("~/d",)), ("/home/jdoe/d",), {}, "/home/jdoe/a"),
    ],
)
def test_the_path_of_a_file(
    file: ToolFile, existing: tuple[str, ...], environ: dict[str, str], path: str | None
) -> None:
    assert path_of(file, computer(SystemName.LINUX, *existing, **environ)) == path


def test_paths_on_windows_have_backslashes() -> None:
    here = computer(SystemName.WINDOWS, APPDATA="C:\\Users\\jdoe\\AppData\\Roaming")
    assert path_of(_file(windows=("$APPDATA/pip/pip.ini",)), here) == (
        "C:\\Users\\jdoe\\AppData\\Roaming\\pip\\pip.ini"
    )


def test_a_folder_of_settings_on_windows_may_have_a_drive() -> None:
    here = computer(SystemName.WINDOWS, XDG_CONFIG_HOME="D:\\config")
    assert path_of(_file(paths=("$XDG_CONFIG_HOME/a",)), here) == "D:\\config\\a"


def test_the_names_of_the_systems() -> None:
    assert [system_name(name) for name in ("linux", "darwin", "win32", "freebsd14")] == [
        SystemName.LINUX,
        SystemName.MACOS,
        SystemName.WINDOWS,
        SystemName.LINUX,
    ]


def test_the_lines_for_windows_and_macos_replace_the_others() -> None:
    commands = '[commands]\nset = ["{}"]\nundo = ["u"]\n'
    text = MINIMAL.split("[[files]]")[0] + "".join(
        commands.replace("commands", name).replace("{}", name)
        for name in ("commands", "windows_commands")
    )
    recipe: Recipe = parse(text.encode())
    found = [recipe.commands_on(system) for system in SystemName]
    assert [c.set if c else () for c in found] == [
        ("commands",),
        ("commands",),
        ("windows_commands",),
    ]


def test_containers_get_the_address_of_their_network_and_docker_engine_its_file() -> None:
    here = computer(SystemName.LINUX)
    assert not targets(load("docker"), here, VALUES)
    values = replace(VALUES, container_address="172.17.0.1:3128")
    (target,) = targets(load("docker"), here, values)
    assert [setting.value for setting in target.settings[:2]] == ["http://172.17.0.1:3128"] * 2
    assert fill("{container_hint}", values).endswith("reach TrayProxy at http://172.17.0.1:3128.")
