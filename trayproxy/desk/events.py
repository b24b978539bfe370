"""What happens to the desk, and what it wants done: the words of `trayproxy.desk.machine`.

Events are facts, effects are orders. All are values: a test writes them down, and the shell of
`trayproxy.desk.desk` turns futures, threads and faces into the one and the other into the like.
"""

from dataclasses import dataclass
from enum import Enum

from trayproxy.auth.login import Login
from trayproxy.control.messages import Ending, Keyring, Program, Quiet, Transport
from trayproxy.desk.space import Key, Mark
from trayproxy.profiles.profile import Profile

# --- Events: what the engine saw -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """How the upstream wants one to sign in, for people.

    Attributes:
        title: The scheme, ``Basic``.
        transport: How well the password is protected on its way.
    """

    title: str
    transport: Transport


@dataclass(frozen=True, slots=True)
class Challenged:
    """A request got a 407 and waits.

    Attributes:
        waiter: The request; never used twice, not even when the same request comes back.
        key: Who asked.
        profile: The profile that the request belongs to.
        way: How it wants one to sign in.
        target: Where the request wants to go, ``github.com:443``. Untrusted.
        tried: The login that the refused request carried, None if none.
        strayed: The request has already been sent from one realm to another.
        program: Who sent it, if that is known already.
    """

    waiter: int
    key: Key
    profile: Profile
    way: Way
    target: str
    tried: Mark | None = None
    strayed: bool = False
    program: Program | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that carried this login got a final response other than 407."""

    mark: Mark


@dataclass(frozen=True, slots=True)
class Inconclusive:
    """A request that carried this login got no response at all."""

    mark: Mark


@dataclass(frozen=True, slots=True)
class Left:
    """The client of a parked request has gone."""

    waiter: int


@dataclass(frozen=True, slots=True)
class Identified:
    """It is known now which program waits."""

    waiter: int
    program: Program


# --- Events: what the person did -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Typed:
    """The person answered a question."""

    number: int
    login: Login
    remember: bool


@dataclass(frozen=True, slots=True)
class Declined:
    """The person does not answer now."""

    number: int
    quiet: Quiet


@dataclass(frozen=True, slots=True)
class Touched:
    """The person has begun to answer."""

    number: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """The person wants to sign in although nothing waits."""

    profile: Profile
    way: Way


@dataclass(frozen=True, slots=True)
class Given:
    """A login that nobody was asked for: use it at the next 407, and do not keep it."""

    profile: Profile
    way: Way
    login: Login


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The person wants the logins of a profile forgotten."""

    profile_id: str


@dataclass(frozen=True, slots=True)
class Edited:
    """A profile was added or changed: its upstream, or its need of a password, may be another."""

    profile: Profile


@dataclass(frozen=True, slots=True)
class Deleted:
    """A profile is gone."""

    profile_id: str


@dataclass(frozen=True, slots=True)
class Switched:
    """Another profile is the active one; None if none is."""

    profile: Profile | None


# --- Events: what the world did ------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Found:
    """The keyring has answered.

    Attributes:
        lookup: Which question to it.
        login: What it holds, None if nothing that can be used.
        keyring: Its state.
    """

    lookup: int
    login: Login | None
    keyring: Keyring


@dataclass(frozen=True, slots=True)
class Surveyed:
    """The state of the keyring is known, or is another now."""

    keyring: Keyring


@dataclass(frozen=True, slots=True)
class NetworkChanged:
    """The machine is in another network, or has woken up."""


@dataclass(frozen=True, slots=True)
class AskersChanged:
    """So many faces can ask a person now."""

    count: int


@dataclass(frozen=True, slots=True)
class Tick:
    """Nothing, but time has passed."""


Event = (
    Challenged
    | Accepted
    | Inconclusive
    | Left
    | Identified
    | Typed
    | Declined
    | Touched
    | Wanted
    | Given
    | Forgotten
    | Edited
    | Deleted
    | Switched
    | Found
    | Surveyed
    | NetworkChanged
    | AskersChanged
    | Tick
)


# --- Effects -------------------------------------------------------------------------------------


class Reason(Enum):
    """Why a request is refused."""

    DECLINED = "sign-in cancelled"
    UNATTENDED = "sign-in needed"
    TIMED_OUT = "sign-in timed out"
    CROWDED = "too many requests wait for a sign-in"
    FORBIDDEN = "the upstream proxy forbids this request to this user"
    WITHDRAWN = "the profile was changed"


@dataclass(frozen=True, slots=True)
class Release:
    """Send the request again with this login."""

    waiter: int
    mark: Mark


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell the client of the request that it will not be sent."""

    waiter: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class LookUp:
    """Read the keyring. Event: `Found`.

    Attributes:
        lookup: To name in `Found`.
        profile: Whose login, for the upstream that the profile has.
        user: Of this user; empty: of whatever user there is.
    """

    lookup: int
    profile: Profile
    user: str


@dataclass(frozen=True, slots=True)
class Survey:
    """Find out which keyring there is, without reading anything. Event: `Surveyed`."""


@dataclass(frozen=True, slots=True)
class Save:
    """Write a login that was accepted to the keyring."""

    profile: Profile
    login: Login


@dataclass(frozen=True, slots=True)
class QuestionChanged:
    """A question is open, and new or different."""

    number: int


@dataclass(frozen=True, slots=True)
class QuestionClosed:
    """A question has ended."""

    number: int
    ending: Ending


Effect = Release | Refuse | LookUp | Survey | Save | QuestionChanged | QuestionClosed
