"""Process names for tests of the service."""

import socket

from trayproxy.desktop.users import User
from trayproxy.service.process_names import ListeningProgram, ProcessNames


class FakeProcessNames(ProcessNames):
    """Returns the same names for each address, user and connection, and records the arguments."""

    def __init__(self) -> None:
        self.listener = ListeningProgram()
        self.asked: list[User] = []
        self.held: list[socket.SocketType] = []

    def listener_at(self, address: str) -> ListeningProgram:
        self.asked.append(address)
        return self.listener

    async def find_listener(self, address: str) -> ListeningProgram:
        return self.listener_at(address)

    async def names_of_refused(self, connection: socket.SocketType, user: User) -> tuple[str, str]:
        assert connection.fileno() >= 0
        self.asked.append(user)
        self.held.append(connection)
        return f"user{user}", "nc"
