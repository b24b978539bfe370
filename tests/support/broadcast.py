"""Send an event to the front ends of a control server, like the service."""

from trayproxy.control.messages import Event
from trayproxy.control.server import Server


def broadcast(server: Server, event: Event) -> None:
    """Send an event to all front ends that have subscribed."""
    for session in server.sessions:
        session.send_event(event)
