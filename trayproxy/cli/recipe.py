"""``trayproxy recipe``: make a program use TrayProxy, and undo that (ux §3.9, §7.1)."""

import os
import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from trayproxy.cli import recipe_problems as problems
from trayproxy.cli.further_listeners import container_address
from trayproxy.cli.local_address import present_address
from trayproxy.cli.output import CommandError, json_line, print_line, print_message, printable_line
from trayproxy.cli.proxy_variables import report_no_certificates
from trayproxy.cli.recipe_text import RecipeEntry, as_lines, copyable_texts, list_text, print_text
from trayproxy.cli.service_client import connect_if_running
from trayproxy.cli.verb_parser import Arguments, VerbParser, unknown_word
from trayproxy.desktop.autostart.factory import starts_at_log_in
from trayproxy.desktop.company_ca import company_ca_file
from trayproxy.desktop.installation import InstallationError, installed_program
from trayproxy.desktop.system_name import SYSTEM_TITLES, SystemName, system_name
from trayproxy.desktop.tool_file import ToolFiles
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import Paths
from trayproxy.profiles.config import Config
from trayproxy.profiles.store import SettingsError, SettingsStore
from trayproxy.recipes import apply as changes
from trayproxy.recipes.catalogue import load, tools
from trayproxy.recipes.journal import RecipeJournals
from trayproxy.recipes.placeholders import PlaceholderValues
from trayproxy.recipes.plan import LeftAloneError
from trayproxy.recipes.targets import Computer, targets
from trayproxy.service.system_proxy.bypass_rules import bypass_rules
from trayproxy.system_settings.apply import NotAppliedError
from trayproxy.system_settings.entries import TargetError
from trayproxy.system_settings.journal import DamagedJournalError, JournalError
from trayproxy.system_settings.lock import SettingsBusyError, changing_settings

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""

_LOCK_TIMEOUT_S = 20.0
"""The time to wait for another process that applies or undoes a recipe."""


def declare_recipe(parser: VerbParser) -> None:
    """Declare ``trayproxy recipe``."""
    parser.set_defaults(verb=_recipe, action=_show)
    parser.add_argument("tool", metavar="TOOL", nargs="?", help="the program; default: list all")
    actions = parser.add_mutually_exclusive_group()
    for name, action, summary in (
        ("print", _show, "print the settings to copy, and change nothing (default)"),
        ("apply", _apply, "change the files of the program"),
        ("undo", _undo, "put the files back as they were; without TOOL, those of all programs"),
    ):
        actions.add_argument(
            f"--{name}", dest="action", action="store_const", const=action, help=summary
        )
    parser.add_argument("--json", action="store_true", help='for programs; "schema" is 1')


def _recipe(paths: Paths, arguments: Arguments) -> int | None:
    if arguments.tool is None and arguments.action is _show:
        _list(paths, arguments)
        return None
    if arguments.tool is None and arguments.action is _apply:
        arguments.parser.error("write the program: trayproxy recipe TOOL --apply")
    result: int | None = arguments.action(paths, arguments)
    return result


def _list(paths: Paths, arguments: Arguments) -> None:
    values = _placeholder_values(paths, _address_to_show(paths))
    entries = [_entry(tool, values) for tool in _tools_here()]
    journals, files = RecipeJournals(paths.recipes_folder), ToolFiles()
    states = [changes.state(entry.tool, entry.targets, journals, files) for entry in entries]
    if arguments.json:
        _print_json(
            _identity(entry) | _text_members(entry) | {"state": state, "reason": reason}
            for entry, (state, reason) in zip(entries, states, strict=True)
        )
    else:
        print_line(list_text(entries, states))


def _show(paths: Paths, arguments: Arguments) -> None:
    entry = _entry(_checked_tool(arguments), _placeholder_values(paths, present_address(paths)))
    _print_entry(entry, arguments)


def _print_entry(entry: RecipeEntry, arguments: Arguments) -> None:
    if arguments.json:
        _print_json([_identity(entry) | _text_members(entry)])
    else:
        print_line(print_text(entry, copyable_texts(entry)))


def _apply(paths: Paths, arguments: Arguments) -> None:
    entry = _entry(_checked_tool(arguments), _placeholder_values(paths, present_address(paths)))
    if not entry.targets:
        _print_entry(entry, arguments)
        raise CommandError.from_problem(problems.nothing_to_change(entry.title))
    journals = RecipeJournals(paths.recipes_folder)
    with (
        _changes_locked(paths, f"{entry.title} was not changed"),
        _damage_reported(journals, entry.tool, entry.title),
    ):
        try:
            changed = changes.apply(entry.tool, entry.targets, journals, ToolFiles())
        except LeftAloneError as error:
            if error.is_denied and any(target.is_of_system for target in entry.targets):
                _print_entry(entry, arguments)
                raise CommandError.from_problem(
                    problems.needs_administrator(entry.title, error)
                ) from None
            _print_lines(error)
            raise CommandError.from_problem(problems.left_alone(entry, error)) from None
        except NotAppliedError as error:
            raise CommandError.from_problem(problems.not_applied(entry, error)) from None
    if arguments.json:
        _print_json([_identity(entry) | {"state": changes.State.APPLIED, "changed": changed}])
        return
    print_line("\n".join(as_lines(entry, changed)))
    for note in copyable_texts(entry).notes:
        print_message(note)
    # OpenSSH runs “trayproxy connect”, which starts TrayProxy.
    if not any("{trayproxy}" in str(file.settings) for file in entry.recipe.files):
        _print_if_not_running(paths)


def _print_if_not_running(paths: Paths) -> None:
    """Print a warning if programs cannot connect now, or after the next log-in."""
    client = connect_if_running(paths)
    if client is None:
        text = (
            "TrayProxy is not running, and programs with this setting cannot connect until it is."
        )
        print_message(f"{text} Start it with “trayproxy”.")
    else:
        client.close()
    if not starts_at_log_in():
        text = "TrayProxy does not start when you log in. To make it start: trayproxy autostart on"
        print_message(text)


def _undo(paths: Paths, arguments: Arguments) -> int:
    journals = RecipeJournals(paths.recipes_folder)
    results: list[Mapping[str, Any]] = []
    failures: list[CommandError] = []
    with _changes_locked(paths, "No file was changed"):
        chosen = journals.tools()
        if arguments.tool is not None:
            chosen = (arguments.tool if arguments.tool in chosen else _checked_tool(arguments),)
        for tool in chosen:
            try:
                results.append(_undo_one(tool, journals, is_quiet=arguments.json))
            except CommandError as error:
                failures.append(error)
    if arguments.json:
        _print_json(results)
    elif not chosen:
        print_line("There is nothing to undo.")
    for failure in failures:
        print_message(failure.message)
    is_complete = not failures and not any(result["left"] for result in results)
    return ExitCode.DONE if is_complete else ExitCode.FAILED


def _undo_one(tool: str, journals: RecipeJournals, *, is_quiet: bool) -> Mapping[str, Any]:
    """Undo a recipe, print the result unless `is_quiet`, and return it for ``--json``."""
    title = load(tool).title if tool in tools() else tool
    with _damage_reported(journals, tool, title):
        undone = changes.undo(tool, journals, ToolFiles())
    if not is_quiet:
        for path in undone.changed:
            print_line(f"{title} is as before: {printable_line(path)}")
        if not undone.changed and not undone.left:
            print_line(f"{title}: there is nothing to undo.")
    for error in undone.left:
        print_message(CommandError.from_problem(problems.not_undone(tool, title, error)).message)
        _print_lines(error)
    left = [
        {"path": e.path, "reason": e.reason, "lines": list(e.lines), "earlier": list(e.earlier)}
        for e in undone.left
    ]
    return {"tool": tool, "title": title, "changed": list(undone.changed), "left": left}


def _print_lines(error: LeftAloneError) -> None:
    for line in error.lines:
        print_message(f"  {printable_line(line)}")
    if error.earlier:
        print_message("Before TrayProxy changed the file, it contained:")
    for line in error.earlier:
        print_message(f"  {printable_line(line)}")


def _print_json(recipes: Iterable[Mapping[str, Any]]) -> None:
    print_line(json_line({"schema": JSON_SCHEMA, "recipes": list(recipes)}))


def _identity(entry: RecipeEntry) -> dict[str, Any]:
    paths = [target.path for target in entry.targets]
    return {"tool": entry.tool, "title": entry.title, "source": entry.recipe.source, "paths": paths}


def _text_members(entry: RecipeEntry) -> dict[str, Any]:
    texts = copyable_texts(entry)
    inexpressible = list(entry.values.inexpressible)
    extra = {"notes": list(texts.notes), "inexpressible": inexpressible}
    return {"set": texts.set, "undo": texts.undo, "files": texts.files, **extra}


@contextmanager
def _changes_locked(paths: Paths, failure: str) -> Iterator[None]:
    """Hold the lock for changes by recipes; report an error of the state folder as `failure`."""
    try:
        paths.prepare()
        with changing_settings(paths.recipes_lock, _LOCK_TIMEOUT_S):
            yield
    except SettingsBusyError:
        raise CommandError.from_problem(problems.busy(failure)) from None
    except OSError as error:
        raise CommandError.from_problem(problems.no_lock(failure, error)) from None


@contextmanager
def _damage_reported(journals: RecipeJournals, tool: str, title: str) -> Iterator[None]:
    """Report errors of the journal that the body raises as `CommandError`.

    A damaged journal is renamed, so that the next command can write a new one.
    """
    try:
        yield
    except DamagedJournalError:
        try:
            aside = journals.set_aside(tool)
        except JournalError as error:
            raise CommandError.from_problem(problems.journal_unusable(title, error)) from None
        raise CommandError.from_problem(problems.damaged(title, aside)) from None
    except JournalError as error:
        raise CommandError.from_problem(problems.journal_unusable(title, error)) from None


def _checked_tool(arguments: Arguments) -> str:
    tool: str = arguments.tool
    known = _tools_here()
    if tool in known:
        return tool
    if tool in tools():
        systems = " and ".join(SYSTEM_TITLES[system] for system in load(tool).systems)
        raise CommandError(f"The recipe for {load(tool).title} is only for {systems}.")
    parser: VerbParser = arguments.parser
    parser.error(unknown_word(tool, known))


def _tools_here() -> list[str]:
    return [tool for tool in tools() if system_name() in load(tool).systems]


def _entry(tool: str, values: PlaceholderValues) -> RecipeEntry:
    recipe = load(tool)
    home = os.path.expanduser("~")
    computer = Computer(system_name(), os.environ, home, ToolFiles().exists)
    found = targets(recipe, computer, values)
    return RecipeEntry(tool, recipe, found, values, computer.system)


def _placeholder_values(paths: Paths, address: str) -> PlaceholderValues:
    profile = _settings(paths).profile
    bypass = bypass_rules(profile.bypass) if profile else ()
    container = container_address(paths)
    return PlaceholderValues(address, bypass, _ca_file(paths), _program(), container)


def _ca_file(paths: Paths) -> str:
    """Return the file with the company's CA; empty if no upstream inspects TLS."""
    try:
        return str(company_ca_file(paths) or "")
    except TargetError as error:
        report_no_certificates(error)
        return ""


def _settings(paths: Paths) -> Config:
    try:
        return SettingsStore(paths.config_file).load()
    except SettingsError:
        return Config()


def _address_to_show(paths: Paths) -> str:
    """Return `present_address`, or the address of the settings if programs cannot use it now."""
    try:
        return present_address(paths)
    except CommandError:
        return str(_settings(paths).listen)


def _program() -> str:
    """Return the command that runs TrayProxy, for lines that other programs run."""
    try:
        argv = installed_program().argv
    except InstallationError:
        return "trayproxy"
    is_windows = system_name() is SystemName.WINDOWS
    return subprocess.list2cmdline(argv) if is_windows else shlex.join(argv)
