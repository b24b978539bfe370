"""Recipes: how a program is made to use TrayProxy. The types are the schema of the data files.

A data file, ``trayproxy/recipes/data/git.toml``, is one `Recipe`. Texts in it may contain the
placeholders of `trayproxy.recipes.placeholders`.
"""

from msgspec import Struct

from trayproxy.desktop.system_name import SystemName
from trayproxy.recipes.formats.setting import Format

EVERY_SYSTEM = tuple(SystemName)


class SettingTemplate(Struct, frozen=True, forbid_unknown_fields=True):
    """A setting of a program's file, with placeholders.

    Attributes:
        path: The keys that lead to the setting (`trayproxy.recipes.formats.setting.Format`).
        value: The value.
        systems: The systems on which the setting is needed.
    """

    path: tuple[str, ...]
    value: bool | int | str | tuple[str, ...]
    systems: tuple[SystemName, ...] = EVERY_SYSTEM


class ToolFile(Struct, frozen=True, forbid_unknown_fields=True):
    """A file that ``--apply`` changes.

    Its paths are texts with ``~`` for the home folder and ``$NAME`` for environment variables; a
    path with an unset variable does not count. See `trayproxy.recipes.targets`.

    Attributes:
        format: The format of the file.
        settings: The settings that make the program use TrayProxy; may be empty if there are
            settings for a CA.
        ca: The settings that make the program trust the certificates of a company's CA.
        paths: The paths where the program looks for the file, in its order, on every system.
        linux: The paths on Linux, if they differ.
        macos: The paths on macOS, if they differ.
        windows: The paths on Windows, if they differ.
        override: Paths from variables which, if set, make the program look nowhere else.
        new: The path of a new file if none of the paths exists; empty for the first path.
        if_exists: If not empty, the file is changed only if one of these paths exists.
        or_containers: True if the file is also changed, without `if_exists`, while TrayProxy serves
            containers and WSL on this computer.
        admin: True for a file of the system, which only an administrator may change.
    """

    format: Format
    settings: tuple[SettingTemplate, ...] = ()
    ca: tuple[SettingTemplate, ...] = ()
    paths: tuple[str, ...] = ()
    linux: tuple[str, ...] = ()
    macos: tuple[str, ...] = ()
    windows: tuple[str, ...] = ()
    override: tuple[str, ...] = ()
    new: str = ""
    if_exists: tuple[str, ...] = ()
    or_containers: bool = False
    admin: bool = False

    def paths_on(self, system: SystemName) -> tuple[str, ...]:
        """Return the paths on a system; empty if the program has no such file there."""
        return {
            SystemName.LINUX: self.linux,
            SystemName.MACOS: self.macos,
            SystemName.WINDOWS: self.windows,
        }[system] or self.paths


class Commands(Struct, frozen=True, forbid_unknown_fields=True):
    """Lines that the user can copy instead of ``--apply`` and ``--undo``.

    Attributes:
        set: The lines that make the program use TrayProxy.
        undo: The lines that undo `set`.
        ca: The lines that make the program trust the certificates of a company's CA.
        undo_ca: The lines that undo `ca`.
    """

    set: tuple[str, ...]
    undo: tuple[str, ...]
    ca: tuple[str, ...] = ()
    undo_ca: tuple[str, ...] = ()


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """How one program is made to use TrayProxy.

    Attributes:
        title: The name of the program, as its vendor writes it.
        source: The page of the vendor that documents the setting.
        systems: The systems on which the recipe exists.
        notes: Sentences for the user.
        commands: Lines to copy; None if the text of the files is enough.
        windows_commands: Lines to copy on Windows, if they differ.
        macos_commands: Lines to copy on macOS, if they differ.
        files: The files to change; without files, there are only lines to copy.
    """

    title: str
    source: str
    systems: tuple[SystemName, ...] = EVERY_SYSTEM
    notes: tuple[str, ...] = ()
    commands: Commands | None = None
    windows_commands: Commands | None = None
    macos_commands: Commands | None = None
    files: tuple[ToolFile, ...] = ()

    def commands_on(self, system: SystemName) -> Commands | None:
        """Return the lines to copy on a system."""
        special = {SystemName.MACOS: self.macos_commands, SystemName.WINDOWS: self.windows_commands}
        return special.get(system) or self.commands
