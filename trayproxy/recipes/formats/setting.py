"""A setting in a program's file, and the formats of these files."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

Value = str | int | bool | tuple[str, ...]
"""The value of a setting; a tuple is a list of texts."""

SettingPath = tuple[str, ...]
"""The keys that lead to a setting, from the outermost to the innermost; see `Format`."""

BYTE_ORDER_MARK = "\ufeff"


class Format(StrEnum):
    """The format of a file.

    Attributes:
        BLOCK: Lines between two marks at the end of a text with ``#`` comments; the path is empty,
            and the value is a tuple of lines.
        CURLRC: curl's config file: ``("proxy",)``.
        DOTENV: Environment variables in a file ``.env``: ``("HTTPS_PROXY",)``.
        FIRST_BLOCK: Like BLOCK, at the beginning, for programs for which the first value counts.
        GIT: git's config file: ``("http", "proxy")``, or ``("http", "https://a.example", "proxy")``
            with a subsection.
        INI: The format of Python's configparser: ``("global", "proxy")``.
        JSON: JSON, also with comments and trailing commas: ``("proxies", "default", "httpProxy")``.
        NPMRC: npm's config file: ``("https-proxy",)``.
        PROPERTIES: Java properties: ``("systemProp.http.proxyHost",)``.
        TOML: TOML 1.0: ``("http", "proxy")``.
        WGETRC: wget's start-up file: ``("https_proxy",)``.
        WHOLE: A file that belongs to TrayProxy; as BLOCK, without marks.
        XML: XML without a document type: ``("settings", "proxies", "proxy[id=trayproxy]", "host")``
            is the text of an element below the ``proxy`` whose child ``id`` has the text, and
            ``("configuration", "config", "add[@key=http_proxy]", "@value")`` an attribute of the
            ``add`` whose attribute ``key`` has the value.
        YAML: YAML 1.2 with mappings in block style: ``("proxy_servers", "http")``.
        YARNRC: The config file of Yarn 1: ``("https-proxy",)``.
    """

    BLOCK = "block"
    CURLRC = "curlrc"
    DOTENV = "dotenv"
    FIRST_BLOCK = "first-block"
    GIT = "git"
    INI = "ini"
    JSON = "json"
    NPMRC = "npmrc"
    PROPERTIES = "properties"
    TOML = "toml"
    WGETRC = "wgetrc"
    WHOLE = "whole"
    XML = "xml"
    YAML = "yaml"
    YARNRC = "yarnrc"


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting and its wanted value.

    Attributes:
        path: The keys that lead to the setting; see `Format`.
        value: The value.
        separator: The separator of the items if the value is a list in one text, such as ``,`` in
            ``localhost,127.0.0.1``; otherwise empty.
    """

    path: SettingPath
    value: Value
    separator: str = ""

    @property
    def name(self) -> str:
        """The path as people read it, such as ``http.proxy``."""
        return ".".join(self.path)


@dataclass(frozen=True, slots=True)
class Editor:
    """The functions of one format.

    Attributes:
        read: Returns the value of the setting at a path as the program reads it; None if there is
            none. Lists are tuples.
        write: Returns the text with one setting set. The value of a list is the whole list.
    """

    read: Callable[[str, SettingPath], object]
    write: Callable[[str, Setting], str]


class UnreadableTextError(Exception):
    """A text is not of its format, or its setting cannot be changed without touching the rest.

    Attributes:
        reason: The reason, a clause.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def unreadable(text: str, offset: int, reason: str) -> UnreadableTextError:
    """Return the error for a place in a text, with the number of its line."""
    line = text.count("\n", 0, offset) + 1
    return UnreadableTextError(f"line {line}: {reason}")
