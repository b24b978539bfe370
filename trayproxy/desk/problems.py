"""The texts shown when a request cannot be signed in (ux §5.2)."""

from collections.abc import Iterable
from dataclasses import dataclass

from msgspec.structs import replace

from trayproxy.auth.scheme import Scheme
from trayproxy.control.messages import Problem
from trayproxy.desk.machine.events import RefusalReason
from trayproxy.http.challenges import Challenge
from trayproxy.profiles.profile import Profile

RETRY_AFTER_S = 5
"""Seconds for ``Retry-After``; programs that obey it do not flood a user who is being prompted."""

_MAX_TITLE_LENGTH = 60
_MAX_OFFERED = 5
_MAX_SCHEME_LENGTH = 20


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a client gets a 503. It never gets a 407, to which a browser would react with a prompt.

    Attributes:
        problem: The text of the error page. It contains no text from the network.
        retry_after: Seconds for ``Retry-After``; None if a retry cannot succeed.
        reason: Why the sign-in desk refuses the request; None if another part refuses it.
        details: The ``details`` of ``Proxy-Status`` (RFC 9209, section 2.1.2).
    """

    problem: Problem
    retry_after: int | None
    details: str
    reason: RefusalReason | None = None


def refusal(reason: RefusalReason, profile: Profile, text: str = "") -> Refusal:
    """Return the refusal of a parked request.

    Args:
        reason: Why the request is not sent.
        profile: The request's profile.
        text: More information, whole sentences of TrayProxy's own.
    """
    retry_after = None if reason is RefusalReason.FORBIDDEN else RETRY_AFTER_S
    problem = _PROBLEMS[reason](profile.name)
    if text:
        problem = replace(problem, body=f"{text} {problem.body}")
    return Refusal(problem, retry_after, reason.value, reason)


def problem_of(reason: RefusalReason, profile: Profile, text: str = "") -> Problem:
    """Return the problem of a refusal, for the front ends."""
    return refusal(reason, profile, text).problem


def no_common_scheme(challenges: Iterable[Challenge], schemes: Iterable[Scheme]) -> Refusal:
    """Return the refusal of a request if its upstream offers no usable scheme."""
    offered = _join_names(_printable(challenge.scheme) for challenge in challenges) or "nothing"
    usable = _join_names(scheme.title for scheme in schemes)
    body = f"The proxy offers {offered}. TrayProxy can use {usable} here."
    return Refusal(Problem("TP-303", "No common way to sign in", body), None, "no common scheme")


def sign_in_disabled(profile: Profile) -> Refusal:
    """Return the refusal of a request if its profile is set not to sign in."""
    body = (
        f"The proxy wants a sign-in, but the profile “{profile.name}” is set to connect without "
        "one. Change this in the profile."
    )
    return Refusal(Problem("TP-303", "No common way to sign in", body), None, "profile has none")


def password_not_used(profile: Profile) -> Problem:
    """Return the problem that a profile uses the own sign-in and takes no password."""
    body = (
        f"The profile “{profile.name}” signs in with your own sign-in to this computer and "
        "takes no password. Change this in the profile to use one."
    )
    return Problem("TP-303", "This profile uses no password", body)


def not_accepted() -> Problem:
    """Return the problem of a wrong login."""
    body = "You can correct it and try again. Nothing was saved."
    return Problem("TP-302", "The proxy did not accept this password", body)


def rejected_before(name: str = "") -> Problem:
    """Return the problem that a login was not sent, because the same proxy rejected it before.

    Args:
        name: The name of the other profile for which it was rejected; empty for this profile.
    """
    title = "The proxy did not accept this password before"
    if name:
        title = f"The proxy did not accept this password for “{name}”"
    body = (
        "This is the same password; it was not sent again, since companies lock accounts after a "
        "few wrong tries. If it is right by now, type it: trayproxy login."
    )
    return Problem("TP-302", title, body)


def not_checked() -> Problem:
    """Return the problem of an unverified login."""
    body = (
        "The proxy did not answer, did not ask for a password, or did not say whether it accepts "
        "this one. It will be saved once the proxy accepts it; until then it stays in memory."
    )
    return Problem("TP-307", "The password could not be checked yet", body)


def prompt_gone() -> Problem:
    """Return the problem of an answer to a closed prompt."""
    return Problem(
        "TP-301",
        "This question is closed",
        "It has already been answered, or no program is waiting any longer.",
    )


def no_front_end(profile: Profile) -> Problem:
    """Return the problem that no front end can prompt the user."""
    return _unattended(profile.name)


def unusable_login(reason: str) -> Problem:
    """Return the problem of an unusable login.

    Args:
        reason: A whole sentence for the user who typed the login.
    """
    return Problem("TP-302", "This sign-in cannot be used", f"{reason} You can correct it.")


def no_keyring() -> Problem:
    """Return the problem of a system without a keyring, or with an unencrypted keyring only."""
    body = "This system offers no keyring that protects passwords."
    return Problem("TP-402", "No safe place for passwords", body)


def passwords_not_kept() -> Problem:
    """Return the problem that this run saves no passwords, even if the system has a keyring."""
    body = "TrayProxy was started for one proxy only (run --upstream)."
    return Problem("TP-402", "This run keeps no passwords", body)


def keyring_silent(store: str) -> Problem:
    """Return the problem that the keyring does not answer.

    Args:
        store: The name of the keyring (`trayproxy.control.messages.KeyringStatus`); empty if
            unknown.
    """
    name = store or "The keyring"
    return Problem("TP-403", f"{name} does not answer", "It may be waiting for you in a window.")


def not_saved(store: str, reason: str) -> Problem:
    """Return the problem that the keyring did not save a password.

    Args:
        store: The name of the keyring; empty if unknown.
        reason: The keyring's reason, without a full stop.
    """
    body = f"{store or 'The keyring'} said: {reason}."
    return Problem("TP-404", "The password could not be saved", body)


def kept_in_memory(problem: Problem) -> Problem:
    """Return a problem of saving, extended by a sentence: the password stays in memory."""
    body = f"{problem.body} The password stays in memory until TrayProxy quits."
    return replace(problem, body=body)


def not_removed(store: str, reason: str) -> Problem:
    """Return the problem that the keyring did not remove a password.

    Args:
        store: The name of the keyring; empty if unknown.
        reason: The keyring's reason, without a full stop.
    """
    body = f"{store or 'The keyring'} said: {reason}. The password is still there."
    return Problem("TP-404", "The password could not be removed", body)


def _sign_in_needed(profile: str) -> str:
    title = f"Sign-in needed for {profile}"
    return title if len(title) <= _MAX_TITLE_LENGTH else f"{title[: _MAX_TITLE_LENGTH - 1]}…"


def _cancelled(profile: str) -> Problem:
    body = (
        f"TrayProxy needs your user name and password for {profile} before it can load this page. "
        "Open TrayProxy from the tray, choose Sign in, then reload."
    )
    return Problem("TP-301", "Sign-in was cancelled", body)


def _unattended(profile: str) -> Problem:
    body = (
        "The proxy wants a user name and a password, and nothing is open that could ask for them. "
        "Open TrayProxy, or give it the password with “trayproxy login”."
    )
    return Problem("TP-301", _sign_in_needed(profile), body)


def _timed_out(profile: str) -> Problem:
    body = "Nobody has signed in while this request waited. Sign in, then try again."
    return Problem("TP-301", _sign_in_needed(profile), body)


def _crowded(profile: str) -> Problem:
    body = "Too many requests wait for a sign-in already. Sign in, then try again."
    return Problem("TP-301", _sign_in_needed(profile), body)


def _withdrawn(profile: str) -> Problem:
    body = "The profile was changed while this request waited. Try again."
    return Problem("TP-301", _sign_in_needed(profile), body)


def _forbidden(profile: str) -> Problem:
    body = (
        f"You are signed in to {profile}, but its proxy refuses this address for you. Your "
        "password is not the reason."
    )
    return Problem("TP-306", "The proxy does not allow this request", body)


def _unusable(profile: str) -> Problem:
    body = (
        f"TrayProxy cannot use a sign-in method that the proxy of {profile} offers. Your password "
        "is not the reason."
    )
    return Problem("TP-303", "No common way to sign in", body)


def _no_ticket(profile: str) -> Problem:
    return Problem("TP-305", "You have no Kerberos ticket", _new_ticket(profile))


def _ticket_expired(profile: str) -> Problem:
    return Problem("TP-305", "Your Kerberos ticket has expired", _new_ticket(profile))


def _new_ticket(profile: str) -> str:
    return (
        f"Sign in to your company account again, for example with “kinit”. {profile} works again "
        "by itself as soon as there is a ticket. Or set the profile to use a password."
    )


def _server_unreachable(profile: str) -> Problem:
    body = (
        "The company's sign-in server (Kerberos) did not answer. You may be outside the company "
        f"network or VPN. {profile} works again by itself once it can be reached."
    )
    return Problem("TP-303", "The sign-in server cannot be reached", body)


def _unknown_proxy(profile: str) -> Problem:
    body = f"If the name in {profile} is right, ask your help desk."
    return Problem("TP-303", "The sign-in server does not know this proxy", body)


def _unknown_user(profile: str) -> Problem:
    body = (
        "The company's sign-in server (Kerberos) has no account of this name. Check the user name "
        f"of {profile}, then sign in again."
    )
    return Problem("TP-303", "The sign-in server does not know this user", body)


def _not_accepted(profile: str) -> Problem:
    body = (
        f"The proxy of {profile} does not accept your sign-in to this computer. Ask your help desk "
        "whether it may be used there, or set the profile to use a password."
    )
    return Problem("TP-308", "The proxy did not accept your own sign-in", body)


def _weaker(profile: str) -> Problem:
    body = (
        f"The proxy for {profile} now offers weaker sign-in methods or a different realm than "
        "before. TrayProxy has not signed in. Ask your help desk. If this is right, sign in from "
        "the tray; without a tray, choose the method in the profile, or forget how the proxy was "
        "before with “trayproxy logout” and use “trayproxy login”."
    )
    return Problem("TP-309", "The proxy has changed", body)


def unrecorded() -> Problem:
    """Return the problem that a new login is not sent, because its trial cannot be recorded."""
    body = (
        "Before a password is sent for the first time, TrayProxy writes down that it is being "
        "tried, so that a restart does not send a wrong one again. The folder of its state, where "
        "sign-in.json lies, does not answer; it may be on a network drive. The password was not "
        "sent. TrayProxy goes on by itself as soon as the folder answers."
    )
    return Problem("TP-311", "The folder of TrayProxy's state does not answer", body)


def _unrecorded(profile: str) -> Problem:
    return unrecorded()


_PROBLEMS = {
    RefusalReason.DECLINED: _cancelled,
    RefusalReason.UNATTENDED: _unattended,
    RefusalReason.TIMED_OUT: _timed_out,
    RefusalReason.CROWDED: _crowded,
    RefusalReason.FORBIDDEN: _forbidden,
    RefusalReason.WITHDRAWN: _withdrawn,
    RefusalReason.UNUSABLE: _unusable,
    RefusalReason.NO_TICKET: _no_ticket,
    RefusalReason.TICKET_EXPIRED: _ticket_expired,
    RefusalReason.SERVER_UNREACHABLE: _server_unreachable,
    RefusalReason.UNKNOWN_PROXY: _unknown_proxy,
    RefusalReason.UNKNOWN_USER: _unknown_user,
    RefusalReason.NOT_ACCEPTED: _not_accepted,
    RefusalReason.WEAKER: _weaker,
    RefusalReason.UNRECORDED: _unrecorded,
}


def _printable(scheme: str) -> str:
    """Return the name of a scheme without unsafe characters, as an upstream sent it."""
    name = "".join(char for char in scheme if char.isascii() and (char.isalnum() or char in "-_"))
    return name[:_MAX_SCHEME_LENGTH].capitalize() or "something unreadable"


def _join_names(names: Iterable[str]) -> str:
    return ", ".join(list(dict.fromkeys(names))[:_MAX_OFFERED])
