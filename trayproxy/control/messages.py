"""The messages of the control protocol, each a frozen value.

A front end sends a *request* and receives exactly one *reply* with the same number. After
`Subscribe` it also receives *events*: a whole `Status` when any of its fields changes, and a whole
`Prompt` when a prompt opens or changes. An event contains the complete state and not a difference,
so a front end started late needs no history.

The values that the messages share with the desk, such as `Prompt` and `Problem`, are defined in
`trayproxy.domain.signin`, with the rules for msgspec structs and for texts marked "untrusted".
Times are seconds since the epoch (UTC).
"""

from enum import StrEnum

from msgspec import Struct, field

from trayproxy.auth.login import Login
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Ending, KeyringState, KeyringStatus, Prompt, SignInState, Snooze
from trayproxy.profiles.config import Forward, SystemProxyMode
from trayproxy.profiles.profile import Profile

SCHEMA = 3
"""The version of the protocol; raised when an older front end would misread a changed message."""


MAX_DIRECT_S = 3600
"""The longest time, in seconds, after which a profile becomes active again by itself."""


# --- The parts of `Status` (ux §3.1) -------------------------------------------------------------


class ListenerState(StrEnum):
    """The state of the listener: only when it is up can programs connect to TrayProxy."""

    STARTING = "starting"
    UP = "up"
    FAILED = "failed"


class UpstreamState(StrEnum):
    """The result of the last exchange with the active profile's upstream."""

    UNKNOWN = "unknown"
    OK = "ok"
    UNREACHABLE = "unreachable"


class RefusedClients(Struct, frozen=True):
    """Connections that were refused because another user of this computer made them.

    Attributes:
        count: The number of refused connections since the start.
        user: The user of the last refused connection, ``nobody``; empty if the connection had
            closed.
        program: The program of the last refused connection; empty if unknown.
        last: The time of the last refused connection.
    """

    count: int = 0
    user: str = ""
    program: str = ""
    last: float = 0.0


class RefusedDevices(Struct, frozen=True):
    """Connections of other devices that were refused because no setting allows these devices.

    Attributes:
        count: The number of refused connections since the start.
        address: The IP address of the device that was refused last.
        last: The time of the last refused connection.
    """

    count: int = 0
    address: str = ""
    last: float = 0.0


class ListenerKind(StrEnum):
    """The clients of a further listener."""

    FORWARD = "forward"
    """Each connection is a tunnel to a fixed target."""
    DEVICES = "devices"
    """Other devices that the settings allow."""
    CONTAINERS = "containers"
    """Containers and WSL on this computer."""


class FurtherListener(Struct, frozen=True):
    """A listener beside the local address.

    Attributes:
        kind: The clients of the listener.
        address: Its IP address and port, ``127.0.0.1:2222``.
        to: The target of a forward; the allowed addresses and networks of other devices; the name
            of the virtual adapter of containers.
        problem: Why TrayProxy does not listen there; None if it does.
    """

    kind: ListenerKind
    address: str
    to: str
    problem: Problem | None = None


class SystemProxyState(StrEnum):
    """Whether programs that follow the system proxy use TrayProxy, as read from the system."""

    OFF = "off"
    ON = "on"
    CHANGED = "changed"
    """TrayProxy has set the system proxy, and another program has changed it since."""
    MANAGED = "managed"
    """An administrator has locked the system proxy."""
    UNAVAILABLE = "unavailable"
    """This system has no system proxy that TrayProxy can set."""


class SystemProxyStatus(Struct, frozen=True):
    """The state of the system proxy.

    Attributes:
        state: Whether programs use TrayProxy.
        mode: How the system proxy points at TrayProxy.
        value: With `SystemProxyState.CHANGED`, the address or the URL that programs use now; empty
            if they connect directly. Untrusted.
        targets: The names of the changed stores of settings, ``KDE``.
        hints: Sentences that users must know about these stores.
        inexpressible: The bypass rules that the system proxy cannot express; programs send these
            requests to TrayProxy.
        skipped: The names of the stores that could not be read and were left alone.
        was_repaired: True if this start of the service has restored the settings that an earlier
            run had left.
        problem: Why the system proxy could not be set or restored as the settings say.
        restore_on_quit: True if the earlier settings come back when TrayProxy quits.
        waiting: The names of the stores, with their network connections, whose earlier settings
            could not be restored yet, because they are missing or refuse the change.
        withheld: The address of an earlier system proxy on this computer that was not restored,
            because no program answers there; empty if there is none. Untrusted.
        holder: The settings file of another TrayProxy of the user that has set the system proxy;
            empty if there is none.
        program: The name of the program that listens at `value`; empty if unknown. Untrusted.
    """

    state: SystemProxyState = SystemProxyState.OFF
    mode: SystemProxyMode = SystemProxyMode.ADDRESS
    value: str = ""
    targets: tuple[str, ...] = ()
    hints: tuple[str, ...] = ()
    inexpressible: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    was_repaired: bool = False
    problem: Problem | None = None
    restore_on_quit: bool = True
    waiting: tuple[str, ...] = ()
    withheld: str = ""
    holder: str = ""
    program: str = ""


class SwitchCause(StrEnum):
    """The fact of a network that has caused a switch."""

    WIFI = "wifi"
    GATEWAY = "gateway"
    DNS = "dns"
    VPN = "vpn"
    ANSWERS = "answers"
    """A proxy of the profile can be reached."""
    ELSEWHERE = "elsewhere"
    """The profile is for other networks, so programs connect directly."""


class NetworkSwitch(Struct, frozen=True):
    """A switch to another profile, or to direct connections, because of the network.

    Attributes:
        profile_id: The id of the profile now in use, or `DIRECT_ID`.
        previous_id: The id of the profile that was in use, or `DIRECT_ID`; empty if there was none.
        cause: The fact that caused the switch.
        fact: Its value, such as the name of the Wi-Fi network; for `SwitchCause.ELSEWHERE`, the
            name of the profile. Untrusted.
        at: The time of the switch.
    """

    profile_id: str
    previous_id: str
    cause: SwitchCause
    fact: str = ""
    at: float = 0.0


class Status(Struct, frozen=True):
    """The complete state shown by a front end.

    Attributes:
        address: The local address, ``127.0.0.1:3128``; while the listener is not up, the configured
            address.
        profile: The active profile, None if no profile is active.
        profiles: All profiles in menu order, including the active profile.
        user: The last accepted user name, empty if none was accepted.
        snoozed_until: The end of the snooze; None if not snoozed, or snoozed until the user signs
            in.
        upstream_since: The time at which `upstream` changed to its present value.
        waiting: The number of requests waiting for a sign-in.
        active: The number of open client connections.
        received: Octets relayed to clients since the start.
        sent: Octets relayed from clients since the start.
        problem: The most severe current problem, None if there is no problem.
        notices: Other problems for the user, such as an error in the settings file.
        direct: True if the user has chosen direct connections instead of a profile.
        direct_until: The time at which the previous profile becomes active again; None if it does
            not by itself.
        refused_clients: Named ``strangers`` on the wire and in ``trayproxy status --json``.
        spare_port: A free port near the configured port while the configured port is in use; 0 if
            unknown.
        wanted_port: The configured port while TrayProxy listens on another port in this run; 0 if
            it listens on the configured port.
        screen_locked: True if the screen is locked: prompts wait until it is unlocked.
        saved: True if the keyring contains a password of the active profile; None if unknown,
            because the keyring is not opened only for this.
        system_proxy: The state of the system proxy.
        network_switch: Why the present profile, or direct connections, are in use, if the network
            has caused it; None if a person has chosen.
        listeners: The listeners beside the local address.
        refused_devices: The refused connections of other devices.
        devices: The addresses and networks of the other devices that may connect.
        containers: True if containers and WSL on this computer may connect.
    """

    version: str
    pid: int
    listener: ListenerState
    address: str
    profile: Profile | None = None
    profiles: tuple[Profile, ...] = ()
    sign_in: SignInState = SignInState.NONE
    user: str = ""
    snoozed_until: float | None = None
    upstream: UpstreamState = UpstreamState.UNKNOWN
    upstream_since: float = 0.0
    keyring: KeyringStatus = KeyringStatus(KeyringState.UNKNOWN)
    waiting: int = 0
    active: int = 0
    received: int = 0
    sent: int = 0
    problem: Problem | None = None
    notices: tuple[Problem, ...] = ()
    schema: int = SCHEMA
    direct: bool = False
    refused_clients: RefusedClients = field(name="strangers", default=RefusedClients())
    spare_port: int = 0
    wanted_port: int = 0
    screen_locked: bool = False
    saved: bool | None = None
    direct_until: float | None = None
    system_proxy: SystemProxyStatus = SystemProxyStatus()
    network_switch: NetworkSwitch | None = None
    listeners: tuple[FurtherListener, ...] = ()
    refused_devices: RefusedDevices = RefusedDevices()
    devices: tuple[str, ...] = ()
    containers: bool = False


# --- Requests ------------------------------------------------------------------------------------


class Hello(Struct, frozen=True):
    """Introduce the front end; the first message of a connection. Reply: `Done`, or `Failed` if the
    schema differs.

    Attributes:
        front_end: The kind of front end: ``tray``, ``terminal`` or ``cli``.
        can_prompt: True if the front end can show prompts to a person.
        schema: The front end's version of the protocol.
        pid: The process id of the front end.
    """

    front_end: str
    can_prompt: bool
    schema: int = SCHEMA
    pid: int = 0


class GetStatus(Struct, frozen=True):
    """Request the status. Reply: `Status`."""


class Subscribe(Struct, frozen=True):
    """Subscribe to events. Reply: `Status`, followed by each open prompt as an event."""


class SaveProfile(Struct, frozen=True):
    """Add the profile, or replace the profile with the same id. Reply: `Done` or `Failed`."""

    profile: Profile


class DeleteProfile(Struct, frozen=True):
    """Delete a profile, and its saved password if `forget` is True. Reply: `Done` or `Failed`."""

    profile_id: str
    forget: bool


class UseProfile(Struct, frozen=True):
    """Activate a profile for new requests, or *Connect directly* for `DIRECT_ID`. Reply: `Done` or
    `Failed`.

    Attributes:
        profile_id: The id of the profile.
        for_s: With `DIRECT_ID`, the number of seconds, at most `MAX_DIRECT_S`, after which the
            present profile becomes active again, without a change of the settings; 0 for
            permanently. While a profile is to become active again, a new number replaces the rest
            of the time.
    """

    profile_id: str
    for_s: int = 0


class Resume(Struct, frozen=True):
    """End *Connect directly*: activate the profile that was active before. Reply: `Done`, also if
    programs do not connect directly; `Failed` if there was no profile.
    """


class UndoNetworkSwitch(Struct, frozen=True):
    """Return to the profile, or to the direct connections, before `Status.network_switch`, until
    the network changes. Reply: `Done`, or `Failed` if there is nothing to undo.
    """


class UsePort(Struct, frozen=True):
    """Listen on another port in this run, because the configured port is in use; port 0: listen on
    the configured port again. The settings do not change. Reply: `Done` or `Failed`.
    """

    port: int


class ChangeListeners(Struct, frozen=True):
    """Change the settings of further listeners, and apply them. Reply: `Done` or `Failed`.

    A value of None is not changed.

    Attributes:
        forwards: The fixed forwards.
        devices: The addresses and networks of the other devices that may connect.
        devices_password: True if other devices must send the password in the keyring.
        containers: True if containers and WSL on this computer may connect.
    """

    forwards: tuple[Forward, ...] | None = None
    devices: tuple[str, ...] | None = None
    devices_password: bool | None = None
    containers: bool | None = None


class SaveDevicesPassword(Struct, frozen=True):
    """Save the password for other devices in the keyring; None to delete it. Reply: `Done` or
    `Failed`. The setting `devices_password` does not change."""

    login: Login | None


class GetSystemProxy(Struct, frozen=True):
    """Read the system proxy. Reply: `SystemProxyStatus`."""


class LeftoverChoice(StrEnum):
    """The choice about a present system proxy at which no program listens."""

    ASK = "ask"
    """The request fails with the problem TP-605."""
    FORGET = "forget"
    """The system proxy is not restored later."""
    KEEP = "keep"
    """The system proxy is restored later."""


class UseSystemProxy(Struct, frozen=True):
    """Set or restore the system proxy. Reply: `SystemProxyStatus` or `Failed`.

    Attributes:
        use: True to point the system proxy at TrayProxy, False to restore it.
        mode: How the system proxy points at TrayProxy; None for the mode of the settings.
        leftover: The choice about a present system proxy at which no program listens. With `use`
            False, the choice about an earlier system proxy: `LeftoverChoice.KEEP` restores it,
            `LeftoverChoice.FORGET` forgets it and all values that cannot be restored now.
        everything: With `use` False, True to restore also values that other programs have changed.
    """

    use: bool
    mode: SystemProxyMode | None = None
    leftover: LeftoverChoice = LeftoverChoice.ASK
    everything: bool = False


class CheckProfile(Struct, frozen=True):
    """Test a profile, saved or not, step by step; fetch the URL. Reply: `CheckResult`.

    The URL is an http or https URL.
    The saved password of the profile is used at most once.
    """

    profile: Profile
    url: str = "http://example.com/"


class FindRoute(Struct, frozen=True):
    """Find the route of a request without sending it. Reply: `RouteFound` or `Failed`.

    Attributes:
        url: A URL, or a host and port, ``github.com:443``.
        profile_id: The id of the profile; empty for the active profile.
        program: The name of the program that would send the request; empty if it is not known.
    """

    url: str
    profile_id: str = ""
    program: str = ""


class EvaluatePac(Struct, frozen=True):
    """Ask the PAC script of an automatic profile for a URL. Reply: `PacAnswer` or `Failed`.

    Attributes:
        url: A URL, or a host and port, ``github.com:443``.
        profile_id: The id of the profile; empty for the active profile.
        reload: True to load the script again first.
    """

    url: str
    profile_id: str = ""
    reload: bool = False


class OpenProfilePort(Struct, frozen=True):
    """Listen at a further local address whose requests use a profile, active or not, until the
    service ends. Reply: `ProfilePort` or `Failed`.

    A second request for the same profile returns the same address.
    """

    profile_id: str


class SignInNow(Struct, frozen=True):
    """Open the prompt of a profile although no request waits. Reply: `Done` or `Failed`.

    The request also ends a snooze and clears a rejection.
    """

    profile_id: str


class AnswerPrompt(Struct, frozen=True):
    """Submit the typed login. Reply: `Done`, or `Failed` if the prompt has closed.

    If `remember` is True, the login is saved in the keyring after the upstream has accepted it.
    """

    number: int
    login: Login
    remember: bool


class DeclinePrompt(Struct, frozen=True):
    """Close a prompt without a login. Reply: `Done`."""

    number: int
    snooze: Snooze


class KeepPromptOpen(Struct, frozen=True):
    """Keep a prompt open, because the user has edited its fields. Reply: `Done`."""

    number: int


class SaveLogin(Struct, frozen=True):
    """Save a login of a profile in the keyring (``trayproxy login``). Reply: `Done`, `KeptInMemory`
    or `Failed`.

    The login is verified first, and saved and used only if the upstream accepts it. Unless a person
    has just typed it (`is_typed`), a rejected login is not sent again.

    With `is_certificate`, the password of the login is that of the profile's client certificate. It
    is saved only if it opens the file.

    For an automatic profile, `typed_for` is the URL of the upstream that the person was shown. The
    login is not sent to another one; without it, only to an upstream that no attacker in the
    network can have named.
    """

    profile_id: str
    login: Login
    is_typed: bool = True
    is_certificate: bool = False
    typed_for: str = ""


class KeptInMemory(Struct, frozen=True):
    """The upstream has accepted the login of a `SaveLogin`, but the keyring does not keep it.

    The login stays in memory until the service ends.
    """

    problem: Problem


class ForgetLogin(Struct, frozen=True):
    """Delete a profile's password from the keyring and from memory. Reply: `Done` or `Failed`."""

    profile_id: str


class ShowWindow(Struct, frozen=True):
    """Show the window (second start, ``trayproxy show``). Reply: `Done`; `Failed` without a tray.

    The token is the caller's XDG activation token, empty if there is none.
    """

    token: str = ""


class Quit(Struct, frozen=True):
    """End the service and all front ends. Reply: `Done`, then the connection closes."""


# --- Replies -------------------------------------------------------------------------------------


class Done(Struct, frozen=True):
    """The request succeeded."""


class Failed(Struct, frozen=True):
    """The request failed; the exit code is that of the command line (ux §7.1)."""

    problem: Problem
    exit_code: int = 1


class StepState(StrEnum):
    """The result of one step of a profile test."""

    OK = "ok"
    FAILED = "failed"
    NOT_NEEDED = "not-needed"
    NOT_TRIED = "not-tried"


class Step(Struct, frozen=True):
    """One step of a profile test, shown as a line of the test panel (ux §3.3).

    Attributes:
        name: ``script`` and ``answer`` for an automatic profile (its PAC script was loaded, and
            names upstreams for the URL), ``find``, ``connect``, ``encryption``, ``challenge``,
            ``sign-in``, ``fetch`` or ``tls`` (who has issued the certificates that programs see for
            https sites); then ``fallback`` for the reachability of each other upstream of the
            profile.
        detail: An address, a status, a scheme and realm. Untrusted.
        took: The duration in milliseconds, None if the step was not tried.
        problem: The reason of a failure.
    """

    name: str
    state: StepState
    detail: str = ""
    took: float | None = None
    problem: Problem | None = None


class CheckResult(Struct, frozen=True):
    """The result of a profile test.

    Attributes:
        steps: All steps in order.
        profile: The tested profile with the upstreams that its PAC script names; None for a profile
            with a fixed upstream, or if the script names none.
    """

    steps: tuple[Step, ...]
    profile: Profile | None = None

    @property
    def first_failed(self) -> Step | None:
        """The first failed step, None if no step failed."""
        return next((step for step in self.steps if step.state is StepState.FAILED), None)


class RouteReason(StrEnum):
    """The reason for the route of a request."""

    DIRECTLY = "directly"
    """*Connect directly* is active."""
    BYPASS = "bypass"
    """An entry of the bypass list matches."""
    RULE = "rule"
    """A routing rule of the profile matches."""
    PROFILE = "profile"
    """No rule matches: the proxies of the profile are used."""
    SCRIPT = "script"
    """No rule matches: the PAC script of the profile names the proxies."""


class RouteFound(Struct, frozen=True):
    """The route of a request.

    Attributes:
        target: The host and port of the request.
        reason: Why this route is used.
        proxies: The URLs of the proxies in the order of preference, or ``direct``; empty if the
            request is blocked.
        rule: The rule that decides, or the entry of the bypass list; empty if none does.
        profile: The name of the profile; empty if *Connect directly* is active.
    """

    target: str
    reason: RouteReason
    proxies: tuple[str, ...] = ()
    rule: str = ""
    profile: str = ""


class PacName(Struct, frozen=True):
    """A host name that a PAC script has resolved; no addresses if it cannot be resolved."""

    name: str
    addresses: tuple[str, ...]


class PacAnswer(Struct, frozen=True):
    """The answer of a PAC script for a URL. Texts of the script are untrusted.

    Attributes:
        source: The source of the script.
        proxies: The URLs of the proxies in the order of the script, or ``direct``.
        used: The first of them that is not known to be unreachable; empty if there are none.
        problem: Why there are no proxies; None if there are.
        is_stored: True if the script is the last good copy, because its source cannot be loaded.
        url: The URL that the script has seen; empty if it did not run. So are the other members.
        host: The host that the script has seen.
        text: The answer as the script has returned it.
        skipped: The entries of the answer that cannot be used, each with the reason.
        took: The duration in milliseconds, including name look-ups.
        names: The names that were resolved for the script.
        alerts: The texts that the script has passed to ``alert``.
    """

    source: str
    proxies: tuple[str, ...] = ()
    used: str = ""
    problem: Problem | None = None
    is_stored: bool = False
    url: str = ""
    host: str = ""
    text: str = ""
    skipped: tuple[str, ...] = ()
    took: float = 0.0
    names: tuple[PacName, ...] = ()
    alerts: tuple[str, ...] = ()


class ProfilePort(Struct, frozen=True):
    """The local address of `OpenProfilePort`, ``127.0.0.1:40123``."""

    address: str


# --- Events --------------------------------------------------------------------------------------


class StatusChanged(Struct, frozen=True):
    """The status changed; sent at most 5 times a second."""

    status: Status


class PromptChanged(Struct, frozen=True):
    """A prompt opened, or one of its fields changed."""

    prompt: Prompt


class PromptClosed(Struct, frozen=True):
    """A prompt closed."""

    number: int
    ending: Ending


class ShowRequested(Struct, frozen=True):
    """A request to show the window has arrived."""

    token: str = ""


class Quitting(Struct, frozen=True):
    """The service ends on request; the receiver must not restart it."""


Request = (
    Hello
    | GetStatus
    | Subscribe
    | SaveProfile
    | DeleteProfile
    | UseProfile
    | Resume
    | UndoNetworkSwitch
    | UsePort
    | ChangeListeners
    | SaveDevicesPassword
    | GetSystemProxy
    | UseSystemProxy
    | CheckProfile
    | FindRoute
    | EvaluatePac
    | OpenProfilePort
    | SignInNow
    | AnswerPrompt
    | DeclinePrompt
    | KeepPromptOpen
    | SaveLogin
    | ForgetLogin
    | ShowWindow
    | Quit
)
Reply = (
    Done
    | Failed
    | Status
    | SystemProxyStatus
    | CheckResult
    | KeptInMemory
    | RouteFound
    | PacAnswer
    | ProfilePort
)
Event = StatusChanged | PromptChanged | PromptClosed | ShowRequested | Quitting


class Envelope(Struct, frozen=True):
    """A message as sent over the connection.

    The number is that of the request, or of the request that a reply belongs to; 0 for an event.
    """

    message: Request | Reply | Event
    number: int = 0
