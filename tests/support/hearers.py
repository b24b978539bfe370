"""Telling every front end of a control server something, as the service does."""

from trayproxy.control.messages import Event
from trayproxy.control.server import Server


def tell(server: Server, event: Event) -> None:
    """Send an event to all who have introduced themselves, and want events."""
    for session in server.sessions:
        session.send_event(event)
