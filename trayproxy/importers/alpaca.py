"""The settings of Alpaca: options of its command line, and environment variables.

Source: ``main.go``, ``basicauth.go`` and the README of Alpaca 2. Alpaca chooses the proxies by a
PAC file only; without the option ``-C``, by that of the system settings.
"""

from collections.abc import Iterator, Mapping, Sequence

from trayproxy.importers.addresses import pac_source, port_number
from trayproxy.importers.found import Found, FoundPassword, FoundProfile, Place, SecretForm, Source
from trayproxy.importers.logins import full_user_name

BASIC_VARIABLE = "BASIC_CREDENTIALS"
NTLM_VARIABLE = "NTLM_CREDENTIALS"
USER_VARIABLE = "NTLM_USERNAME"
_WITH_VALUE = frozenset({"l", "p", "C", "d", "u"})


def from_arguments(
    arguments: Sequence[str], place: Place, environ: Mapping[str, str] | None = None
) -> Found:
    """Return the settings of a command line, without the name of the program.

    Args:
        arguments: The arguments.
        place: The place of the command line.
        environ: The variables of the command; None if they are unknown.
    """
    options = dict(_options(arguments))
    environ = environ or {}
    user = full_user_name(options.get("d", ""), options.get("u", "")) or _user(environ)
    pac = pac_source(options.get("C", ""))
    if pac.source is None:
        nothing = f"{place}: Alpaca uses the PAC file of the system settings."
        return Found(notes=pac.notes or (nothing,))
    profile = FoundProfile(
        Source.ALPACA,
        place,
        pac=pac.source,
        user=user,
        listens_at=f"127.0.0.1:{port_number(options.get('p', '')) or 3128}",
    )
    return Found((profile,))


def from_variables(environ: Mapping[str, str], places: Mapping[str, Place]) -> Found:
    """Return the passwords in the environment variables of Alpaca.

    They belong to every proxy that the PAC file names, so no profile takes them over.

    Args:
        environ: The variables.
        places: The places in which variables are set, as far as they are known.
    """
    forms = {BASIC_VARIABLE: SecretForm.CLEAR, NTLM_VARIABLE: SecretForm.HASH}
    passwords = tuple(
        FoundPassword(form, places.get(name, Place(f"the variable {name}")), key=name)
        for name, form in forms.items()
        if environ.get(name)
    )
    user = _user(environ)
    if not passwords and not user:
        return Found()
    note = (
        f"Alpaca signs in as {user}, to every proxy that its PAC file names. TrayProxy asks for "
        "the password of each proxy once."
    )
    return Found(passwords=passwords, notes=(note,) if user else ())


def _user(environ: Mapping[str, str]) -> str:
    name, at, rest = environ.get(NTLM_VARIABLE, "").partition("@")
    if at and ":" in rest:
        return full_user_name(rest.partition(":")[0], name)
    if user := environ.get(USER_VARIABLE, ""):
        return full_user_name(environ.get("NTLM_DOMAIN", ""), user)
    name, colon, _ = environ.get(BASIC_VARIABLE, "").partition(":")
    return full_user_name("", name) if colon else ""


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield the options as Go's package ``flag`` reads them: ``-p 3128``, ``--p=3128``."""
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            return
        name, equals, value = word.lstrip("-").partition("=")
        if not equals and name in _WITH_VALUE:
            value = next(words, "")
        yield name, value
