"""``trayproxy profiles export``: write the profiles to a file, without passwords."""

import os
from pathlib import Path

from trayproxy.cli.output import CommandError, print_line, print_message, printable_line
from trayproxy.cli.settings import find_profile, open_settings
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.paths import Paths
from trayproxy.profiles.pac_source import PacKind

_STANDARD_OUTPUT = "-"


def declare_export(parser: VerbParser) -> None:
    """Declare ``trayproxy profiles export``."""
    parser.set_defaults(verb=_export)
    parser.add_argument("file", metavar="FILE", help="the new file; - for standard output")
    parser.add_argument(
        "--profile",
        metavar="NAME",
        action="append",
        dest="names",
        help="only this profile; may be repeated (default: all)",
    )
    parser.add_argument(
        "--without-user-names", action="store_true", help="leave out the user names"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an existing file")


def _export(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.profiles.exchange import export_profiles

    with open_settings(paths) as settings:
        config = settings.load()
    names = dict.fromkeys(arguments.names or ())
    profiles = [find_profile(config, name) for name in names] if names else config.profiles
    if not profiles:
        raise CommandError("There are no profiles to export.")
    text = export_profiles(
        dict.fromkeys(profiles), with_user_names=not arguments.without_user_names
    )
    for profile in profiles:
        pac = profile.pac
        if pac is not None and pac.kind is PacKind.URL and "?" in pac.location:
            print_message(
                f"The PAC address of “{printable_line(profile.name)}” has a part after “?”, which "
                "is exported as well. It may be a secret of your company."
            )
    if arguments.file == _STANDARD_OUTPUT:
        print_line(text.removesuffix("\n"))
        return
    _write(arguments.file, text, overwrites=arguments.overwrite)
    names_told = "" if arguments.without_user_names else " The file contains the user names."
    print_message(
        f"Wrote {len(profiles)} profile{'s'[: len(profiles) != 1]} to "
        f"{printable_line(arguments.file)}, without passwords.{names_told}"
    )


def _write(name: str, text: str, *, overwrites: bool) -> None:
    """Write a file that only this user can read.

    Raises:
        CommandError: The file exists and is not to be replaced, or it cannot be written.
    """
    from trayproxy.file_replacement import replace_file

    path = Path(name)
    if os.path.lexists(path) and not overwrites:
        raise CommandError(f"{printable_line(name)} exists already. Use --overwrite to replace it.")
    if path.exists() and not path.is_file():
        raise CommandError(f"{printable_line(name)} is not a file.")
    if not path.parent.is_dir():
        raise CommandError(f"There is no folder {printable_line(str(path.parent))}.")
    try:
        replace_file(path, text.encode())
    except OSError as error:
        reason = error.strerror or error
        raise CommandError(f"{printable_line(name)} cannot be written: {reason}.") from None
