"""The texts and the JSON of ``trayproxy import``."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from trayproxy.cli.output import json_line, printable_line
from trayproxy.control.texts import METHOD_NAMES
from trayproxy.importers.found import (
    TITLES,
    Found,
    FoundPassword,
    SecretForm,
    Source,
)
from trayproxy.importers.plan import ImportDecision, PlannedProfile
from trayproxy.profiles.profile import SignIn

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""

_NOTE_LENGTH = 700
_SIGN_IN_TEXTS = {SignIn.SSO: "your Windows or Kerberos sign-in", SignIn.NONE: "none"}
_REPLACING = {
    Source.NPM: "“trayproxy recipe npm --apply” replaces it.",
    Source.GIT: "“trayproxy recipe git --apply” replaces it.",
    Source.ENVIRONMENT: "Remove it from the variable there.",
    Source.SYSTEM: "“trayproxy system-proxy on” does not remove it: remove it in the settings.",
}


def list_lines(planned: Iterable[PlannedProfile], found: Found) -> Iterator[str]:
    """Yield the lines that describe the found settings."""
    for each in planned:
        yield from _profile_lines(each)
    for password in found.passwords:
        yield f"Note: {password_sentence(password)}"
    for note in found.notes:
        yield f"Note: {printable_line(note, _NOTE_LENGTH)}"


def _profile_lines(planned: PlannedProfile) -> Iterator[str]:
    found = planned.found
    name = printable_line(planned.profile.name) if planned.profile else "not imported"
    # The place is untrusted as well: it may be a path.
    yield f"{name}  ({TITLES[found.source]}: {printable_line(str(found.place))})"
    first, *others = map(str, found.upstreams) if found.upstreams else [""]
    rows = {
        "Proxy": first,
        "Otherwise": ", ".join(others),
        "PAC script": found.pac.title if found.pac else "",
        "User name": found.user,
        "Sign-in": _SIGN_IN_TEXTS.get(found.sign_in, ""),
        "Method": METHOD_NAMES.get(found.method, ""),
        "Not used for": ", ".join(found.bypass),
        "Password": password_sentence(found.password) if found.password else "",
    }
    for title, text in rows.items():
        if text:
            yield f"  {title + ':':<14}{printable_line(text, _NOTE_LENGTH)}"
    if planned.decision is ImportDecision.KNOWN:
        yield "  There is such a profile already; it is not added again."
    if planned.reason:
        yield f"  Not imported: {printable_line(planned.reason, _NOTE_LENGTH)}"
    for note in found.notes:
        yield f"  Note: {printable_line(note, _NOTE_LENGTH)}"


def password_sentence(password: FoundPassword) -> str:
    """Return a sentence about the place and the form of a password."""
    place = printable_line(str(password.place))
    key = f" ({printable_line(password.key)})" if password.key else ""
    match password.form:
        case SecretForm.KEYRING:
            return f"{place} keeps it in the keyring."
        case SecretForm.HASH:
            return (
                f"A hash of the password is in {place}{key}. It suffices to sign in, and TrayProxy "
                "does not use it."
            )
        case SecretForm.BASE64:
            return f"A password is in {place}{key}, in Base64, which everyone can decode."
    return f"A password is in clear text in {place}{key}."


def removal_text(source: Source, password: FoundPassword) -> str:
    """Return how the user removes a password from the settings of another program; empty if it is
    encrypted there."""
    if password.form is SecretForm.KEYRING:
        return ""
    default = "Delete it there as soon as no other program needs it."
    return f"{password_sentence(password)} {_REPLACING.get(source, default)}"


def json_text(planned: Iterable[PlannedProfile], found: Found) -> str:
    """Return the found settings as a line of JSON, without passwords."""
    return json_line(
        {
            "schema": JSON_SCHEMA,
            "profiles": [_profile_members(each) for each in planned],
            "passwords": [_password_members(password) for password in found.passwords],
            "notes": list(found.notes),
            "errors": [
                {"place": error.place.name, "line": error.place.line, "reason": error.reason}
                for error in found.errors
            ],
        }
    )


def _profile_members(planned: PlannedProfile) -> Mapping[str, Any]:
    found = planned.found
    return {
        "source": found.source,
        "title": TITLES[found.source],
        "place": found.place.name,
        "line": found.place.line,
        "state": planned.decision,
        "reason": planned.reason,
        "name": planned.profile.name if planned.profile else "",
        "upstreams": [str(upstream) for upstream in found.upstreams],
        "pac": str(found.pac or ""),
        "user": found.user,
        "sign_in": found.sign_in,
        "method": found.method,
        "bypass": found.bypass,
        "listens_at": found.listens_at,
        "password": _password_members(found.password) if found.password else None,
        "notes": found.notes,
    }


def _password_members(password: FoundPassword) -> Mapping[str, Any]:
    return {
        "form": password.form,
        "place": password.place.name,
        "line": password.place.line,
        "key": password.key,
    }
