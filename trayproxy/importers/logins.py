"""The logins and the authentication schemes of other programs' settings."""

from dataclasses import dataclass

from trayproxy.importers.found import FoundPassword, Place, SecretForm
from trayproxy.profiles.profile import Method, ProfileError, SignIn
from trayproxy.profiles.validate import check_user

_METHODS = {
    "basic": Method.BASIC,
    "digest": Method.DIGEST,
    "gss": Method.NEGOTIATE,
    "kerberos": Method.NEGOTIATE,
    "lm": Method.NTLM,
    "negotiate": Method.NEGOTIATE,
    "nt": Method.NTLM,
    "ntlm": Method.NTLM,
    "ntlm2sr": Method.NTLM,
    "ntlmv2": Method.NTLM,
}
_ALL = frozenset({"", "any", "anyauth", "anysafe"})


@dataclass(frozen=True, slots=True)
class SchemeChoice:
    """The authentication schemes of a profile.

    Attributes:
        method: The allowed schemes.
        sign_in: The kind of sign-in.
        notes: A sentence about a choice without an equivalent; empty if there is one.
    """

    method: Method = Method.AUTOMATIC
    sign_in: SignIn = SignIn.PASSWORD
    notes: tuple[str, ...] = ()


def scheme_choice(text: str) -> SchemeChoice:
    """Return the schemes for the name of a scheme or ``ANY``, in any case; ``NONE`` is no sign-in.

    Px writes ``ONLYNTLM`` for a single scheme, and ``NONTLM`` and ``SAFENONTLM`` for all others,
    for which profiles have no setting.
    """
    name = text.strip().lower()
    if name == "none":
        return SchemeChoice(sign_in=SignIn.NONE)
    method = _METHODS.get(name.removeprefix("only"))
    if method is not None or name in _ALL:
        return SchemeChoice(method or Method.AUTOMATIC)
    return SchemeChoice(notes=(f"The sign-in method “{text[:40]}” has no equivalent.",))


def full_user_name(domain: str, user: str) -> str:
    r"""Return ``DOMAIN\user``, or the user name alone if it already has a domain or there is none.

    A user name that no profile can have is returned as empty.
    """
    has_domain = not domain or "\\" in user or "@" in user
    name = user if has_domain or not user else f"{domain}\\{user}"
    try:
        return check_user(name)
    except ProfileError:
        return ""


def clear_password(secret: str, place: Place, key: str = "") -> FoundPassword | None:
    """Return a password in clear text; None if it is empty."""
    return FoundPassword(SecretForm.CLEAR, place, secret, key) if secret else None
