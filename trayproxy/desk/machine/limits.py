"""The times and limits of the desk, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeskLimits:
    """How long and how many (ux §3.4). All times are seconds.

    Attributes:
        prompt_delay: How long a first request waits for company before a question opens.
        canary_overdue: How long a login may be on its way before the person is told that it could
            not be checked so far. The others go on waiting for its verdict: each that tried it as
            well could be one more failed log-on.
        canary_timeout: How long it may be on its way at all.
        send_interval: Seconds after which one more request may carry a login that was right and was
            not proved lately, while the requests before it have no answer yet.
        own_requests_max: How many own requests in a row may end without a verdict.
        lookup_timeout: How long the keyring may take before the question opens without it.
        parked_timeout: How long a request waits for a sign-in.
        cancel_snooze: After *Cancel*.
        not_now_snooze: After *Not now*.
        rejection_window: Three rejections within this time make a question `hurried`.
        refusal_window: A login refused within this time of being accepted is not wrong: that
            request is forbidden.
        forbidden_ttl: How long a forbidden address is known as such.
        proof_ttl: How long an acceptance needs no confirmation; bounds how often the engine
            reports.
        front_end_grace: How long the last face that could ask may be gone, as it is while a tray
            restarts.
        prompt_attention: How long a person who has touched a question keeps others from opening.
        lookup_ttl: How long what the keyring said holds.
        locked_lookup_ttl: The same if it was locked or silent: its own prompt must not come back
            every few seconds.
        survey_interval: How often to look whether another program has unlocked the keyring, while a
            question is open because it is locked.
        realm_ttl: How long another realm of an upstream is remembered as its present one.
        scheme_backoff: How long a scheme that could not be used is left alone: at first, then,
            then.
        ticket_interval: How often to look for a ticket while there is none.
        kdc_interval: How often to ask a sign-in server (KDC) that could not be reached. It cannot
            count what does not reach it, and the request that asks waits a second at most.
        scheme_failures_max: So often in a row a scheme that works comes to nothing before it is
            left alone.
        record_timeout: How long it may take to write down that a login is about to be tried, before
            its requests are told that the state folder does not answer.
        unanswered_max: How often in a row a login may be sent without getting an answer; each time
            may have cost a log-on.
        unproved_max: So often in a row an unverified login is sent and gets an answer that a proxy
            may give to a wrong login as well (403, 502, a redirect to another host).
        accepted_targets_max: Targets remembered where the present login was accepted.
        saved_login_holds: How long such a login that is saved is not sent again by itself: at
            first, then, then. Directories count failed log-ons within half an hour or an hour.
        login_holds: The same for a login that was right in this run, or that was given for it.
        rejections_max: So many make a question `hurried`.
        refusals_max: So many refusals in a row of a login accepted before make it a rejected one.
        parked_max: Requests that wait in one protection space.
        programs_max: Programs named in a question.
        spaces_max: Protection spaces remembered; an upstream may invent realms for ever.
        forbidden_max: Forbidden addresses remembered of a protection space.
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
