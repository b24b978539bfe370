"""The timeouts and limits of the sign-in desk."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeskLimits:
    """The timeouts and limits of the sign-in desk (ux §3.4). All durations are in seconds.

    Attributes:
        prompt_delay: Delay between the first request that needs a login and the prompt, so that the
            prompt can name all programs that start at the same time.
        canary_overdue: Time without a verdict on the canary after which the prompt reports that the
            login could not be checked yet. The parked requests continue to wait: each of them could
            cost one more failed log-on.
        canary_timeout: Time after which a canary is given up.
        send_interval: Time after which one more request may carry a login that is not proved, while
            earlier requests with that login have no response yet.
        own_requests_max: Own requests in a row that may end without a verdict.
        lookup_timeout: Time for the keyring to respond before the prompt opens without it.
        parked_timeout: Maximum time that a request is parked.
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
        front_end_grace: Time for which the last front end that can show a prompt may be
            disconnected, as it is while a tray restarts.
        prompt_attention: Time for which a prompt that the user has touched keeps other prompts from
            opening.
        lookup_ttl: Time for which the result of a keyring look-up is valid.
        locked_lookup_ttl: The same if the keyring was locked or did not respond, so that the unlock
            dialog of the keyring does not come back every few seconds.
        survey_interval: Interval of checks whether another program has unlocked the keyring, while
            a prompt is open because the keyring is locked.
        realm_ttl: Time for which a realm counts as in use after its last 407 or acceptance.
        scheme_backoff: Times for which a scheme that failed is not used: after the first failure,
            the second, the third and each further one.
        ticket_interval: Interval of attempts to obtain a Kerberos ticket while there is none.
        kdc_interval: Interval of attempts to reach a sign-in server (KDC) that could not be
            reached. A server cannot count attempts that do not reach it, and the request that makes
            the attempt waits for a second at most.
        scheme_failures_max: Failures in a row after which a scheme that was accepted before is
            backed off.
        record_timeout: Time for writing a trial to disk before parked requests are refused because
            the state folder does not respond.
        unanswered_max: Times in a row that a login may be sent without a response; each of them may
            have cost a log-on.
        unproved_max: Times in a row that an unverified login may be sent and get a response that a
            proxy may also give to a wrong login (403, 502, a redirect to another host).
        accepted_targets_max: Targets remembered for which the current login was accepted.
        saved_login_holds: Times for which a saved login is not sent automatically after
            `unanswered_max` or `unproved_max` was reached: the first time, the second, the third
            and each further one. Directories count failed log-ons within half an hour or an hour.
        login_holds: The same for a login that was accepted in this run, or that came from the
            command line.
        rejections_max: Rejections within `rejection_window` after which the next attempt requires a
            confirmation.
        refusals_max: Refusals in a row after which a login that was accepted before counts as
            rejected.
        parked_max: Parked requests of one protection space.
        programs_max: Programs named in a prompt.
        spaces_max: Protection spaces remembered; an upstream could invent new realms without end.
        forbidden_max: Forbidden hosts remembered of one protection space.
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
