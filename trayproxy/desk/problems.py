"""The texts shown when a request cannot be signed in (ux §5.2)."""

from collections.abc import Iterable

from msgspec.structs import replace

from trayproxy.auth.scheme import Scheme
from trayproxy.desk.credentials import Refusal
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import RefusalReason
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Profile

RETRY_AFTER_S = 5
"""Seconds for ``Retry-After``; programs that obey it do not flood a user who is being prompted."""

_MAX_TITLE_LENGTH = 60
_MAX_OFFERED = 5
_MAX_SCHEME_LENGTH = 20

_SIGN_IN_NEEDED = "Sign-in needed for {profile}"
_NO_COMMON_SCHEME = "No common way to sign in"
_GET_TICKET = (
    "Sign in to your company account again, for example with “kinit”. {profile} works again by "
    "itself as soon as there is a ticket. Or set the profile to use a password."
)

_REFUSALS = {
    RefusalReason.DECLINED: Problem(
        "TP-301",
        "Sign-in was cancelled",
        "TrayProxy needs your user name and password for {profile} before it can load this page. "
        "Open TrayProxy from the tray, choose Sign in, then reload.",
    ),
    RefusalReason.UNATTENDED: Problem(
        "TP-301",
        _SIGN_IN_NEEDED,
        "The proxy wants a user name and a password, and nothing is open that could ask for them. "
        "Open TrayProxy, or give it the password with “trayproxy login”.",
    ),
    RefusalReason.TIMED_OUT: Problem(
        "TP-301",
        _SIGN_IN_NEEDED,
        "Nobody has signed in while this request waited. Sign in, then try again.",
    ),
    RefusalReason.CROWDED: Problem(
        "TP-301",
        _SIGN_IN_NEEDED,
        "Too many requests are already waiting for a sign-in. Sign in, then try again.",
    ),
    RefusalReason.WITHDRAWN: Problem(
        "TP-301", _SIGN_IN_NEEDED, "The profile was changed while this request waited. Try again."
    ),
    RefusalReason.FORBIDDEN: Problem(
        "TP-306",
        "The proxy does not allow this request",
        "You are signed in to {profile}, but its proxy refuses this address for you. Your "
        "password is not the reason.",
    ),
    RefusalReason.UNUSABLE: Problem(
        "TP-303",
        _NO_COMMON_SCHEME,
        "TrayProxy cannot use a sign-in method that the proxy of {profile} offers. Your password "
        "is not the reason.",
    ),
    RefusalReason.NO_TICKET: Problem("TP-305", "You have no Kerberos ticket", _GET_TICKET),
    RefusalReason.TICKET_EXPIRED: Problem(
        "TP-305", "Your Kerberos ticket has expired", _GET_TICKET
    ),
    RefusalReason.SERVER_UNREACHABLE: Problem(
        "TP-303",
        "The sign-in server cannot be reached",
        "The company's sign-in server (Kerberos) did not answer. You may be outside the company "
        "network or VPN. {profile} works again by itself once it can be reached.",
    ),
    RefusalReason.UNKNOWN_PROXY: Problem(
        "TP-303",
        "The sign-in server does not know this proxy",
        "If the name in {profile} is right, ask your help desk.",
    ),
    RefusalReason.UNKNOWN_USER: Problem(
        "TP-303",
        "The sign-in server does not know this user",
        "The company's sign-in server (Kerberos) has no account with this name. Check the user "
        "name of {profile}, then sign in again.",
    ),
    RefusalReason.NOT_ACCEPTED: Problem(
        "TP-308",
        "The proxy did not accept your own sign-in",
        "The proxy of {profile} does not accept your sign-in to this computer. Ask your help desk "
        "whether it may be used there, or set the profile to use a password.",
    ),
    RefusalReason.WEAKER: Problem(
        "TP-309",
        "The proxy has changed",
        "The proxy for {profile} now offers weaker sign-in methods or a different realm than "
        "before. TrayProxy has not signed in. Ask your help desk. If this is right, sign in from "
        "the tray; without a tray, choose the method in the profile, or forget how the proxy was "
        "before with “trayproxy logout” and use “trayproxy login”.",
    ),
    RefusalReason.UNRECORDED: Problem(
        "TP-311",
        "The folder of TrayProxy's state does not answer",
        "Before TrayProxy sends a password for the first time, it records the attempt, so that a "
        "restart does not send a wrong password again. The folder of its state (with sign-in.json) "
        "does not respond; it may be on a network drive. The password was not sent. TrayProxy "
        "continues by itself as soon as the folder responds.",
    ),
}
"""The problem of each refusal; ``{profile}`` is replaced by the name of the profile."""

NOT_ACCEPTED = Problem(
    "TP-302",
    "The proxy did not accept this password",
    "You can correct it and try again. Nothing was saved.",
)
NOT_CHECKED = Problem(
    "TP-307",
    "The password could not be checked yet",
    "The proxy did not answer, did not ask for a password, or did not say whether it accepts "
    "this one. It will be saved once the proxy accepts it; until then it stays in memory.",
)
"""The login is not verified yet."""
PROMPT_CLOSED = Problem(
    "TP-301",
    "This question is closed",
    "It has already been answered, or no program is waiting any longer.",
)
"""The prompt to which a front end sends an answer is closed."""
NO_KEYRING = Problem(
    "TP-402",
    "No safe place for passwords",
    "This system offers no keyring that protects passwords.",
)
"""The system has no keyring, or an unencrypted keyring only."""
PASSWORDS_NOT_KEPT = Problem(
    "TP-402",
    "This run keeps no passwords",
    "TrayProxy was started for one proxy only (run --upstream).",
)
"""This run saves no passwords, even if the system has a keyring."""
UNRECORDED = _REFUSALS[RefusalReason.UNRECORDED]
"""A new login is not sent, because its trial cannot be recorded."""


def refusal(reason: RefusalReason, profile: Profile, text: str = "") -> Refusal:
    """Return the refusal of a parked request; see `problem_of`."""
    retry_after = None if reason is RefusalReason.FORBIDDEN else RETRY_AFTER_S
    return Refusal(problem_of(reason, profile, text), retry_after, reason.value, reason)


def problem_of(reason: RefusalReason, profile: Profile, text: str = "") -> Problem:
    """Return the problem of a refusal; the text is more information in whole sentences of
    TrayProxy's own."""
    problem = _REFUSALS[reason]
    title = problem.title.format(profile=profile.name)
    if len(title) > _MAX_TITLE_LENGTH:
        title = f"{title[: _MAX_TITLE_LENGTH - 1]}…"
    body = problem.body.format(profile=profile.name)
    return Problem(problem.id, title, f"{text} {body}" if text else body)


def no_common_scheme(challenges: Iterable[Challenge], schemes: Iterable[Scheme]) -> Refusal:
    """Return the refusal of a request if its upstream offers no usable scheme."""
    offered = _join_names(_printable(challenge.scheme) for challenge in challenges) or "nothing"
    usable = _join_names(scheme.title for scheme in schemes)
    body = f"The proxy offers {offered}. TrayProxy can use {usable} here."
    return Refusal(Problem("TP-303", _NO_COMMON_SCHEME, body), None, "no common scheme")


def sign_in_disabled(profile: Profile) -> Refusal:
    """Return the refusal of a request if its profile is set not to sign in."""
    body = (
        f"The proxy wants a sign-in, but the profile “{profile.name}” is set to connect without "
        "one. Change this in the profile."
    )
    return Refusal(Problem("TP-303", _NO_COMMON_SCHEME, body), None, "profile has none")


def password_not_used(profile: Profile) -> Problem:
    """Return the problem that a profile uses the own sign-in and takes no password."""
    body = (
        f"The profile “{profile.name}” signs in with your own sign-in to this computer and "
        "takes no password. Change this in the profile to use one."
    )
    return Problem("TP-303", "This profile uses no password", body)


def rejected_before(name: str = "") -> Problem:
    """Return the problem that a login was not sent, because the same proxy rejected it before, for
    the other profile with this name if it is not empty."""
    title = "The proxy did not accept this password before"
    if name:
        title = f"The proxy did not accept this password for “{name}”"
    body = (
        "This is the same password; it was not sent again, since companies lock accounts after a "
        "few wrong tries. If it is correct now, type it: trayproxy login."
    )
    return Problem("TP-302", title, body)


def unusable_login(reason: str) -> Problem:
    """Return the problem of an unusable login; the reason is a sentence for the user who typed
    the login."""
    return Problem("TP-302", "This sign-in cannot be used", f"{reason} You can correct it.")


def keyring_silent(store: str) -> Problem:
    """Return the problem that the keyring of this name, empty if unknown, does not answer."""
    name = store or "The keyring"
    return Problem("TP-403", f"{name} does not answer", "It may be waiting for you in a window.")


def not_saved(store: str, reason: str) -> Problem:
    """Return the problem that the keyring of this name, empty if unknown, did not save a password.

    The reason is the keyring's, without a full stop.
    """
    body = f"{store or 'The keyring'} said: {reason}."
    return Problem("TP-404", "The password could not be saved", body)


def kept_in_memory(problem: Problem) -> Problem:
    """Return a problem of saving, extended by a sentence: the password stays in memory."""
    body = f"{problem.body} The password stays in memory until TrayProxy quits."
    return replace(problem, body=body)


def not_removed(store: str, reason: str) -> Problem:
    """Return the problem that the keyring did not remove a password; arguments as of
    `not_saved`."""
    body = f"{store or 'The keyring'} said: {reason}. The password is still there."
    return Problem("TP-404", "The password could not be removed", body)


def _printable(scheme: str) -> str:
    """Return the name of a scheme without unsafe characters, as an upstream sent it."""
    name = "".join(char for char in scheme if char.isascii() and (char.isalnum() or char in "-_"))
    return name[:_MAX_SCHEME_LENGTH].capitalize() or "something unreadable"


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(list(dict.fromkeys(names))[:_MAX_OFFERED])
