"""Tests for trayproxy.desk.problems: the texts that the user reads."""

from dataclasses import replace

import pytest

from tests.desk.machine_driver import OFFICE
from trayproxy.auth.basic import Basic
from trayproxy.desk import problems
from trayproxy.domain.signin import RefusalReason
from trayproxy.http.challenges import Challenge


@pytest.mark.parametrize("reason", RefusalReason)
def test_each_refusal_has_a_text_with_the_name_of_the_profile(reason: RefusalReason) -> None:
    refused = problems.refusal(reason, OFFICE)
    texts = refused.problem.title + refused.problem.body
    assert refused.problem.id.startswith("TP-3")
    assert "{" not in texts
    assert "Office" in texts or reason is RefusalReason.UNRECORDED
    assert refused.details == reason.value
    assert refused.retry_after == (None if reason is RefusalReason.FORBIDDEN else 5)


def test_a_refusal_states_more_information_first() -> None:
    problem = problems.problem_of(RefusalReason.UNKNOWN_PROXY, OFFICE, "Its name is an address.")
    assert problem.body == (
        "Its name is an address. If the name in Office is right, ask your help desk."
    )


@pytest.mark.parametrize(
    ("name", "shown"), [("x" * 41, "x" * 41), ("x" * 42, "x" * 40 + "…")], ids=["60", "61"]
)
def test_a_title_has_at_most_60_characters(name: str, shown: str) -> None:
    problem = problems.problem_of(RefusalReason.TIMED_OUT, replace(OFFICE, name=name))
    assert problem.title == f"Sign-in needed for {shown}"


@pytest.mark.parametrize(
    ("schemes", "offered"),
    [
        ([], "nothing"),
        (["digest", "negotiate"], "Digest, Negotiate"),
        (["digest", "ntlm", "digest"], "Digest, Ntlm"),
        (["a", "b", "c", "d", "e", "f"], "A, B, C, D, E"),
        (["x" * 21], "X" + "x" * 19),
        (["aws4-hmac_sha256"], "Aws4-hmac_sha256"),
        (["<b>bold</b>"], "Bboldb"),
        (["bäsic\N{RIGHT-TO-LEFT OVERRIDE}"], "Bsic"),
        (["<>"], "something unreadable"),
    ],
)
def test_a_refusal_names_the_offered_schemes_without_unsafe_characters(
    schemes: list[str], offered: str
) -> None:
    refused = problems.no_common_scheme(map(Challenge, schemes), [Basic()])
    assert refused.problem.body == f"The proxy offers {offered}. TrayProxy can use Basic here."
    assert (refused.problem.id, refused.retry_after) == ("TP-303", None)


@pytest.mark.parametrize(("store", "name"), [("KWallet", "KWallet"), ("", "The keyring")])
def test_the_problems_of_a_keyring_name_it(store: str, name: str) -> None:
    assert problems.keyring_silent(store).title == f"{name} does not answer"
    saving = problems.not_saved(store, "it is locked")
    assert (saving.id, saving.body) == ("TP-404", f"{name} said: it is locked.")
    removing = problems.not_removed(store, "it is locked")
    assert removing.id == "TP-404"
    assert removing.body == f"{name} said: it is locked. The password is still there."
    in_memory = problems.kept_in_memory(saving)
    assert (in_memory.id, in_memory.title) == (saving.id, saving.title)
    assert in_memory.body == f"{saving.body} The password stays in memory until TrayProxy quits."


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("", "The proxy did not accept this password before"),
        ("Lab", "The proxy did not accept this password for “Lab”"),
    ],
)
def test_a_login_rejected_before_names_the_other_profile(name: str, title: str) -> None:
    problem = problems.rejected_before(name)
    assert (problem.id, problem.title) == ("TP-302", title)


def test_the_problem_of_a_profile_names_it() -> None:
    refused = problems.sign_in_disabled(OFFICE)
    assert "“Office” is set to connect without one" in refused.problem.body
    assert refused.retry_after is None
    assert "“Office” signs in with your own sign-in" in problems.password_not_used(OFFICE).body
