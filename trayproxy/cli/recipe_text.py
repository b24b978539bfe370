"""The texts of ``trayproxy recipe`` for people."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from shlex import quote

from trayproxy.cli.output import printable_line
from trayproxy.desktop.system_name import SystemName
from trayproxy.recipes.apply import State
from trayproxy.recipes.formats.setting import Format
from trayproxy.recipes.placeholders import PlaceholderValues, fill
from trayproxy.recipes.plan import FileTarget, edited
from trayproxy.recipes.recipe import Recipe

_STATES: Mapping[State, str] = {
    State.OFF: "off",
    State.APPLIED: "on",
    State.OUTDATED: "on, with old values",
    State.CHANGED: "changed since",
    State.BY_USER: "on, not by TrayProxy",
    State.UNKNOWN: "unknown",
}
_COPY = "to copy"


@dataclass(frozen=True, slots=True)
class RecipeEntry:
    """A recipe on this computer.

    Attributes:
        tool: The name of the recipe.
        recipe: The recipe.
        targets: The files that it changes here, with their settings.
        values: The values of its placeholders.
        system: The operating system.
    """

    tool: str
    recipe: Recipe
    targets: tuple[FileTarget, ...]
    values: PlaceholderValues
    system: SystemName

    @property
    def title(self) -> str:
        """The name of the program."""
        return self.recipe.title


@dataclass(frozen=True, slots=True)
class CopyableTexts:
    """The texts that the user can copy.

    Attributes:
        set: Lines that make the program use TrayProxy.
        undo: Lines that undo `set`.
        files: For each file, its path and the text to add.
        notes: Sentences about the recipe.
    """

    set: tuple[str, ...]
    undo: tuple[str, ...]
    files: tuple[Mapping[str, str], ...]
    notes: tuple[str, ...]


def copyable_texts(entry: RecipeEntry) -> CopyableTexts:
    """Return the texts of a recipe with the values of its placeholders."""
    values = entry.values

    def filled(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(fill(text, values) for text in texts)

    commands = entry.recipe.commands_on(entry.system)
    if commands is None:
        to_set, to_undo = _administrator_commands(entry.targets)
    else:
        has_ca = bool(values.ca)
        to_set = filled((*commands.set, *(commands.ca if has_ca else ())))
        to_undo = filled((*commands.undo, *(commands.undo_ca if has_ca else ())))
    notes = filled(entry.recipe.notes)
    if values.inexpressible and entry.targets:
        rules = ", ".join(values.inexpressible)
        notes = (
            *notes,
            f"Programs have no notation for these exceptions: {rules}. They send these requests to "
            "TrayProxy, which connects directly.",
        )
    if any(target.ca for target in entry.targets):
        notes = (
            *notes,
            "The proxy inspects TLS: the program also gets the certificates of your system, in "
            f"{values.ca}, unless you have set others.",
        )
    files = tuple(
        {"path": target.path, "text": edited(target, None).decode()} for target in entry.targets
    )
    return CopyableTexts(to_set, to_undo, files, notes)


def _administrator_commands(
    targets: Sequence[FileTarget],
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return commands with which an administrator creates and removes the files; empty if a file
    belongs to the user, or is only changed in part.
    """
    if not all(target.is_of_system and target.format is Format.WHOLE for target in targets):
        return (), ()
    to_set = [
        f"sudo tee {quote(target.path)} >/dev/null <<'END'\n{edited(target, None).decode()}END"
        for target in targets
    ]
    return tuple(to_set), tuple(f"sudo rm {quote(target.path)}" for target in targets)


def print_text(entry: RecipeEntry, texts: CopyableTexts) -> str:
    """Return the output of ``--print``: the lines to copy, and the lines that undo them."""
    lines = [f"# {entry.title}: {entry.recipe.source}"]
    if texts.set:
        lines += ("# Set:", *texts.set, "# Undo:", *texts.undo)
    else:
        for file, target in zip(texts.files, entry.targets, strict=True):
            path = printable_line(target.path)
            how = f"Add with “sudoedit {path}”" if target.is_of_system else f"Add to {path}"
            lines += (f"# {how}:", file["text"].rstrip("\n"))
        if texts.files:
            lines.append("# To undo it, remove the lines again.")
    if texts.files and not all(target.is_of_system for target in entry.targets):
        lines.append(f"# Or let TrayProxy change the file: trayproxy recipe {entry.tool} --apply")
    return "\n".join((*lines, *(f"# {note}" for note in texts.notes)))


def list_text(entries: Sequence[RecipeEntry], states: Sequence[tuple[State, str]]) -> str:
    """Return the list of all recipes with their states."""
    shown = [
        (entry, _STATES[state] if entry.targets else _COPY, reason)
        for entry, (state, reason) in zip(entries, states, strict=True)
    ]
    tool_width = max(len(entry.tool) for entry in entries)
    state_width = max(len(state) for _, state, _ in shown)
    lines = []
    for entry, state, reason in shown:
        where = printable_line(reason or ", ".join(target.path for target in entry.targets))
        line = f"{entry.tool:<{tool_width}}  {state:<{state_width}}  {entry.title}"
        lines.append(f"{line}: {where}" if where else line)
    if any(state is State.OUTDATED for state, _ in states):
        lines.append("To write the present address of TrayProxy: trayproxy recipe TOOL --apply")
    return "\n".join(lines)


def as_lines(entry: RecipeEntry, changed: Sequence[str]) -> list[str]:
    """Return the lines that ``--apply`` prints: each changed file, and how to undo the change."""
    if not changed:
        return [f"{entry.title} already uses TrayProxy; nothing was changed."]
    address = entry.values.address
    lines = [f"{entry.title} uses TrayProxy at {address}: {printable_line(p)}" for p in changed]
    return [*lines, f"To undo it: trayproxy recipe {entry.tool} --undo"]
