"""Random texts: the programs' own parsers read the wanted values, and everything else as before."""

import configparser
import json
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from trayproxy.recipes.formats.editors import read_value, set_values
from trayproxy.recipes.formats.setting import BYTE_ORDER_MARK, Format, Setting, UnreadableTextError

HTTP = Setting(("http", "proxy"), "http://127.0.0.1:3128")
PROXY = Setting(("proxy",), "http://127.0.0.1:3128")

GIT = (
    '[http]|[HTTP]|[http "https://x"]|[user]|\tproxy = old|\tPROXY|\tname = "a # b" ; c|# c||'
    '\tx = a\\|[a] b = c|[http] proxy = "a\\\\"|; [http|\tbroken "'
)
INI = "[http]|[user]|proxy = old|PROXY: a|  more|name = a ; b|# c||; d|[http] x|  # e|name ="
TOML = (
    "[http]|[http.b]|[user]|[[list]]|[list.http]|proxy = 'old'|http.proxy = 1|http.x = [1, # c|2]|"
    'http = { a = 1 }|name = "a # b" # c|# c||x = """|"""|y = { proxy = [{}] }|http.b.c = 1|'
    '"a.b" = 1'
)
YAML = (
    "http:|user:|  proxy: old|  proxy:|  name: 'a # b' # c|# c||- a|  - b|proxy: x|text: |-|"
    "list: [a, {b: c}]|http: {}|http: {a: 1}|  # d|    more: 1|  - proxy: y|---|name: [|]|"
    "&a|http: &b"
)
LINES = {
    Format.GIT: GIT,
    Format.INI: INI,
    Format.TOML: TOML,
    Format.YAML: YAML,
    Format.PROPERTIES: "proxy=a|proxy: b\\|  c|# proxy\\|! d||a b=c|pro\\u0078y|proxy",
    Format.NPMRC: "proxy=a|proxy = b ; c|; d|# e||//r/:_authToken=x|a[]=b|[s]|proxy",
    Format.WGETRC: "proxy=a|Pro_xy = b|# c||header = a=b|  proxy = c  ",
    Format.DOTENV: "proxy=a|export proxy='b' # c||KEY=|# d|proxy = e f # g|A_B=x",
    Format.CURLRC: 'proxy=a|--proxy b|-x c|proxy "d \\" e"|# f||silent|-s|user-agent: "a" # b',
    Format.YARNRC: 'proxy a|"proxy" "b"|# c||  proxy d|a true|b:',
}


def texts(text_format: Format) -> st.SearchStrategy[str]:
    lines = st.lists(st.sampled_from(LINES[text_format].split("|")), max_size=7)
    return st.builds(
        lambda mark, found, newline, end: mark + newline.join(found) + end * newline,
        st.sampled_from(["", "", BYTE_ORDER_MARK]),
        lines,
        st.sampled_from(["\n", "\r\n"]),
        st.booleans(),
    )


def changed(
    text_format: Format, text: str, setting: Setting, *, longest_value: int = 3
) -> str | None:
    """Return the text with the setting, after the checks that hold for each format.

    Args:
        text_format: The format.
        text: The text.
        setting: The setting.
        longest_value: The largest number of lines of the old value.
    """
    try:
        new = set_values(text_format, text, [setting])
    except UnreadableTextError:
        return None
    assert set_values(text_format, new, [setting]) == new
    assert read_value(text_format, new, setting.path) == setting.value
    start, end = 0, 0
    while start < len(text) and text[start : start + 1] == new[start : start + 1]:
        start += 1
    while end < len(text) - start and text[-1 - end] == new[-1 - end] and end < len(new) - start:
        end += 1
    replaced = text[start : len(text) - end].splitlines()
    # At most the old value is gone, which may be continued on the next lines.
    assert len([line for line in replaced if not line.endswith("\\")]) <= longest_value
    assert "# c" not in "".join(replaced)
    assert new.count("\n") - new.count("\r\n") == (0 if "\r\n" in text else new.count("\n"))
    return new


def with_value(tree: dict[str, Any], setting: Setting) -> dict[str, Any]:
    inner = tree
    for key in setting.path[:-1]:
        inner[key] = inner.get(key) or {}
        inner = inner[key]
    inner[setting.path[-1]] = setting.value
    return tree


def parsed_ini(text: str) -> dict[str, Any]:
    parser = configparser.RawConfigParser()
    parser.read_string(text)
    return {name: dict(parser[name]) for name in parser.sections()}


def parsed_toml(text: str) -> dict[str, Any]:
    return tomllib.loads(text.removeprefix(BYTE_ORDER_MARK))


def parsed_yaml(text: str) -> dict[str, Any]:
    tree = yaml.safe_load(text)
    assert tree is None or isinstance(tree, dict)
    return tree or {}


@pytest.mark.parametrize(
    ("text_format", "parsed"),
    [(Format.INI, parsed_ini), (Format.TOML, parsed_toml), (Format.YAML, parsed_yaml)],
)
@settings(max_examples=60)
@given(data=st.data())
def test_the_parser_reads_the_value_and_the_rest_as_before(
    text_format: Format, parsed: Callable[[str], dict[str, Any]], data: st.DataObject
) -> None:
    text = data.draw(texts(text_format))
    # In an INI file, all further lines may continue the value.
    longest = 7 if text_format is Format.INI else 3
    new = changed(text_format, text, HTTP, longest_value=longest)
    try:
        before = parsed(text)
    except (configparser.Error, ValueError, AssertionError, yaml.YAMLError):
        # A text that cannot be read is not changed; the YAML editor reads only what it changes.
        assert new is None or text_format is Format.YAML
        return
    if new is not None:
        assert parsed(new) == with_value(before, HTTP)
    elif text_format is Format.INI:
        pytest.fail("a text that can be read is refused")


def git_list(path: Path, text: str) -> list[str] | None:
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    listed = subprocess.run(
        ["git", "config", "--file", path, "--list", "-z"], capture_output=True, check=False
    )
    return listed.stdout.decode().split("\0")[:-1] if listed.returncode == 0 else None


def without_last_proxy(entries: list[str]) -> tuple[str, list[str]]:
    """Return the value of http.proxy, and the other entries."""
    places = [at for at, entry in enumerate(entries) if entry.partition("\n")[0] == "http.proxy"]
    if not places:
        return "", entries
    value = entries[places[-1]].partition("\n")[2]
    return value, entries[: places[-1]] + entries[places[-1] + 1 :]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=texts(Format.GIT))
def test_git_reads_the_value_and_the_rest_as_before(tmp_path: Path, text: str) -> None:
    new = changed(Format.GIT, text, HTTP)
    before = git_list(tmp_path / "before", text)
    # git also reads a backslash at the end of the file.
    assume(not text.rstrip("\r\n").endswith("\\"))
    assert (new is None) == (before is None)
    if new is not None and before is not None:
        after = git_list(tmp_path / "after", new) or []
        assert without_last_proxy(after) == (HTTP.value, without_last_proxy(before)[1])


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["http", "a", "proxy"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(
    tree=st.dictionaries(st.sampled_from(["http", "a", "ü//"]), JSON_VALUES),
    indent=st.sampled_from([None, 2, "\t"]),
    comment=st.sampled_from(["", " // c", " /* c */"]),
    newline=st.sampled_from(["\n", "\r\n"]),
    is_ascii=st.booleans(),
)
def test_json_has_the_value_and_the_rest_as_before(
    tree: dict[str, Any], indent: str | None, comment: str, newline: str, is_ascii: bool
) -> None:
    text = json.dumps(tree, indent=indent, ensure_ascii=is_ascii)
    assume(comment not in text or not comment)
    lines = text.replace("\n", comment + newline)
    new = changed(Format.JSON, lines, HTTP, longest_value=len(lines))
    inner = tree.get("http")
    proxy = inner.get("proxy") if isinstance(inner, dict) else None
    if isinstance(inner, dict | None) and not isinstance(proxy, dict | list):
        assert new is not None
        assert new.count(comment + newline) >= text.count("\n")
        assert json.loads(new.replace(comment, "")) == with_value(tree, HTTP)


@pytest.mark.parametrize(
    "text_format",
    [Format.PROPERTIES, Format.NPMRC, Format.WGETRC, Format.CURLRC, Format.YARNRC, Format.DOTENV],
)
@settings(max_examples=40)
@given(data=st.data())
def test_lines_have_the_value_and_the_rest_as_before(
    text_format: Format, data: st.DataObject
) -> None:
    text = data.draw(texts(text_format))
    assert changed(text_format, text, PROXY) is not None


NAMES = st.sampled_from(["settings", "proxies", "proxy", "host", "id"])
XmlTree = tuple[str, str, list[Any]]
"""An element: name, text, children."""

XML_TREES: st.SearchStrategy[XmlTree] = st.recursive(
    st.builds(lambda name, text: (name, text, []), NAMES, st.sampled_from(["", "trayproxy", "ü&"])),
    lambda inner: st.builds(lambda name, found: (name, " ", found), NAMES, st.lists(inner)),
    max_leaves=6,
)


def element(tree: XmlTree) -> ElementTree.Element:
    name, text, children = tree
    made = ElementTree.Element(name, {"a": ">"})
    made.text = text
    made.extend(element(child) for child in children)
    return made


@settings(max_examples=60)
@given(trees=st.lists(XML_TREES, max_size=3), is_indented=st.booleans(), empty=st.booleans())
def test_xml_has_the_value_and_the_rest_as_before(
    trees: list[XmlTree], is_indented: bool, empty: bool
) -> None:
    root = element(("settings", "", trees))
    if is_indented:
        ElementTree.indent(root)
    text = ElementTree.tostring(root, "unicode", short_empty_elements=empty)
    path = ("settings", "proxies", "proxy[id=trayproxy]", "host")
    new = changed(Format.XML, text, Setting(path, "<127.0.0.1>"))
    if new is not None:
        proxies = ElementTree.fromstring(new).findall("./proxies")[-1]
        assert proxies.findall("./proxy[id='trayproxy']/host")[-1].text == "<127.0.0.1>"
        before = [made.tag for made in root.iter()]
        assert len([*ElementTree.fromstring(new).iter()]) in range(len(before), len(before) + 5)
