"""The problems of ``trayproxy recipe`` (ux §5.2)."""

from pathlib import Path

from trayproxy.cli.recipe_text import RecipeEntry
from trayproxy.domain.problem import Problem
from trayproxy.recipes.plan import LeftAloneError
from trayproxy.system_settings.apply import NotAppliedError
from trayproxy.system_settings.journal import JournalError


def left_alone(entry: RecipeEntry, error: LeftAloneError) -> Problem:
    """Return the problem for a file that a recipe leaves alone."""
    body = f"{error.path}: {error.reason}. Nothing was changed. "
    if error.lines:
        body += "Remove the lines of TrayProxy shown above from the file, then try again."
        return Problem("TP-611", f"{entry.title} was changed since", body)
    return _not_changed(entry.title, f"{body}To set it by hand: trayproxy recipe {entry.tool}")


def not_applied(entry: RecipeEntry, error: NotAppliedError) -> Problem:
    """Return the problem for a file that could not be written."""
    state = (
        "Nothing was left half-done."
        if error.is_rolled_back
        else f"Not all files could be put back. Try: trayproxy recipe {entry.tool} --undo"
    )
    return _not_changed(entry.title, f"{error.target}: {error.reason}. {state}")


def not_undone(tool: str, title: str, error: LeftAloneError) -> Problem:
    """Return the problem for a file that could not be restored."""
    body = f"{error.path}: {error.reason}. The file was left alone. "
    if error.lines:
        body += "If you want to undo it, remove these lines of TrayProxy from the file:"
        return Problem("TP-611", f"{title} was changed since", body)
    body += f"Then try again: trayproxy recipe {tool} --undo"
    return Problem("TP-610", f"{title} could not be put back", body)


def needs_administrator(title: str, error: LeftAloneError) -> Problem:
    """Return the problem for a file that only an administrator may change."""
    return Problem(
        "TP-613",
        f"{title} needs an administrator",
        f"{error.path}: {error.reason}. Nothing was changed. Use the lines above, as an "
        "administrator.",
    )


def nothing_to_change(title: str) -> Problem:
    """Return the problem for a recipe that has only lines to copy."""
    return _not_changed(
        title,
        "There is no file that TrayProxy can change for it here. The text above says what to do.",
    )


def damaged(title: str, aside: Path) -> Problem:
    """Return the problem for a damaged journal, which is kept at another path now."""
    return Problem(
        "TP-612",
        f"The record of the changes for {title} is damaged",
        "TrayProxy cannot tell what it has changed, and has changed nothing now. The record is "
        f"kept as {aside}. Check the proxy in the files of {title}.",
    )


def journal_unusable(title: str, error: JournalError) -> Problem:
    """Return the problem for a journal that cannot be read or written."""
    return Problem(
        "TP-610", f"The record of the changes for {title} cannot be used", f"{error.reason}."
    )


def no_lock(failure: str, error: OSError) -> Problem:
    """Return the problem for a state folder that cannot be used."""
    return Problem("TP-610", failure, f"{error}.")


def busy(failure: str) -> Problem:
    """Return the problem for another process that applies or undoes a recipe."""
    body = "Another process of TrayProxy is changing files and does not finish. Try again."
    return Problem("TP-610", failure, body)


def _not_changed(title: str, body: str) -> Problem:
    return Problem("TP-610", f"{title} was not changed", body)
