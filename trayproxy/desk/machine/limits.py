"""The times and limits of the desk, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DeskLimits:
    """How long and how many (ux §3.4). All times are seconds.

    Attributes:
        gather: How long a first request waits for company before a question opens.
        canary: How long a login may be on its way before the person is told that it could not be
            checked so far. The others go on waiting for its verdict: each that tried it as well
            could be one more failed log-on.
        lost: How long it may be on its way at all.
        pace: Seconds after which one more request may carry a login that was right and was not
            proved lately, while the requests before it have no answer yet.
        own_most: How many own requests in a row may end without a verdict.
        patience: How long the keyring may take before the question opens without it.
        parked: How long a request waits for a sign-in.
        quiet: After *Cancel*.
        not_now: After *Not now*.
        hurry: Three rejections within this time make a question `hurried`.
        moments: A login refused within this time of being accepted is not wrong: that request is
            forbidden.
        forbidden: How long a forbidden address is known as such.
        fresh: How long an acceptance needs no confirmation; bounds how often the engine reports.
        grace: How long the last face that could ask may be gone, as it is while a tray restarts.
        attention: How long a person who has touched a question keeps others from opening.
        relook: How long what the keyring said holds.
        relook_locked: The same if it was locked or silent: its own prompt must not come back every
            few seconds.
        resurvey: How often to look whether another program has unlocked the keyring, while a
            question is open because it is locked.
        realms: How long another realm of an upstream is remembered as its present one.
        backoff: How long a scheme that could not be used is left alone: at first, then, then.
        ticket: How often to look for a ticket while there is none.
        unreachable: How often to ask a sign-in server (KDC) that could not be reached. It cannot
            count what does not reach it, and the request that asks waits a second at most.
        stumbles: So often in a row a scheme that works comes to nothing before it is left alone.
        record: How long it may take to write down that a login is about to be tried, before its
            requests are told that the state folder does not answer.
        unanswered: How often in a row a login may be sent without getting an answer; each time may
            have cost a log-on.
        unproved: So often in a row an unverified login is sent and gets an answer that a proxy may
            give to a wrong login as well (403, 502, a redirect to another host).
        good_most: Targets remembered where the present login was accepted.
        silences: How long such a login that is saved is not sent again by itself: at first, then,
            then. Directories count failed log-ons within half an hour or an hour.
        short_silences: The same for a login that was right in this run, or that was given for it.
        rejections: So many make a question `hurried`.
        doubts: So many refusals in a row of a login accepted before make it a rejected one.
        parked_most: Requests that wait in one protection space.
        programs_most: Programs named in a question.
        cases_most: Protection spaces remembered; an upstream may invent realms for ever.
        forbidden_most: Forbidden addresses remembered of a protection space.
    """

    gather: float = 0.15
    canary: float = 10.0
    lost: float = 300.0
    pace: float = 2.0
    own_most: int = 2
    patience: float = 8.0
    parked: float = 300.0
    quiet: float = 60.0
    not_now: float = 900.0
    hurry: float = 600.0
    moments: float = 60.0
    forbidden: float = 600.0
    fresh: float = 15.0
    grace: float = 30.0
    attention: float = 300.0
    relook: float = 5.0
    relook_locked: float = 900.0
    resurvey: float = 1.0
    realms: float = 600.0
    backoff: tuple[float, ...] = (60.0, 300.0, 900.0)
    ticket: float = 5.0
    unreachable: float = 3.0
    stumbles: int = 3
    record: float = 8.0
    unanswered: int = 2
    unproved: int = 3
    good_most: int = 8
    silences: tuple[float, ...] = (3600.0, 14400.0, 57600.0)
    short_silences: tuple[float, ...] = (30.0, 900.0, 3600.0, 14400.0, 57600.0)
    rejections: int = 3
    doubts: int = 3
    parked_most: int = 512
    programs_most: int = 20
    cases_most: int = 64
    forbidden_most: int = 256
