"""The users of this computer, by their ids."""

import sys

User = int | str
"""A user id: a number on Unix, a SID as text on Windows."""

if sys.platform == "win32":

    def own_user() -> User:
        """Return the user of this process.

        Raises:
            OSError: Windows does not report the user.
        """
        import os

        from trayproxy.desktop.windows_token import ProcessTokens

        user = ProcessTokens().user_of_process(os.getpid())
        if user is None:
            raise OSError("Windows does not report the user of this process")
        return user

    def find_user(text: str) -> User | None:
        """Return the user with a SID, such as ``S-1-5-18``; None if the text is not a SID.

        Names of users are not resolved: the user of another user's process is visible to
        administrators only, so a connection would never match.
        """
        return text.upper() if text.upper().startswith("S-1-") else None

    def name_of(user: User) -> str:
        """Return the SID of a user, which also serves as the user's name."""
        return str(user)

else:
    import os
    import pwd

    def own_user() -> User:
        """Return the effective user of this process, who also owns its sockets."""
        return os.geteuid()

    def find_user(text: str) -> User | None:
        """Return the user with a name or a number; None if no user has this name.

        This function may wait for a directory service.
        """
        if text.isascii() and text.isdigit():
            return int(text)
        try:
            return pwd.getpwnam(text).pw_uid
        except KeyError:
            return None

    def name_of(user: User) -> str:
        """Return the name of a user; the number if the user has no name.

        This function may wait for a directory service.
        """
        try:
            return pwd.getpwuid(int(user)).pw_name
        except (KeyError, OverflowError):
            return str(user)
