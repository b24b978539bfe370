"""The users of this computer, by their ids."""

import sys

User = int | str
"""A user id as the system writes it: a number on Unix, the text of a SID on Windows."""

if sys.platform == "win32":

    def own_user() -> User:
        """Return the user that this process runs as.

        Raises:
            OSError: The system does not tell.
        """
        import os

        from trayproxy.desktop.windows_token import ProcessTokens

        user = ProcessTokens().user_of_process(os.getpid())
        if user is None:
            raise OSError("the own user is not known")
        return user

    def find_user(text: str) -> User | None:
        """Return the user of a SID, ``S-1-5-18``; None if it is none.

        Names are not looked up: what runs as somebody else cannot be asked for its user without
        being an administrator, so that no name would ever be found at a connection.
        """
        return text.upper() if text.upper().startswith("S-1-") else None

    def name_of(user: User) -> str:
        """Return what to call a user."""
        return str(user)

else:
    import os
    import pwd

    def own_user() -> User:
        """Return the user that this process runs as: whose the sockets that it makes are."""
        return os.geteuid()

    def find_user(text: str) -> User | None:
        """Return the user of a name or a number; None if there is no such user.

        May wait for a directory service.
        """
        if text.isascii() and text.isdigit():
            return int(text)
        try:
            return pwd.getpwnam(text).pw_uid
        except KeyError:
            return None

    def name_of(user: User) -> str:
        """Return the name of a user, the number if there is no name.

        May wait for a directory service.
        """
        try:
            return pwd.getpwuid(int(user)).pw_name
        except (KeyError, OverflowError):
            return str(user)
