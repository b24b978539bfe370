"""Finds small changes of a module, each of which should make a test fail.

The changes are typical mistakes: a negated condition, a boundary off by one, a missing
guard. Text without expected checks is not changed: docstrings, log messages, prose,
annotations, ``__repr__``, ``assert`` and code for type checkers.
"""

import ast
import difflib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """The kind of change."""

    NEGATED = "negated condition"
    UNNEGATED = "removed not"
    JUNCTION = "and/or"
    OPERAND = "operand"
    GUARD = "dropped guard"
    COMPARISON = "comparison"
    CONSTANT = "constant"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module.

    Attributes:
        path: The module, relative to the top of the sources.
        line: The first line that changes, from 1.
        kind: The kind of change.
        start: Offset of the replaced text, in UTF-8 octets of the module.
        end: Offset after the replaced text.
        text: The new text.
        lines: The first and the last line of the enclosing statement, or of its head if it has a
            body: a test that executes none of these lines cannot detect the mutant.
        at_import: The statement runs when the module is imported.
    """

    path: str
    line: int
    kind: Kind
    start: int
    end: int
    text: str
    lines: tuple[int, int]
    at_import: bool

    def apply(self, source: bytes) -> bytes:
        """Return the changed source of the module."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def describe(self, source: bytes) -> str:
        """Return the location of the change and its diff to the source of the module."""
        before, after = source.decode().splitlines(), self.apply(source).decode().splitlines()
        diff = list(difflib.unified_diff(before, after, lineterm="", n=0))[3:]
        return "\n".join((f"{self.path}:{self.line} {self.kind.value}", *diff))


_COMPARISONS: dict[type[ast.cmpop], str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_OPERATORS: dict[type[ast.operator], str] = {
    ast.Add: "-",
    ast.Sub: "+",
    ast.Mult: "/",
    ast.Div: "*",
    ast.FloorDiv: "*",
    ast.Mod: "*",
    ast.BitAnd: "|",
    ast.BitOr: "&",
    ast.LShift: ">>",
    ast.RShift: "<<",
}
_LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)
_ATOMS = (ast.Name, ast.Attribute, ast.Call, ast.Subscript, ast.Constant)
_UNCHECKED_NAMES = {"__slots__", "__all__", "__match_args__"}
_UNCHECKED_CALLS = {"TypeVar", "ParamSpec", "NewType", "cast", "getLogger", "translate", "tr"}
_UNCHECKED_FUNCTIONS = {"__repr__", "__str__"}


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """Return all mutants of a module from its source in UTF-8, in the order of the source."""
    return sorted(_Finder(path, source).find(), key=lambda one: (one.start, one.end, one.text))


def draw(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return a sample: first a kind is drawn, then a mutant of that kind.

    Otherwise most mutants would be constants and comparisons.
    """
    chance = random.Random(seed)
    by_kind = {kind: [one for one in mutants if one.kind is kind] for kind in Kind}
    drawn: list[Mutant] = []
    while len(drawn) < count and any(by_kind.values()):
        left = by_kind[chance.choice([kind for kind in Kind if by_kind[kind]])]
        drawn.append(left.pop(chance.randrange(len(left))))
    return drawn


class _Finder:
    def __init__(self, path: str, source: bytes) -> None:
        self._path = path
        self._source = source
        self._line_starts = [0]
        for line in source.splitlines(keepends=True):
            self._line_starts.append(self._line_starts[-1] + len(line))

    def find(self) -> Iterator[Mutant]:
        yield from self._in_body(ast.parse(self._source).body, at_import=True)

    def _in_body(self, body: Sequence[ast.stmt], *, at_import: bool) -> Iterator[Mutant]:
        for statement in body:
            if not _is_unchecked(statement):
                yield from self._in_statement(statement, at_import=at_import)

    def _in_statement(self, statement: ast.stmt, *, at_import: bool) -> Iterator[Mutant]:
        is_function = isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        bodies = [
            *(getattr(statement, name, []) for name in ("body", "orelse", "finalbody")),
            *(handler.body for handler in getattr(statement, "handlers", [])),
            *(case.body for case in getattr(statement, "cases", [])),
        ]
        inner = [one for body in bodies for one in body]
        lines = statement.lineno, statement.end_lineno or statement.lineno
        if inner:
            lines = statement.lineno, max(statement.lineno, inner[0].lineno - 1)
        place = _Place(lines, at_import)
        if isinstance(statement, ast.If) and _is_guard(statement):
            # An `elif` starts at the same position.
            start, _ = self._span(statement)
            is_elif = self._source.startswith(b"elif", start)
            yield self._mutant(statement, Kind.GUARD, "else: pass" if is_elif else "pass", place)
        if isinstance(statement, ast.If | ast.While) and _is_negatable(statement.test):
            yield self._negated(statement.test, place)
        for expression in _expressions(statement):
            yield from self._in_expression(expression, place)
        for body in bodies:
            yield from self._in_body(body, at_import=at_import and not is_function)

    def _in_expression(self, top: ast.expr, place: "_Place") -> Iterator[Mutant]:
        for node in _checked(top):
            for condition in filter(_is_negatable, _conditions(node)):
                yield self._negated(condition, place)
            match node:
                case ast.UnaryOp(op=ast.Not()):
                    text = self._text(node.operand)
                    yield self._mutant(node, Kind.UNNEGATED, f"({text})", place)
                case ast.BoolOp():
                    yield from self._junction(node, place)
                case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
                    left, right = self._text(node.left), self._text(node.comparators[0])
                    text = f"({left} {_COMPARISONS[type(operator)]} {right})"
                    yield self._mutant(node, Kind.COMPARISON, text, place)
                case ast.BinOp() if type(node.op) in _OPERATORS and not _is_text(node):
                    left, right = self._text(node.left), self._text(node.right)
                    text = f"({left} {_OPERATORS[type(node.op)]} {right})"
                    yield self._mutant(node, Kind.OPERAND, text, place)
                case ast.Constant() if (other := _other(node.value)) is not None:
                    yield self._mutant(node, Kind.CONSTANT, repr(other), place)

    def _negated(self, condition: ast.expr, place: "_Place") -> Mutant:
        return self._mutant(condition, Kind.NEGATED, f"(not {self._text(condition)})", place)

    def _junction(self, node: ast.BoolOp, place: "_Place") -> Iterator[Mutant]:
        operands = [self._text(value) for value in node.values]
        this, other = ("and", "or") if isinstance(node.op, ast.And) else ("or", "and")
        yield self._mutant(node, Kind.JUNCTION, f"({f' {other} '.join(operands)})", place)
        for number in range(len(operands)):
            rest = operands[:number] + operands[number + 1 :]
            yield self._mutant(node, Kind.OPERAND, f"({f' {this} '.join(rest)})", place)

    def _mutant(self, node: ast.stmt | ast.expr, kind: Kind, text: str, place: "_Place") -> Mutant:
        start, end = self._span(node)
        return Mutant(self._path, node.lineno, kind, start, end, text, place.lines, place.at_import)

    def _text(self, node: ast.expr) -> str:
        """Return the source of an expression, in parentheses if necessary."""
        start, end = self._span(node)
        text = self._source[start:end].decode()
        return text if isinstance(node, _ATOMS) else f"({text})"

    def _span(self, node: ast.stmt | ast.expr) -> tuple[int, int]:
        end_line, end_column = node.end_lineno, node.end_col_offset
        assert end_line is not None
        assert end_column is not None
        start = self._line_starts[node.lineno - 1] + node.col_offset
        return start, self._line_starts[end_line - 1] + end_column


@dataclass(frozen=True, slots=True)
class _Place:
    lines: tuple[int, int]
    at_import: bool


def _is_guard(statement: ast.If) -> bool:
    return not statement.orelse and isinstance(statement.body[-1], _LEAVES)


def _is_negatable(condition: ast.expr) -> bool:
    """Return True if the negation of a condition is not also a mutant of another kind."""
    match condition:
        case ast.UnaryOp(op=ast.Not()):
            return False
        case ast.Compare(ops=[operator]):
            return isinstance(operator, ast.Lt | ast.LtE | ast.Gt | ast.GtE)
    return True


def _is_unchecked(statement: ast.stmt) -> bool:
    """Return True if tests are not expected to check a statement."""
    match statement:
        case ast.Assert() | ast.Import() | ast.ImportFrom():
            return True
        case ast.Expr(value=ast.Constant()):
            return True  # A docstring, or the ellipsis of a protocol.
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return True
        case ast.FunctionDef(name=name):
            return name in _UNCHECKED_FUNCTIONS
        case ast.Assign(targets=[ast.Name(id=name)]):
            return name in _UNCHECKED_NAMES
    return False


def _expressions(statement: ast.stmt) -> Iterator[ast.expr]:
    """Yield the expressions of a statement itself, without annotations and without its bodies."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            yield from statement.args.defaults
            yield from (one for one in statement.args.kw_defaults if one is not None)
        case ast.ClassDef():
            return
        case ast.AnnAssign():
            if statement.value is not None:
                yield statement.value
        case ast.If() | ast.While():
            yield statement.test
        case ast.With() | ast.AsyncWith():
            yield from (item.context_expr for item in statement.items)
        case ast.Match():
            yield statement.subject
            yield from (case.guard for case in statement.cases if case.guard is not None)
        case _:
            yield from (
                child for child in ast.iter_child_nodes(statement) if isinstance(child, ast.expr)
            )


def _checked(top: ast.expr) -> Iterator[ast.expr]:
    """Yield an expression and its parts, without parts for which no check is expected."""
    left: list[ast.AST] = [top]
    while left:
        node = left.pop()
        if isinstance(node, ast.Call) and _is_unchecked_call(node):
            continue
        if isinstance(node, ast.expr):
            if isinstance(node, ast.JoinedStr):
                # Text between the values is prose, and has no position before Python 3.12.
                left += [one.value for one in node.values if isinstance(one, ast.FormattedValue)]
                continue
            yield node
        left += ast.iter_child_nodes(node)


def _is_unchecked_call(call: ast.Call) -> bool:
    match call.func:
        case ast.Attribute(value=ast.Name(id="logger" | "_logger" | "log")):
            return True
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name in _UNCHECKED_CALLS
    return False


def _conditions(node: ast.expr) -> Iterator[ast.expr]:
    """Yield the conditions in an expression."""
    match node:
        case ast.IfExp():
            yield node.test
        case ast.ListComp() | ast.SetComp() | ast.DictComp() | ast.GeneratorExp():
            yield from (test for generator in node.generators for test in generator.ifs)


def _is_text(node: ast.BinOp) -> bool:
    """Return True if an operation is on text or types: another operator would only raise."""
    parts = [one for one in ast.walk(node) if isinstance(one, ast.expr)]
    return any(
        isinstance(one, ast.JoinedStr)
        or (isinstance(one, ast.Constant) and (one.value is None or isinstance(one.value, str)))
        for one in parts
    )


def _other(value: object) -> object:
    """Return another value of the same type; None if tests are not expected to check the value."""
    match value:
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * 2 + 1
        case bytes():
            return value + b"?"
        case str() if " " not in value:
            return value + "?"
    return None
