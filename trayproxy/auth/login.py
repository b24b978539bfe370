"""The login typed by a person, with its checks and encodings."""

from collections.abc import Collection
from dataclasses import dataclass, field
from unicodedata import normalize

from trayproxy.http.challenges import Challenge

UTF_8 = "utf-8"
"""The only valid value of ``charset`` in a challenge, and the default encoding."""

_CONTROL_CHARACTERS = frozenset(map(chr, (*range(0x20), 0x7F)))


class LoginError(ValueError):
    """A scheme cannot carry this login. The text gives the reason to the person who typed it.

    The text never contains any part of the login.
    """


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and its password, any Unicode text. `repr` omits the password.

    Attributes:
        user: The user name as typed, with a domain if the company requires it (``CORP\\jdoe``).
        password: The secret. It is sent only to the keyring and to its own upstream.
    """

    user: str
    password: str = field(repr=False)


def check_http_login(login: Login) -> None:
    """Check that Basic and Digest can carry a login.

    Raises:
        LoginError: The user name contains a colon, which separates it from the password or from the
            realm (RFC 7617, section 2; RFC 7616, section 4); or see `check_characters`.
    """
    if ":" in login.user:
        raise LoginError(
            "A user name cannot contain a colon with the sign-in method of this proxy."
        )
    check_characters(login, _CONTROL_CHARACTERS)


def check_characters(login: Login, forbidden: Collection[str] = ()) -> None:
    """Check that no part of a login contains a control character forbidden by the scheme.

    Raises:
        LoginError: The user name or the password contains a forbidden character, or half of a
            surrogate pair, which no encoding can represent.
    """
    example = ", such as a line break" if "\n" in forbidden else ""
    for part, text in (("user name", login.user), ("password", login.password)):
        if any(char in forbidden for char in text):
            raise LoginError(f"This {part} contains a control character{example}.")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise LoginError(f"This {part} contains an invalid character. Retype it.")


def windows_name(user: str) -> str:
    r"""Return a user name with a backslash after its domain, as Windows writes it.

    ``CORP/jdoe`` becomes ``CORP\jdoe``; curl and Samba treat the two alike. A name with a backslash
    or an at sign already marks the end of its domain and is returned unchanged: the principal
    ``jdoe/admin@CORP.EXAMPLE`` is a single name. A name that begins or ends with its slash is
    returned unchanged too.
    """
    domain, _, name = user.partition("/")
    is_domain = domain and name and "/" not in name
    if not is_domain or "\\" in user or "@" in user:
        return user
    return f"{domain}\\{name}"


def requires_utf_8(challenge: Challenge) -> bool:
    """Return whether a challenge requires user names and passwords in UTF-8.

    ``UTF-8``, in any case, is the only valid value of ``charset``; any other value is ignored (RFC
    7617, section 2.1; RFC 7616, section 3.3).
    """
    return (challenge.param("charset") or "").lower() == UTF_8


def encode_nfc(text: str, encoding: str) -> bytes:
    """Return the octets of a user name or a password in its composed form (NFC).

    Raises:
        LoginError: The text contains a character outside the encoding.
    """
    composed = normalize("NFC", text)
    octets = composed.encode(encoding, "ignore")  # Python's own error would quote the text.
    if octets.decode(encoding) != composed:
        raise LoginError(
            "The user name or the password has a character that the text encoding of the profile "
            "lacks."
        )
    return octets


def require_login(login: Login | None) -> Login:
    """Return the login, for a scheme that needs a login.

    Raises:
        LoginError: The login is None.
    """
    if login is None:
        raise LoginError("The sign-in method of this proxy needs a user name and a password.")
    return login
