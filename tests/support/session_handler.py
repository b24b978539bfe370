"""The sessions of a control server's handler, and events to their front ends, like the service."""

from trayproxy.control.messages import Event
from trayproxy.control.server import Session


class SessionHandler:
    """Base class of handlers; keeps the sessions of the connected front ends."""

    def __init__(self) -> None:
        self.sessions: set[Session] = set()

    def attached(self, session: Session) -> None:
        """Add a session."""
        self.sessions.add(session)

    def detached(self, session: Session) -> None:
        """Remove a session."""
        self.sessions.discard(session)

    def broadcast(self, event: Event) -> None:
        """Send an event to all front ends that have subscribed."""
        for session in self.sessions:
            session.send_event(event)
