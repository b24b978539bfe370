"""Find the files of a recipe on this computer, and the settings for each file."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath, PureWindowsPath

from msgspec import structs

from trayproxy.desktop.system_name import SystemName
from trayproxy.recipes.formats.setting import Setting
from trayproxy.recipes.placeholders import PlaceholderValues, fill_setting
from trayproxy.recipes.plan import FileTarget
from trayproxy.recipes.recipe import Recipe, SettingTemplate, ToolFile

_VARIABLE = re.compile(r"\$([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Computer:
    """The facts about this computer on which the paths depend.

    Attributes:
        system: The operating system.
        environ: The environment of the user.
        home: The home folder of the user.
        exists: Returns True if there is a file or folder at a path.
    """

    system: SystemName
    environ: Mapping[str, str]
    home: str
    exists: Callable[[str], bool]


def targets(
    recipe: Recipe, computer: Computer, values: PlaceholderValues
) -> tuple[FileTarget, ...]:
    """Return the files that a recipe changes on this computer, with their settings.

    Args:
        recipe: The recipe.
        computer: The computer.
        values: The values of the placeholders.
    """
    # A file may have settings for a company's CA only.
    files = (file for file in recipe.files if file.settings or values.ca)
    found = ((file, path_of(_in_use(file, values), computer)) for file in files)
    return tuple(
        FileTarget(
            path,
            file.format,
            _settings(file.settings, computer.system, values),
            _settings(file.ca, computer.system, values) if values.ca else (),
            file.admin,
        )
        for file, path in found
        if path is not None
    )


def _in_use(file: ToolFile, values: PlaceholderValues) -> ToolFile:
    is_needed = file.or_containers and values.container_address
    return structs.replace(file, if_exists=()) if is_needed else file


def path_of(file: ToolFile, computer: Computer) -> str | None:
    """Return the path of a file to change; None if the program has no such file here.

    The path is the one at which the program itself looks: an `override`, the first existing path,
    or the path of a new file.
    """
    paths = file.paths_on(computer.system)
    exists = computer.exists

    pure_path = PureWindowsPath if computer.system is SystemName.WINDOWS else PurePosixPath

    def expanded(texts: Iterable[str]) -> list[str]:
        found = (_expand(text, computer.environ, computer.home) for text in texts)
        return [str(pure_path(path)) for path in found if path is not None]

    if not paths or (file.if_exists and not any(map(exists, expanded(file.if_exists)))):
        return None
    for path in expanded(file.override):
        return path
    known = expanded(paths)
    for path in known:
        if exists(path):
            return path
    return next(iter([*expanded(filter(None, [file.new])), *known]), None)


def _settings(
    templates: Iterable[SettingTemplate], system: SystemName, values: PlaceholderValues
) -> tuple[Setting, ...]:
    return tuple(fill_setting(t, values) for t in templates if system in t.systems)


def _expand(text: str, environ: Mapping[str, str], home: str) -> str | None:
    """Replace ``~`` and the variables in a path; return None if a variable is not set."""
    names = _VARIABLE.findall(text)
    values = {name: environ.get(name, "") for name in names}
    # Relative paths are invalid (XDG Base Directory Specification).
    folder = values.get("XDG_CONFIG_HOME", "/")
    if not PurePosixPath(folder).is_absolute() and not PureWindowsPath(folder).is_absolute():
        values["XDG_CONFIG_HOME"] = f"{home}/.config"
    if not all(values.values()):
        return None
    path = _VARIABLE.sub(lambda match: values[match[1]], text)
    return home + path[1:] if path == "~" or path.startswith("~/") else path
