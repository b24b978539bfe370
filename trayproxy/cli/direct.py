"""``trayproxy direct`` and ``trayproxy resume``: connect directly for some time, and end that."""

import argparse
import re
from time import localtime, strftime

from trayproxy.cli.output import CommandError, print_message, printable_line
from trayproxy.cli.service_client import fetch_status, request, require_service
from trayproxy.cli.settings import open_settings
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.messages import MAX_DIRECT_S, UseProfile
from trayproxy.paths import Paths
from trayproxy.profiles.profile import DIRECT_ID

_UNIT_S = {"s": 1, "m": 60, "h": 3600}
_DURATION = re.compile(r"([0-9]{1,9})([smh])")


def declare_direct(parser: VerbParser) -> None:
    """Declare ``trayproxy direct``."""
    parser.set_defaults(verb=_direct)
    parser.add_argument(
        "--for",
        dest="for_s",
        metavar="TIME",
        type=parse_duration,
        help="90s, 15m or 1h, at most an hour (default: until “trayproxy resume”)",
    )


def declare_resume(parser: VerbParser) -> None:
    """Declare ``trayproxy resume``."""
    parser.set_defaults(verb=_resume)


def parse_duration(text: str) -> int:
    """Return the number of seconds in ``90s``, ``15m`` or ``1h``, from 1 to `MAX_DIRECT_S`."""
    found = _DURATION.fullmatch(text.strip().lower())
    seconds = int(found[1]) * _UNIT_S[found[2]] if found else 0
    if not seconds:
        raise argparse.ArgumentTypeError("write a time such as 90s, 15m or 1h")
    if seconds > MAX_DIRECT_S:
        raise argparse.ArgumentTypeError(
            "at most 1h; without --for, programs connect directly until “trayproxy resume”"
        )
    return seconds


def _direct(paths: Paths, arguments: Arguments) -> None:
    if arguments.for_s is not None:
        _connect_directly_for(paths, arguments.for_s)
        return
    with open_settings(paths) as settings:
        settings.use(DIRECT_ID)
    print_message("Programs connect directly now, without a proxy, until “trayproxy resume”.")


def _connect_directly_for(paths: Paths, seconds: int) -> None:
    """Connect directly for some time, without a change of the settings.

    Raises:
        CommandError: No service is running (exit code 3), or no profile is in use.
    """
    with require_service(paths) as client:
        status = fetch_status(client)
        if status.direct and status.direct_until is None:
            end = "the network changes" if status.network_switch else "“trayproxy resume”"
            print_message(f"Programs connect directly already, until {end}.")
            return
        if status.profile is None and not status.direct:
            raise CommandError(
                "No profile is in use that programs could use again after that time. "
                "Choose one: trayproxy profiles use."
            )
        request(client, UseProfile(DIRECT_ID, seconds))
        until = fetch_status(client).direct_until
    # None: the time, a few seconds, is over already.
    end = "" if until is None else f" until {strftime('%H:%M:%S', localtime(until))}"
    print_message(f"Programs connect directly{end}, without a proxy. Earlier: trayproxy resume")


def _resume(paths: Paths, arguments: Arguments) -> None:
    with open_settings(paths) as settings:
        if not settings.load().is_direct:
            print_message("Programs do not connect directly; nothing was changed.")
            return
        settings.resume()
        profile = settings.load().profile
    if profile is None:
        raise CommandError("The profile was deleted meanwhile. Choose one: trayproxy profiles use.")
    print_message(f"“{printable_line(profile.name)}” is in use again.")
