"""Tests for trayproxy.auth.conversation."""

from dataclasses import dataclass

from trayproxy.auth.basic import Basic
from trayproxy.auth.conversation import Ask, Outcome, Response, Send, Verdict, converse
from trayproxy.http.challenges import parse_challenges


@dataclass(frozen=True)
class Name:
    """An answer that signs with its name and the request."""

    name: bytes

    def credentials(self, method: bytes, target: bytes) -> bytes:
        return b" ".join((self.name, method, target))


OFFERED = parse_challenges([b"NTLM", b'Basic realm="office"'])
CHALLENGED = Response(407, OFFERED)
GRANTED = Response(200)
ALICE, BOB = Name(b"alice"), Name(b"bob")
BARE = Send(None)
ALICES = Send(b"alice CONNECT a.example:443")
BOBS = Send(b"bob CONNECT a.example:443")


def play(
    *replies: Response | Name | None, known: Name | None = None
) -> tuple[list[Send | Ask[Name]], Outcome[Name]]:
    """Play the replies to a conversation; return its steps and its outcome."""
    conversation = converse(b"CONNECT", b"a.example:443", known, [Basic()])
    steps = [next(conversation)]
    try:
        for reply in replies:
            steps.append(conversation.send(reply))
    except StopIteration as end:
        return steps, end.value
    raise AssertionError(f"the conversation goes on: {steps[-1]}")


def test_an_open_proxy_is_asked_once() -> None:
    assert play(GRANTED) == ([BARE], Outcome(Verdict.FINAL, GRANTED, None))


def test_a_challenge_is_answered() -> None:
    steps, outcome = play(CHALLENGED, ALICE, GRANTED)
    assert steps == [BARE, Ask(OFFERED, tried=None), ALICES]
    assert outcome == Outcome(Verdict.FINAL, GRANTED, ALICE)


def test_a_known_answer_is_sent_before_the_proxy_asks() -> None:
    assert play(GRANTED, known=ALICE) == ([ALICES], Outcome(Verdict.FINAL, GRANTED, ALICE))


def test_a_rejected_answer_is_named_when_asking_again() -> None:
    steps, outcome = play(CHALLENGED, ALICE, CHALLENGED, BOB, GRANTED)
    assert steps[3:] == [Ask(OFFERED, tried=ALICE), BOBS]
    assert outcome.answer is BOB


def test_a_declined_question_ends_it_with_the_407() -> None:
    assert play(CHALLENGED, None)[1] == Outcome(Verdict.DECLINED, CHALLENGED, None)


def test_the_answer_just_refused_is_not_sent_again() -> None:
    steps, outcome = play(CHALLENGED, ALICE, CHALLENGED, ALICE)
    assert steps.count(ALICES) == 1
    assert outcome.verdict is Verdict.DECLINED


def test_a_407_without_a_scheme_of_ours_asks_nobody() -> None:
    foreign = Response(407, parse_challenges([b'Bearer realm="x"']))
    assert play(foreign) == ([BARE], Outcome(Verdict.UNANSWERABLE, foreign, None))


def test_a_scheme_this_response_did_not_offer_is_not_used_although_the_last_one_did() -> None:
    # T5: never answer what was not offered in this very response.
    bare = Response(407)
    steps, outcome = play(CHALLENGED, ALICE, bare)
    assert steps == [BARE, Ask(OFFERED, tried=None), ALICES]
    assert outcome.verdict is Verdict.UNANSWERABLE


def test_other_errors_are_for_the_client() -> None:
    for status in (401, 403, 502):
        assert play(Response(status, OFFERED))[1].verdict is Verdict.FINAL
