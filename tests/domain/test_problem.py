"""Tests for trayproxy.domain.problem."""

import pytest

from trayproxy.domain.problem import ExitCode, Problem, exit_code_for, single_line


@pytest.mark.parametrize(
    ("problem_id", "code"),
    [
        ("TP-101", ExitCode.PORT),
        ("TP-102", ExitCode.PORT),
        ("TP-103", ExitCode.FAILED),
        ("TP-201", ExitCode.UPSTREAM),
        ("TP-302", ExitCode.SIGN_IN),
        ("TP-307", ExitCode.UPSTREAM),
        ("TP-311", ExitCode.FAILED),
        ("TP-404", ExitCode.KEYRING),
        ("TP-501", ExitCode.UPSTREAM),
        ("TP-805", ExitCode.FAILED),
        ("", ExitCode.FAILED),
    ],
)
def test_the_exit_code_follows_from_the_id_of_the_problem(problem_id: str, code: ExitCode) -> None:
    assert exit_code_for(Problem(problem_id, "Title", "Body.")) is code


@pytest.mark.parametrize(
    ("untrusted", "line"),
    [
        ("a\r\n b\t\u2028c ", "a b c"),
        ("\x1b[31mred\x07", "[31mred"),
        ("proxy\u202egpj", "proxygpj"),
        ("\ud800\ue000x\u0378", "x"),
        ("\u200cx\u200d", "x"),
        ("Bü\u0301ro", "Bü\u0301ro"),
    ],
)
def test_a_single_line_has_no_invisible_characters(untrusted: str, line: str) -> None:
    assert single_line(untrusted) == line


def test_some_invisible_characters_can_be_kept() -> None:
    assert single_line("\u200cx\u200d\u202e", kept="\u200c\u200d") == "\u200cx\u200d"
