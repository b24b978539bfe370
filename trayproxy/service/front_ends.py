"""The connected front ends, and the events that are sent to them."""

from collections.abc import Callable

from trayproxy.control.messages import Event, PromptChanged, PromptClosed, Status, StatusChanged
from trayproxy.control.server import Session
from trayproxy.domain.signin import Ending, Prompt

TRAY = "tray"
"""The front end with windows (`trayproxy.ui`)."""


class FrontEnds:
    """The sessions of the connected front ends."""

    def __init__(self) -> None:
        self._sessions: set[Session] = set()

    @property
    def has_tray(self) -> bool:
        """True if the tray is connected."""
        return any(session.front_end == TRAY for session in self._sessions)

    def has_subscribers(self) -> bool:
        """Return True if a front end has subscribed to events."""
        return any(session.subscribed for session in self._sessions)

    def names_with_prompts(self) -> list[str]:
        """Return the name of each front end that can prompt the user."""
        return [session.front_end for session in self._sessions if session.can_prompt]

    def add(self, session: Session) -> None:
        """Add the session of a front end."""
        self._sessions.add(session)

    def remove(self, session: Session) -> None:
        """Remove the session of a front end."""
        self._sessions.discard(session)

    def broadcast(self, event: Event) -> None:
        """Send an event to each front end that has subscribed."""
        for session in tuple(self._sessions):
            session.send_event(event)

    def send_status(self, status: Status) -> None:
        """Send the status to each front end that has subscribed."""
        self.broadcast(StatusChanged(status))


class DeskChanges:
    """Sends the changes of the sign-in desk to the front ends (`ChangeListener`)."""

    def __init__(self, front_ends: FrontEnds, publish_soon: Callable[[], None]) -> None:
        """Create a listener; `publish_soon` publishes the status with the changed sign-in."""
        self._broadcast = front_ends.broadcast
        self.facts_changed = publish_soon

    def prompt_changed(self, prompt: Prompt) -> None:
        """Send a new or changed prompt to the front ends."""
        self._broadcast(PromptChanged(prompt))

    def prompt_closed(self, number: int, ending: Ending) -> None:
        """Send the end of a prompt to the front ends."""
        self._broadcast(PromptClosed(number, ending))
