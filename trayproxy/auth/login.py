"""What a person types to sign in."""

from dataclasses import dataclass, field


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


def needed(login: Login | None) -> Login:
    """Return the login, for a scheme that has nothing else to sign in with.

    Raises:
        LoginError: There is none.
    """
    if login is None:
        raise LoginError("The sign-in method of this proxy needs a user name and a password.")
    return login
