"""The timeouts and limits of the sign-in desk."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeskLimits:
    """The timeouts and limits of the sign-in desk (ux §3.4). All durations are in seconds.

    Attributes:
        prompt_delay: Delay between the first challenged request and the prompt; the prompt then
            names all programs started at the same time.
        canary_overdue: Time without a verdict on the canary after which the prompt reports the
            pending check. The parked requests continue to wait: each of them could cost a further
            failed log-on.
        canary_timeout: Time after which a canary is given up.
        send_interval: Time after which a further request may carry an unproved login while earlier
            requests with the login have no response yet.
        own_requests_max: Maximum number of own requests in a row without a verdict.
        lookup_timeout: Time for the keyring to respond before the prompt opens without it.
        parked_timeout: Maximum parking time of a request.
        cancel_snooze: Snooze after *Cancel*.
        not_now_snooze: Snooze after *Not now*.
        rejection_window: Time in which `rejections_max` rejections make the next attempt require a
            confirmation.
        refusal_window: If a login is refused within this time after its last acceptance, the login
            is not wrong: the request is forbidden. Also the time for which the host of a refused
            request is not used to verify the login.
        forbidden_ttl: Time for which a forbidden host is remembered.
        proof_ttl: Time for which an acceptance proves a login. It also bounds how often the engine
            reports acceptances.
        front_end_grace: Time for which the last front end may be disconnected, as it is while a
            tray restarts.
        prompt_attention: Time for which a prompt touched by the user keeps other prompts from
            opening.
        lookup_ttl: Time for which the result of a keyring look-up is valid.
        locked_lookup_ttl: The same if the keyring was locked or did not respond; a long time
            prevents the unlock dialog of the keyring from coming back every few seconds.
        survey_interval: Interval of checks whether another program has unlocked the keyring, while
            a prompt is open because the keyring is locked.
        realm_ttl: Time for which a realm counts as in use after its last 407 or acceptance.
        scheme_backoff: Back-off times of a failed scheme: after the first, the second, and the
            third or any further failure.
        ticket_interval: Interval of attempts to obtain a Kerberos ticket while there is none.
        kdc_interval: Interval of attempts to reach an unreachable sign-in server (KDC). The server
            cannot count such attempts, and the request making the attempt waits for a second at
            most.
        scheme_failures_max: Failures in a row after which a previously accepted scheme is backed
            off.
        record_timeout: Time for writing a trial to disk before parked requests are refused because
            the state folder does not respond.
        unanswered_max: Maximum number of requests in a row with a login and without a response;
            each of them may have cost a log-on.
        unproved_max: Maximum number of canaries in a row with an inconclusive response, which a
            proxy may also give to a wrong login (403, 502, a redirect to another host).
        accepted_targets_max: Targets remembered for which the current login was accepted.
        saved_login_holds: Times for which a saved login is not sent automatically after
            `unanswered_max` or `unproved_max` was reached: the first time, the second time, and
            from the third time on. Directories count failed log-ons within half an hour or an hour.
        login_holds: The same for a login accepted in this run or given on the command line.
        rejections_max: Rejections within `rejection_window` after which the next attempt requires a
            confirmation.
        refusals_max: Refusals in a row after which a previously accepted login counts as rejected.
        parked_max: Parked requests of a protection space.
        programs_max: Programs named in a prompt.
        spaces_max: Protection spaces remembered; an upstream could invent new realms without end.
        forbidden_max: Forbidden hosts remembered of a protection space.
    """

    prompt_delay: float = 0.15
    canary_overdue: float = 10.0
    canary_timeout: float = 300.0
    send_interval: float = 2.0
    own_requests_max: int = 2
    lookup_timeout: float = 8.0
    parked_timeout: float = 300.0
    cancel_snooze: float = 60.0
    not_now_snooze: float = 900.0
    rejection_window: float = 600.0
    refusal_window: float = 60.0
    forbidden_ttl: float = 600.0
    proof_ttl: float = 15.0
    front_end_grace: float = 30.0
    prompt_attention: float = 300.0
    lookup_ttl: float = 5.0
    locked_lookup_ttl: float = 900.0
    survey_interval: float = 1.0
    realm_ttl: float = 600.0
    scheme_backoff: tuple[float, ...] = (60.0, 300.0, 900.0)
    ticket_interval: float = 5.0
    kdc_interval: float = 3.0
    scheme_failures_max: int = 3
    record_timeout: float = 8.0
    unanswered_max: int = 2
    unproved_max: int = 3
    accepted_targets_max: int = 8
    saved_login_holds: tuple[float, ...] = (3600.0, 14400.0, 57600.0)
    login_holds: tuple[float, ...] = (30.0, 900.0, 3600.0, 14400.0, 57600.0)
    rejections_max: int = 3
    refusals_max: int = 3
    parked_max: int = 512
    programs_max: int = 20
    spaces_max: int = 64
    forbidden_max: int = 256
