"""The settings of Px: ``px.ini``, the command line, and variables that begin with ``PX_``.

Source: ``px.ini`` and ``px/config.py`` of Px 0.10. Px keeps the password in the keyring, in an
entry with the service name ``Px``, or reads it from the variable ``PX_PASSWORD``.
"""

from collections.abc import Callable, Mapping, Sequence

from trayproxy.importers.addresses import pac_source, port_number, proxy_list
from trayproxy.importers.bypass import import_bypass, split_entries
from trayproxy.importers.found import (
    Found,
    FoundPassword,
    FoundProfile,
    Place,
    SecretForm,
    Source,
)
from trayproxy.importers.logins import clear_password, full_user_name, scheme_choice
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import SignIn
from trayproxy.recipes.formats.editors import read_value
from trayproxy.recipes.formats.setting import Format, UnreadableTextError

KEYRING_SERVICE = "Px"
PASSWORD_VARIABLE = "PX_PASSWORD"  # noqa: S105
_DEFAULT_PORT = 80
_UNUSED = ("useragent", "kerberos", "client_auth", "client_username")
_EMPTY = frozenset({"", "0", "none"})


def parse(source: SourceText, environ: Mapping[str, str], *, has_own_sign_in: bool) -> Found:
    """Return the settings of ``px.ini``.

    Args:
        source: The file.
        environ: The environment; its variables override the file.
        has_own_sign_in: True if Px signs in with the user's log-on where no user name is set, as on
            Windows.

    Raises:
        UnreadableSourceError: The file is no INI file.
    """

    def value(key: str, section: str = "proxy") -> str:
        variable = environ.get(f"PX_{key.upper()}")
        if variable is not None:
            return variable.strip()
        try:
            found = read_value(Format.INI, source.text, (section, key))
        except UnreadableTextError as error:
            raise source.error(error.reason) from None
        # configparser replaces %% by % (BasicInterpolation).
        return str(found or "").replace("%%", "%").strip()

    # Px has no such setting, but people add it.
    password = clear_password(value("password"), source.place_of("password"), "password")
    return _found(source.place(), value, environ, password, has_own_sign_in)


def from_arguments(
    arguments: Sequence[str], place: Place, environ: Mapping[str, str], *, has_own_sign_in: bool
) -> Found:
    """Return the settings of a command line of Px, without the name of the program."""
    options = dict(
        argument[2:].partition("=")[::2] for argument in arguments if argument.startswith("--")
    )
    options.setdefault("server", options.get("proxy", ""))

    def value(key: str, section: str = "proxy") -> str:
        return options.get(key, environ.get(f"PX_{key.upper()}", "")).strip()

    return _found(place, value, environ, None, has_own_sign_in)


def _found(
    place: Place,
    value: Callable[..., str],
    environ: Mapping[str, str],
    password: FoundPassword | None,
    has_own_sign_in: bool,
) -> Found:
    servers = proxy_list(filter(None, value("server").split(",")), _DEFAULT_PORT)
    # Px uses the PAC script only without servers.
    pac = pac_source("" if servers.upstreams else value("pac"))
    if not servers.upstreams and pac.source is None:
        nothing = f"{place} names no proxy and no PAC file: Px uses those of the system settings."
        return Found(notes=(*servers.notes, *pac.notes, nothing))
    user = full_user_name("", value("username"))
    schemes = scheme_choice(value("auth"))
    bypass = import_bypass(split_entries(value("noproxy")), covers_subdomains=True)
    is_own_sign_in = has_own_sign_in and not user and schemes.sign_in is SignIn.PASSWORD
    profile = FoundProfile(
        Source.PX,
        place,
        servers.upstreams,
        pac.source,
        user,
        bypass.rules,
        SignIn.SSO if is_own_sign_in and schemes.method.supports_sso else schemes.sign_in,
        schemes.method,
        _password(user, environ, password),
        f"127.0.0.1:{port_number(value('port')) or 3128}",
        (*servers.notes, *pac.notes, *schemes.notes, *bypass.notes),
    )
    return Found((profile.with_notes(*_notes(value)),))


def _password(
    user: str, environ: Mapping[str, str], password: FoundPassword | None
) -> FoundPassword | None:
    if not user:
        return None
    variable = Place(f"the variable {PASSWORD_VARIABLE}")
    return (
        clear_password(environ.get(PASSWORD_VARIABLE, ""), variable, PASSWORD_VARIABLE)
        or password
        or FoundPassword(SecretForm.KEYRING, Place(KEYRING_SERVICE))
    )


def _notes(value: Callable[..., str]) -> list[str]:
    notes = []
    if value("gateway") == "1" or value("hostonly") == "1":
        notes.append(
            "Px lets other computers connect. TrayProxy accepts programs of this computer only."
        )
    for key in _UNUSED:
        section = "client" if key.startswith("client") else "proxy"
        if value(key, section).lower() not in _EMPTY:
            notes.append(f"Its setting “{key}” is not carried over.")
    return notes
