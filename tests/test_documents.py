"""Checks the documents in ``resources``: each cited number and each link has a target."""

import re
from pathlib import Path

import pytest

from tests.http.test_checklist import LINES
from trayproxy.cli.main import main
from trayproxy.profiles.document import parse_settings
from trayproxy.recipes.catalogue import load, tools

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "resources" / "docs"
DESIGN = DOCS / "design"
GUIDE = (ROOT / "README.md", *sorted(DOCS.glob("*.md")))
PROBLEMS = ROOT / "resources" / "problems.md"
DOCUMENTS = sorted((*ROOT.glob("*.md"), *(ROOT / "resources").rglob("*.md")))
FOLDERS = ("trayproxy", "tests", "packaging", ".ci", ".github")
SUFFIXES = ("", ".py", ".sh", ".yml")

UX = re.compile(r"\bux(?:\.md)? §\d+[a-z]?(?:\.\d+)?(?:(?:,| and| to) §?\d+(?:[a-z]|\.\d+))*")
"""A citation, ``ux §3.3``, with the following sections: ``ux §3.3, §3.4``, ``ux §3.1 to §3.5``."""
UX_SECTION = re.compile(r"(?<=§)\d+[a-z]?(?:\.\d+)?|(?<=, )\d+[a-z]|\d+\.\d+")
MISTAKE = re.compile(r"(?<=ux §9, )\d+")
SECURITY_SECTION = re.compile(r"(?<=security\.md, section )\d+(?:\.\d+)?")
THREAT_OR_FAULT = re.compile(r"(?<![\w/#-])(?:T\d{1,2}|F\d\d)(?![\w-])")
MITIGATION = re.compile(r"(?<=\()M\d(?=\))")
INVARIANT = re.compile(r"(?<!\w)I\d(?!\w)")
NOTIFICATION = re.compile(r"(?<!\w)N\d\d?(?!\w)")
WORKLOAD = re.compile(r"(?<![\w-])W\d{1,2}(?![\w\x27])")
REQUIREMENT = re.compile(r"(?<![\w-])R-\d{3}(?![\w-])")
ENDING = re.compile(r"(?<=_)r_\d{3}(?=_|\()")
"""The end of the name of a test for a line of the HTTP checklist."""
PROBLEM = re.compile(r"\bTP-\d{3}\b")
CASE = re.compile(r"\b[CU]\d{3}\b")
LINK = re.compile(r"\]\(([^)#:]*)(?:#([^)]*))?\)")

Places = dict[str, list[str]]
"""The places of the citations of each number."""


class Sources:
    """The text of code, tests, scripts and documents, except this module."""

    def __init__(self) -> None:
        """Read all files."""
        paths = [
            path
            for folder in FOLDERS
            for path in (ROOT / folder).rglob("*")
            if path.suffix in SUFFIXES and path.is_file() and "__pycache__" not in path.parts
        ]
        self._texts = {
            path: path.read_text("utf-8") for path in (*paths, *DOCUMENTS) if path != Path(__file__)
        }

    def citations(self, pattern: re.Pattern[str]) -> Places:
        """Return what a pattern matches, and the file and line of each match."""
        found: Places = {}
        for path, text in self._texts.items():
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start()) + 1
                found.setdefault(match[0], []).append(f"{path.relative_to(ROOT)}:{line}")
        return found


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources()


def without_target(cited: Places, known: set[str]) -> Places:
    """Return the citations of unknown numbers."""
    return {name: places for name, places in cited.items() if name not in known}


def document(name: str) -> str:
    return (DESIGN / name).read_text("utf-8")


def numbers(name: str, definition: str) -> set[str]:
    """Return the numbers that a document defines at the beginning of its lines."""
    return set(re.findall(rf"^{definition}", document(name), re.MULTILINE))


def sections(name: str) -> set[str]:
    """Return the numbers of the sections of a document: ``3``, ``2a``, ``3.4``."""
    return numbers(name, r"#+ (\d+[a-z]?(?:\.\d+)?)\.? ")


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as a forge generates them."""
    headings = re.findall(r"^#+ (.*)$", path.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def catalogue() -> dict[str, bool]:
    """Return the problem ids of ux §5.2, each with True if the problem exists already."""
    rows = re.findall(r"^\| (TP-\d{3}) \| (\(not built yet)?", document("ux.md"), re.MULTILINE)
    return {problem: not missing for problem, missing in rows}


def test_each_cited_section_of_the_ux_document_exists(sources: Sources) -> None:
    cited: Places = {}
    for text, places in sources.citations(UX).items():
        for section in UX_SECTION.findall(text):
            cited.setdefault(section, []).extend(places)
    assert {"2a", "3.4", "4", "5.2", "9", "10.1"} <= cited.keys()
    assert not without_target(cited, sections("ux.md"))


def test_each_cited_mistake_of_the_ux_document_exists(sources: Sources) -> None:
    chapter = document("ux.md").partition("\n## 9. ")[2].partition("\n## ")[0]
    known = {str(number) for number in range(1, 47)}
    assert known <= set(re.findall(r"(?<![\w.#-])\d{1,2}(?= [a-zA-Z`\"])", chapter))
    cited = sources.citations(MISTAKE)
    assert cited
    assert not without_target(cited, known)


def test_each_cited_section_of_the_security_document_exists(sources: Sources) -> None:
    cited = sources.citations(SECURITY_SECTION)
    assert {"1.3", "3"} <= cited.keys()
    assert not without_target(cited, sections("security.md"))


def test_each_cited_threat_and_fault_exists(sources: Sources) -> None:
    threats = numbers("security.md", r"#### (T\d+) ")
    faults = numbers("security.md", r"\| (F\d\d) \|")
    assert threats == {f"T{number}" for number in range(1, 18)}
    assert faults == {f"F{number:02}" for number in range(1, 33)}
    cited = sources.citations(THREAT_OR_FAULT)
    assert {"T1", "T16", "F01", "F32"} <= cited.keys()
    assert not without_target(cited, threats | faults)


def test_each_cited_mitigation_exists(sources: Sources) -> None:
    cited = sources.citations(MITIGATION)
    assert cited
    assert not without_target(cited, numbers("security.md", r"\*\*(M\d)[ :]"))


def test_each_cited_invariant_of_the_corpus_exists(sources: Sources) -> None:
    cited = sources.citations(INVARIANT)
    assert cited
    assert not without_target(cited, numbers("http.md", r"- \*\*(I\d)\*\* "))


def test_each_cited_notification_exists(sources: Sources) -> None:
    planned = set(NOTIFICATION.findall(document("ux.md").partition("### 4.2")[2]))
    cited = sources.citations(NOTIFICATION)
    assert (
        {"N1", "N2", "N5", "N8", "N9", "N10"} == numbers("ux.md", r"\| (N\d+) \|") <= cited.keys()
    )
    assert not without_target(cited, planned)


def test_each_cited_workload_is_measured(sources: Sources) -> None:
    measured = (ROOT / "tests" / "bench" / "workloads.py").read_text("utf-8")
    known = set(re.findall(r'"(W\d)(?:-\w+)?"', measured))
    cited = sources.citations(WORKLOAD)
    assert {"W1", "W6", "W9"} <= cited.keys()
    assert not without_target(cited, known)


def test_each_line_of_the_http_checklist_has_a_test() -> None:
    lines = re.findall(
        r"^- \*\*R-(\d{3})\*\* \[(?:MUST|SHOULD|P)\] ", document("http.md"), re.MULTILINE
    )
    assert [int(line) for line in lines] == list(LINES)


def test_each_cited_line_of_the_http_checklist_exists(sources: Sources) -> None:
    known = {f"{number:03}" for number in LINES}
    cited = sources.citations(REQUIREMENT) | sources.citations(ENDING)
    assert {"R-074", "r_074"} <= cited.keys()
    assert not {name: places for name, places in cited.items() if name[-3:] not in known}


def test_the_cases_named_in_the_documents_are_in_the_corpus() -> None:
    corpus = (ROOT / "tests" / "http" / "corpus.json").read_text("utf-8")
    cited = {case for name in ("http.md", "security.md") for case in CASE.findall(document(name))}
    assert {"C001", "U153"} <= cited
    assert {case for case in cited if f'"id": "{case}"' not in corpus} == set()


def test_each_cited_problem_is_explained_or_planned(sources: Sources) -> None:
    explained = set(re.findall(r"^\| (TP-\d{3}) ", PROBLEMS.read_text("utf-8"), re.MULTILINE))
    assert {problem for problem, is_built in catalogue().items() if is_built} == explained
    assert not without_target(sources.citations(PROBLEM), set(catalogue()))


def test_the_flows_are_valid_diagrams() -> None:
    diagrams = re.findall(r"^```mermaid\n(.*?)^```", document("flows.md"), re.MULTILINE | re.DOTALL)
    assert len(diagrams) == 4
    for diagram in diagrams:
        first, *lines = diagram.splitlines()
        assert first == "sequenceDiagram"
        assert ";" not in diagram  # A semicolon ends a statement, even within a text.
        declared = set(re.findall(r"^    participant (\w+) as ", diagram, re.MULTILINE))
        used = re.findall(r"^\s+(\w+)--?>>(\w+): ", diagram, re.MULTILINE)
        notes = re.findall(r"Note over ([\w,]+): ", diagram)
        named = {name for pair in used for name in pair} | set(",".join(notes).split(",")) - {""}
        assert named == declared
        begun = sum(line.split()[:1] in (["alt"], ["opt"]) for line in lines)
        assert begun == sum(line.strip() == "end" for line in lines)


def test_the_guide_is_complete_and_linked_from_the_readme() -> None:
    names = (
        "first-steps",
        "system-proxy",
        "sign-in",
        "profiles",
        "networks",
        "pac",
        "recipes",
        "headless",
        "import",
        "other-devices",
        "security",
        "troubleshooting",
    )
    assert {path.stem for path in DOCS.glob("*.md")} == set(names)
    links = {name for name, _ in LINK.findall((ROOT / "README.md").read_text("utf-8"))}
    assert {f"resources/docs/{name}.md" for name in names} <= links


def test_the_verbs_and_options_in_the_guide_exist(capsys: pytest.CaptureFixture[str]) -> None:
    code = [
        piece
        for path in GUIDE
        for piece in re.findall(r"```sh\n.*?```|`[^`]+`", path.read_text("utf-8"), re.DOTALL)
    ]
    verbs = {verb for piece in code for verb in re.findall(r"\btrayproxy ([a-z][a-z-]+)\b", piece)}
    assert {"run", "login", "logout", "env", "test"} <= verbs
    options: set[str] = set()
    for line in (
        [],
        *([verb] for verb in sorted(verbs)),
        ["profiles", "add"],
        ["profiles", "export"],
        ["system-proxy", "on"],
        ["autostart", "on"],
    ):
        with pytest.raises(SystemExit) as end:
            main([*line, "--help"])
        assert end.value.code == 0
        options |= set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    named = {
        o for piece in code if "trayproxy" in piece for o in re.findall(r" (--[a-z-]+)", piece)
    }
    named |= {piece[1:-1].split()[0] for piece in code if piece.startswith("`--")}
    assert {"--password-stdin", "--encoding", "--unset"} <= named
    # The options of packaging/linux/desktop-entry, packaging/test and curl.
    assert named - options - {"--remove", "--windows", "--socks5-hostname"} == set()


def test_the_settings_in_the_guide_can_be_parsed() -> None:
    blocks = [
        block
        for path in GUIDE
        for block in re.findall(r"```toml\n(.*?)```", path.read_text("utf-8"), re.DOTALL)
    ]
    assert {parse_settings(block).listen.allow_users for block in blocks} == {(), ("_apt", "root")}


def test_the_guide_names_each_recipe_and_its_source() -> None:
    rows = re.findall(
        r"^\| `([^`]+)` \| \[([^]]+)\]\(([^)]+)\) \|",
        (DOCS / "recipes.md").read_text("utf-8"),
        re.M,
    )
    recipes = {tool: load(tool) for tool in tools()}
    assert rows == [(tool, recipe.title, recipe.source) for tool, recipe in recipes.items()]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_each_link_of_a_document_has_a_target(path: Path) -> None:
    for name, anchor in LINK.findall(path.read_text("utf-8")):
        target = path.parent / name if name else path
        assert target.exists(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


def test_the_files_and_names_of_the_glossary_and_the_flows_are_in_the_code() -> None:
    text = document("glossary.md") + document("flows.md")
    files = set(re.findall(r"`(?:trayproxy/)?([a-z_]+/[a-z_0-9/]+\.py)`", text))
    assert len(files) > 30
    assert [name for name in sorted(files) if not (ROOT / "trayproxy" / name).exists()] == []
    code = "".join(path.read_text("utf-8") for path in (ROOT / "trayproxy").rglob("*.py"))
    names = set(re.findall(r"`([A-Z][a-z]+(?:[A-Z][a-z]+)+)`", text))
    names |= set(re.findall(r"participant \w+ as ([A-Z][a-z]+[A-Z][A-Za-z]+)\b", text))
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b", code)] == []
