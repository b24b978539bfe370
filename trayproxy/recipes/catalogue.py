"""The catalogue: the recipes in the data files, ``trayproxy/recipes/data/TOOL.toml``."""

from collections.abc import Iterable, Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

import msgspec

from trayproxy.desktop.system_name import SystemName
from trayproxy.recipes.formats.setting import Format
from trayproxy.recipes.placeholders import CA_NAMES, NAMES, names_in
from trayproxy.recipes.recipe import Recipe, SettingTemplate, ToolFile

_SUFFIX = ".toml"


class RecipeError(ValueError):
    """A data file is not a recipe; the text says why."""


def tools() -> tuple[str, ...]:
    """Return the names of all recipes, sorted."""
    names = (entry.name for entry in _data().iterdir())
    return tuple(sorted(n.removesuffix(_SUFFIX) for n in names if n.endswith(_SUFFIX)))


def load(tool: str) -> Recipe:
    """Return a recipe by its name, one of `tools`."""
    return parse(_data().joinpath(tool + _SUFFIX).read_bytes())


def parse(octets: bytes) -> Recipe:
    """Return the recipe of a data file.

    Raises:
        RecipeError: The file is not TOML, or does not follow the schema.
    """
    try:
        recipe = msgspec.toml.decode(octets, type=Recipe)
    except msgspec.MsgspecError as error:
        raise RecipeError(str(error)) from None
    _check(recipe)
    return recipe


def _data() -> Traversable:
    return files("trayproxy.recipes") / "data"


def _check(recipe: Recipe) -> None:
    """Raise `RecipeError` if a recipe breaks a rule that the types of the schema do not express."""
    if not recipe.source.startswith("https://"):
        raise RecipeError("the source is not an https:// page of the vendor")
    if not recipe.files and recipe.commands is None:
        raise RecipeError("there are neither files nor commands")
    with_ca, without_ca = _texts(recipe)
    for text in (*with_ca, *without_ca):
        if unknown := set(names_in(text)) - set(NAMES):
            raise RecipeError(f"unknown placeholder {{{unknown.pop()}}} in “{text}”")
    if any(CA_NAMES.intersection(names_in(text)) for text in without_ca):
        raise RecipeError("{ca} is only for the settings and commands of the CA")
    for file in recipe.files:
        _check_file(file)


def _check_file(file: ToolFile) -> None:
    if not (file.settings or file.ca):
        raise RecipeError("a file has no settings")
    if not any(map(file.paths_on, SystemName)):
        raise RecipeError("a file has no path")
    for setting in (*file.settings, *file.ca):
        is_lines = file.format in (Format.BLOCK, Format.FIRST_BLOCK, Format.WHOLE)
        if is_lines != (not setting.path) or (is_lines and not isinstance(setting.value, tuple)):
            raise RecipeError("lines have no path, and every other setting has one")


def _texts(recipe: Recipe) -> tuple[list[str], list[str]]:
    """Return the texts with placeholders in two lists: those for a company's CA, and the others."""
    with_ca: list[str] = []
    without_ca = list(recipe.notes)
    for commands in (recipe.commands, recipe.windows_commands, recipe.macos_commands):
        if commands is not None:
            with_ca += (*commands.ca, *commands.undo_ca)
            without_ca += (*commands.set, *commands.undo)
    for file in recipe.files:
        with_ca += _texts_of(file.ca)
        without_ca += _texts_of(file.settings)
    return with_ca, without_ca


def _texts_of(settings: Iterable[SettingTemplate]) -> Iterator[str]:
    for setting in settings:
        yield from setting.path
        match setting.value:
            case str() as text:
                yield text
            case tuple() as items:
                yield from items
