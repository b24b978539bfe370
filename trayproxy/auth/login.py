"""What a person types to sign in, and how it is written for those that want octets."""

from collections.abc import Collection
from dataclasses import dataclass, field
from unicodedata import normalize

from trayproxy.http.challenges import Challenge

UTF_8 = "utf-8"
"""What a challenge may name as its ``charset``, and what we use where it names none."""


CONTROL_CHARACTERS = frozenset(map(chr, (*range(0x20), 0x7F)))
"""The control characters of ASCII."""


class LoginError(ValueError):
    """A scheme cannot express this login; the text says why, for the person who typed it.

    The text never holds any part of the login.
    """


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and its password, any Unicode text. The password is hidden from `repr`.

    Attributes:
        user: The user-id as typed, with a domain where the company wants one (``CORP\\jdoe``).
        password: The secret. It goes to the keyring and to its own upstream, nowhere else.
    """

    user: str
    password: str = field(repr=False)


def check_characters(login: Login, forbidden: Collection[str] = ()) -> None:
    """Return if a scheme can encode every character of a login.

    Args:
        login: The user name and the password.
        forbidden: The control characters that the scheme cannot carry.

    Raises:
        LoginError: The user name or the password contains a forbidden character, or half of a
            surrogate pair, which no encoding can carry.
    """
    example = ", such as a line break" if "\n" in forbidden else ""
    for part, text in (("user name", login.user), ("password", login.password)):
        if any(char in forbidden for char in text):
            raise LoginError(f"This {part} contains a control character{example}.")
        if any("\ud800" <= char <= "\udfff" for char in text):
            raise LoginError(f"This {part} contains an invalid character. Retype it.")


def windows_name(user: str) -> str:
    r"""Return a user name with its domain in front of a backslash, as Windows writes it.

    ``CORP/jdoe`` becomes ``CORP\jdoe``; curl and Samba read both alike. A name with a backslash or
    an at sign already says where its domain ends, and is returned as it is: the principal
    ``jdoe/admin@CORP.EXAMPLE`` is one name. So is a slash with nothing on one side of it.

    Args:
        user: As typed.
    """
    domain, slash, name = user.partition("/")
    is_domain = slash and domain and name and "/" not in name
    if not is_domain or "\\" in user or "@" in user:
        return user
    return f"{domain}\\{name}"


def requires_utf_8(challenge: Challenge) -> bool:
    """Return whether a proxy says how it encodes names and passwords.

    ``UTF-8`` is all that it may say, in any case; whatever else it says is as good as nothing
    (RFC 7617, section 2.1; RFC 7616, section 3.3).
    """
    return (challenge.param("charset") or "").lower() == UTF_8


def encode_nfc(text: str, encoding: str) -> bytes:
    """Return a user name or a password as octets, of its composed form (NFC).

    Args:
        text: The text.
        encoding: Python's name of the encoding.

    Raises:
        LoginError: There is a character in it that the encoding has not got.
    """
    composed = normalize("NFC", text)
    octets = composed.encode(encoding, "ignore")  # Python's own error would quote the text.
    if octets.decode(encoding) != composed:
        raise LoginError(
            "The user name or the password has a character that the text encoding of the profile "
            "has not got."
        )
    return octets


def require_login(login: Login | None) -> Login:
    """Return the login, for a scheme that has nothing else to sign in with.

    Raises:
        LoginError: There is none.
    """
    if login is None:
        raise LoginError("The sign-in method of this proxy needs a user name and a password.")
    return login
