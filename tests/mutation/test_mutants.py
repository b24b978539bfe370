import ast
from pathlib import Path

import pytest

from tests.mutation.mutants import Kind, draw, mutants_of
from tests.mutation.trial import Coverage

PACKAGE = Path(__file__).parents[2] / "trayproxy"


def changes(source: str) -> set[tuple[Kind, str]]:
    """Return the kind and the changed lines of each mutant."""
    before = source.encode()
    found = set()
    for mutant in mutants_of("one.py", before):
        after = mutant.apply(before).decode().splitlines()
        changed = [line for line in after if line not in source.splitlines()]
        found.add((mutant.kind, "\n".join(changed).strip()))
    return found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("while f(): g()", {(Kind.NEGATED, "while (not f()): g()")}),
        ("if not a: g()", {(Kind.UNNEGATED, "if (a): g()")}),
        ("a = b if c else d", {(Kind.NEGATED, "a = b if (not c) else d")}),
        ("a = [b for b in c if d]", {(Kind.NEGATED, "a = [b for b in c if (not d)]")}),
        (
            "a = b and f(c)",
            {
                (Kind.JUNCTION, "a = (b or f(c))"),
                (Kind.OPERAND, "a = (f(c))"),
                (Kind.OPERAND, "a = (b)"),
            },
        ),
        ("a = b + c", {(Kind.OPERAND, "a = (b - c)")}),
        ("a = b < c", {(Kind.COMPARISON, "a = (b <= c)")}),
        ("a = b is c", {(Kind.COMPARISON, "a = (b is not c)")}),
        ("a = 7", {(Kind.CONSTANT, "a = 8")}),
        ("a = True", {(Kind.CONSTANT, "a = False")}),
        ("a = b'x'", {(Kind.CONSTANT, "a = b'x?'")}),
    ],
)
def test_a_mutant_is_one_small_change(source: str, expected: set[tuple[Kind, str]]) -> None:
    assert changes(source) == expected


def test_a_guard_is_dropped_whole() -> None:
    source = "def f(a):\n    if a:\n        g()\n        return\n    h()\n"
    assert (Kind.GUARD, "pass") in changes(source)
    source = "def f(a):\n    if a:\n        g()\n    elif b:\n        return\n    h()\n"
    assert (Kind.GUARD, "else: pass") in changes(source)


@pytest.mark.parametrize(
    "source",
    [
        '"""A docstring."""',
        "logger.info('x', 1 + 2)",
        "raise E('words that say it')",
        "a = f'x {b} y'",
        "a: Literal['x']",
        "assert a is not None",
        "if TYPE_CHECKING:\n    a = 1",
        "class A:\n    def __repr__(self):\n        return 'x'",
        "T = TypeVar('T')",
        "__slots__ = ('a',)",
    ],
)
def test_code_without_expected_checks_is_not_changed(source: str) -> None:
    assert changes(source) == set()


def test_a_mutant_names_the_lines_of_its_statement() -> None:
    source = (
        b"def f(a):\n    if (\n        a > 1\n    ):\n        g(\n            2\n        )\nb = 3\n"
    )
    found = {(one.kind, one.lines, one.at_import) for one in mutants_of("one.py", source)}
    assert found == {
        (Kind.NEGATED, (2, 4), False),
        (Kind.COMPARISON, (2, 4), False),
        (Kind.CONSTANT, (2, 4), False),
        (Kind.CONSTANT, (5, 7), False),
        (Kind.CONSTANT, (8, 8), True),
    }


def test_mutants_are_python() -> None:
    sources = {str(path): path.read_bytes() for path in (PACKAGE / "engine").rglob("*.py")}
    mutants = [one for name, source in sources.items() for one in mutants_of(name, source)]
    for mutant in draw(mutants, 150, seed=1):
        source = sources[mutant.path]
        after = mutant.apply(source)
        assert after != source
        ast.parse(after)


def test_a_sample_is_the_same_for_the_same_seed_and_has_every_kind() -> None:
    path = PACKAGE / "engine" / "proxy_auth" / "auth_exchange.py"
    mutants = mutants_of(path.name, path.read_bytes())
    sample = draw(mutants, 70, seed=1)
    assert sample == draw(mutants, 70, seed=1) != draw(mutants, 70, seed=2)
    assert {one.kind for one in sample} == set(Kind)
    assert len(draw(mutants, 10**6, seed=1)) == len(mutants) == len(set(mutants))


def test_a_mutant_is_tried_with_the_tests_of_its_lines_and_of_given_files() -> None:
    [mutant] = mutants_of("one.py", b"a = 1\n")
    lines = {"test_first.py": {"one.py": frozenset({1})}, "test_other.py::a": {}}
    seconds = {"test_first.py::a": 2.0, "test_second.py::a": 1.0, "test_other.py::a": 1.0}
    coverage = Coverage(lines, seconds, frozenset())
    assert coverage.tests_of(mutant) == ["test_first.py::a"]
    found = coverage.tests_of(mutant, {"test_second.py"})
    assert found == ["test_second.py::a", "test_first.py::a"]
