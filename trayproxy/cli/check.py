"""``trayproxy test``: test a profile step by step, with the texts of the window (ux §3.3)."""

import select
import time

import msgspec

from trayproxy.cli.arguments import add_optional_profile
from trayproxy.cli.output import CommandError, json_line, print_line, print_message, printable_line
from trayproxy.cli.service_client import fetch_status, require_service
from trayproxy.cli.settings import config_of, find_profile
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.client import Client
from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    Failed,
    PromptChanged,
    Reply,
    Step,
    StepState,
    Subscribe,
)
from trayproxy.control.texts import STEP_MARKS, STEP_TEXTS
from trayproxy.control.transport import ControlError
from trayproxy.domain.problem import ExitCode, exit_code_for
from trayproxy.domain.signin import Prompt
from trayproxy.paths import Paths
from trayproxy.profiles.profile import Profile, Upstream

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""
REPLY_TIMEOUT_S = 400.0
"""The timeout for the test result. A request waits five minutes for a prompt to be answered."""

_DETAIL_LENGTH = 60


def declare_test(parser: VerbParser) -> None:
    """Declare ``trayproxy test``."""
    parser.set_defaults(verb=_test)
    add_optional_profile(parser)
    parser.add_argument(
        "--url", metavar="URL", help="an http or https page to fetch (default: http://example.com/)"
    )
    parser.add_argument("--json", action="store_true", help='for programs; "schema" is 1')


def _test(paths: Paths, arguments: Arguments) -> ExitCode:
    url = arguments.url
    with require_service(paths) as client:
        profile = find_profile(config_of(fetch_status(client)), arguments.profile)
        request = CheckProfile(profile) if url is None else CheckProfile(profile, url)
        if not arguments.json:
            print_line(f"Test of “{printable_line(profile.name)}”")
        result = _run_check(client, request)
    print_line(as_json(profile, result) if arguments.json else as_text(request, result))
    return exit_code(result)


def as_json(profile: Profile, result: CheckResult) -> str:
    """Return the result as one line of JSON; ``took`` is in milliseconds."""
    members = {
        "schema": JSON_SCHEMA,
        "profile": profile.id,
        "works": result.first_failed is None,
        "exit_code": int(exit_code(result)),
        "steps": msgspec.to_builtins(result.steps),
    }
    return json_line(members)


def as_text(request: CheckProfile, result: CheckResult) -> str:
    """Return the result as text: a line for each step, and the next action for the user."""
    upstream = (result.profile or request.profile).upstream
    rows = [
        (STEP_MARKS[step.state], step_text(step, upstream, request.url), _detail(step))
        for step in result.steps
    ]
    width = max(len(text) for _, text, _ in rows)
    lines = [
        f"  {mark} " + "  ".join(filter(None, (f"{text:<{width}}", detail, _took(step)))).rstrip()
        for (mark, text, detail), step in zip(rows, result.steps, strict=True)
    ]
    return "\n".join([*lines, summary(result)])


def step_text(step: Step, upstream: Upstream | None, url: str) -> str:
    """Return the description of a step of the test of an upstream, None if it is not known."""
    text = step.name
    if template := STEP_TEXTS.get(step.name):
        host, port = ("", 0) if upstream is None else (upstream.host, upstream.port)
        text = template.format(host=host, port=port, url=url)
    return printable_line(text, _DETAIL_LENGTH)


def summary(result: CheckResult) -> str:
    """Return the sentence for a successful test, or the problem of the first failed step."""
    step = result.first_failed
    if step is None:
        return "All good."
    if step.problem is None:
        return f"This step did not work: {printable_line(step.detail)}"
    return CommandError.from_problem(step.problem).message


def exit_code(result: CheckResult) -> ExitCode:
    """Return the exit code of the command (ux §7.1)."""
    step = result.first_failed
    if step is None:
        return ExitCode.DONE
    # A failed step without a problem code failed on the way to the proxy or at the proxy.
    return exit_code_for(step.problem) if step.problem and step.problem.id else ExitCode.UPSTREAM


def _detail(step: Step) -> str:
    if step.state is StepState.NOT_TRIED:
        return "not tried"
    return printable_line(step.detail, _DETAIL_LENGTH)


def _took(step: Step) -> str:
    return "" if step.took is None else f"({step.took:.0f} ms)"


def _run_check(client: Client, request: CheckProfile) -> CheckResult:
    """Return the test result; meanwhile report a prompt that opens in the window."""
    try:
        client.send(Subscribe())
        number = client.send(request)
        reply = _wait_for_reply(client, number, request.profile)
    except ControlError as error:
        raise CommandError(f"TrayProxy is running, but does not answer ({error}).") from None
    if isinstance(reply, Failed):
        raise CommandError.from_reply(reply)
    if not isinstance(reply, CheckResult):
        raise CommandError("TrayProxy sent an unexpected reply.")
    return reply


def _wait_for_reply(client: Client, number: int, profile: Profile) -> Reply:
    deadline = time.monotonic() + REPLY_TIMEOUT_S
    is_announced = False
    while (left_s := deadline - time.monotonic()) > 0:
        for envelope in client.receive_ready():
            message = envelope.message
            if envelope.number == number and isinstance(message, Reply):
                return message
            if isinstance(message, PromptChanged) and not is_announced:
                is_announced = _announce_prompt(message.prompt, profile)
        select.select([client.fileno()], [], [], left_s)
    raise CommandError("The test did not end in time. (TP-203)", ExitCode.UPSTREAM)


def _announce_prompt(prompt: Prompt, profile: Profile) -> bool:
    """Print that the test waits for a prompt, if it does; return True if it was printed."""
    is_waiting = prompt.profile_id == profile.id and prompt.waiting > 0 and not prompt.checking
    if is_waiting:
        print_message(
            "TrayProxy asks for the sign-in in its window; the test continues after the sign-in."
        )
    return is_waiting
