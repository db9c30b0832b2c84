"""The rules of the house that a program can check. CONTRIBUTING.md says why they are rules."""

from __future__ import annotations

import ast
import functools
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENGINE = ROOT / "engine" / "tickbay"
NATIVE = ROOT / "native"

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60

# Contract → the files that ARCHITECTURE.md says keep it, from its table.
CONTRACTS = {
    name: re.findall(r"`([^`]+)`", places)
    for name, places in re.findall(
        r"^\| ([A-Z]+-[0-9]) \|.*\| ([^|]*) \|$", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE
    )
}
CONTRACT = re.compile(r"\b(?!ETH-|UTF-)[A-Z]{3,}-[0-9]\b(?!-)")


def files(*patterns: str) -> list[Path]:
    """Our files that match, without what was built."""
    found = {path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(path for path in found if not {"build", ".venv", "__pycache__"} & set(path.relative_to(ROOT).parts))


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


MODULES = files("engine/**/*.py")
PYTHON = files("engine/**/*.py", "tests/**/*.py", "bench/**/*.py")
C = files("native/**/*.[ch]")
UNITS = files("native/*.c")
CYTHON = files("native/*.pyx", "native/*.pxi", "native/*.pxd")
SOURCES = [*PYTHON, *C, *CYTHON, *files("schema/**/*.sql", "engine/**/*.pyi")]
TEXTS = [*SOURCES, *files("*", "*.md", "requirements/*", "deploy/**/*", "native/Makefile", "bench/**/*", ".ci/*")]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """Of a module. Not of all our Python: so many objects, kept, slow down whatever runs in this process later."""
    return ast.parse(path.read_text())


@functools.cache
def python_functions(path: Path) -> list[tuple[str, int]]:
    return [
        (node.name, (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def c_functions(path: Path) -> Iterator[tuple[str, int]]:
    """Our style puts a function's braces in column 0; a table's initialiser has its opening one at a line's end."""
    text = path.read_text()
    for found in re.finditer(r"^[^\n{}]*?(\w+)\([^{};]*\)\n{\n(.*?)^}\n", text, re.DOTALL | re.MULTILINE):
        yield found[1], found[0].count("\n")


def imports(path: Path) -> set[str]:
    """Modules of tickbay that a module imports, anywhere in it, as dotted names without `tickbay.`."""
    found: set[str] = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tickbay":
            inside = node.module.removeprefix("tickbay").removeprefix(".")
            for alias in node.names:
                name = f"{inside}.{alias.name}".removeprefix(".")
                found.add(name if name in module_names() else inside)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("tickbay.") for alias in node.names if alias.name.startswith("tickbay.")}
    return found - {""}


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ENGINE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


@functools.cache
def module_names() -> set[str]:
    return {module_name(path) for path in MODULES}


@functools.cache
def modules() -> dict[str, set[str]]:
    return {module_name(path): imports(path) for path in MODULES}


# -------- size and names


def test_no_file_is_too_long_to_read() -> None:
    sizes = {name_of(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in sizes.items() if lines > FILE_LINES_MAX} == {}


@pytest.mark.parametrize(("paths", "functions"), [(PYTHON, python_functions), (C, c_functions)], ids=["python", "c"])
def test_every_function_fits_a_screen(
    paths: list[Path], functions: Callable[[Path], Iterable[tuple[str, int]]]
) -> None:
    sizes = {f"{name_of(path)}: {name}": lines for path in paths for name, lines in functions(path)}
    assert {name: lines for name, lines in sizes.items() if lines > FUNCTION_LINES_MAX} == {}


def test_the_function_counters_see_functions() -> None:
    """A rule that sees nothing holds always."""
    assert dict(c_functions(NATIVE / "feed.c"))["feed_frame"] > 20
    assert dict(python_functions(Path(__file__)))["c_functions"] > 3


def test_every_file_is_named_by_its_noun() -> None:
    nameless = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base", "core", "stuff"}
    assert [name_of(path) for path in SOURCES if nameless & set(re.split(r"[._-]", path.stem.lower()))] == []


def test_every_module_says_what_it_is_for() -> None:
    assert [name_of(path) for path in MODULES if not ast.get_docstring(tree_of(path))] == []


def test_every_test_s_name_is_a_sentence() -> None:
    tests = [(name_of(path), name) for path in files("tests/**/test_*.py") for name, _ in python_functions(path)]
    tests = [(path, name) for path, name in tests if name.startswith("test_")]
    assert len(tests) > 100
    assert [(path, name) for path, name in tests if name.count("_") < 3] == []


def test_no_module_has_the_session_s_servers_for_itself() -> None:
    """A module that imports a fixture has one of its own: 21 PostgreSQLs and 6 QuestDBs ran at once."""
    shared = {
        name
        for path in files("tests/servers/*.py")
        for name in re.findall(r'^@pytest\.fixture\(scope="session"\)\ndef (\w+)', path.read_text(), re.MULTILINE)
    }
    assert shared == {"postgres_server", "questdb_server", "timescale_server"}
    imported = re.compile(r"^from servers\.\w+ import .*\b(?:" + "|".join(shared) + r")\b", re.MULTILINE)
    assert [name_of(path) for path in files("tests/test_*.py") if imported.search(path.read_text())] == []


# -------- what must not be written


def test_no_text_names_the_machine_it_was_written_on_or_leaves_work_undone() -> None:
    forbidden = ["/" + "work/", "/" + "root/", "/" + "tmp/w/", "TO" + "DO", "FIX" + "ME", "X" + "XX"]
    assert [(name_of(path), word) for path in TEXTS for word in forbidden if word in path.read_text()] == []


def test_no_check_is_silenced_without_a_reason() -> None:
    """`# type: ignore[code]  # reason`, `# noqa: CODE  # reason` or `# noqa: CODE - reason`."""
    reasoned = re.compile(r"# (?:type: ignore\[[a-z, -]+\]|noqa: [A-Z0-9, ]+?)\s*[#:-]\s*\S.{4,}")
    silent = [
        f"{name_of(path)}: {mark}"
        for path in PYTHON
        if path != Path(__file__)
        for mark in re.findall(r"# (?:type: ignore|noqa).*", path.read_text())
        if not reasoned.fullmatch(mark)
    ]
    assert silent == []


def test_only_a_process_s_main_catches_everything() -> None:
    """An error that nobody classed is a mistake of ours: the process ends and is restarted."""
    catchers = set()
    for path in MODULES:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ExceptHandler):
                names = {part.id for part in ast.walk(node.type or node) if isinstance(part, ast.Name)}
                if node.type is None or {"Exception", "BaseException"} & names:
                    catchers.add(module_name(path))
    assert catchers <= {"process", "__main__"}


def test_no_error_is_caught_and_dropped_without_a_word() -> None:
    """An `except` that only passes says on that line why nothing is to be done."""
    dropped = [
        f"{name_of(path)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ExceptHandler) and isinstance(node.body[0], ast.Pass)
        if "#" not in path.read_text().splitlines()[node.body[0].lineno - 1]
    ]
    assert dropped == []


def test_only_the_configuration_reads_the_environment() -> None:
    reads = re.compile(r"os\.environ(?:\[|\.get\()|getenv")
    readers = {module_name(path) for path in MODULES if reads.search(path.read_text())}
    assert readers <= {"config", "demo"}  # demo sets the password of the server that it made, for its children


def test_only_events_writes_a_log() -> None:
    loggers = {module_name(path) for path in MODULES if re.search(r"\blogging\.(?!disable)\w", path.read_text())}
    assert loggers <= {"events"}


# -------- layers


def test_no_module_imports_itself_through_others() -> None:
    graph = modules()
    done: set[str] = set()

    def visit(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, " → ".join((*way[way.index(name) :], name))
        if name not in done:
            for other in sorted(graph.get(name, ())):
                visit(other, (*way, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())
    assert len(done) > 20


def reached(start: str) -> set[str]:
    graph, found, ahead = modules(), set[str](), [start]
    while ahead:
        for other in graph.get(ahead.pop(), ()):
            if other not in found:
                found.add(other)
                ahead.append(other)
    return found


ROLES = {
    f"{role}.{role}" for role in ("feed", "merger", "journal", "writer", "universe", "healer", "checker", "metrics")
}


@pytest.mark.parametrize("role", sorted(ROLES))
def test_the_roles_share_records_and_rings_but_do_not_know_each_other(role: str) -> None:
    others = {*ROLES, "supervisor.supervisor", "__main__"} - {role}
    assert role in modules()
    assert {name for name in reached(role) if name in others or name.startswith("sim")} == set()


@pytest.mark.parametrize("name", ["errors", "record", "ring", "gap", "events", "health", "config"])
def test_the_foundations_stand_on_nothing_above_them(name: str) -> None:
    ground = {"", "errors", "_native", "record", "config", "events", "health", "ring", "gap", "identity", "tables"}
    ground |= {"connect_string", "event_file", "rule", "secret", "terminal"}
    assert reached(name) - ground == set()


def test_a_venue_and_a_session_do_no_io() -> None:
    """Decide in pure code: clock, sockets and processes arrive as arguments."""
    acting = re.compile(r"^\s*(?:import|from) (?:socket|asyncio|subprocess|picows|uvloop|aiohttp|time)\b", re.M)
    pure = [ENGINE / "feed" / "session.py", *files("engine/tickbay/venues/*.py")]
    assert len(pure) >= 3
    assert [name_of(path) for path in pure if acting.search(path.read_text())] == []


# -------- contracts


def test_the_table_of_contracts_has_every_one_that_the_sources_name() -> None:
    named = {
        name for path in [*MODULES, *files("native/*.[ch]"), *CYTHON] for name in CONTRACT.findall(path.read_text())
    }
    assert named == set(CONTRACTS)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_contract_is_named_where_it_is_kept_and_where_it_is_tested(contract: str) -> None:
    assert CONTRACTS[contract], "nothing keeps it"
    for place in CONTRACTS[contract]:
        path = ROOT / place if place.startswith("native/") else ENGINE / place
        assert contract in path.read_text(), f"no line of {place} says that it keeps it"
    tested = [path for path in files("tests/**/*.py", "native/tests/*.c") if contract in path.read_text()]
    assert [path for path in tested if path != Path(__file__)], "no test names it"


# -------- C


def code_of(path: Path) -> str:
    """A C file without comments and strings."""
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', "", path.read_text(), flags=re.DOTALL)


def test_every_unit_has_its_header_and_its_test() -> None:
    wanted = [NATIVE / ("decode.h" if path.stem.startswith("decode_") else f"{path.stem}.h") for path in UNITS]
    wanted += [NATIVE / "tests" / f"test_{path.stem}.c" for path in UNITS]
    assert [name_of(path) for path in wanted if not path.exists()] == []


@pytest.mark.parametrize("unit", ["batch", "decode_deribit", "feed", "ilp", "merge", "number", "pgcopy", "ring"])
def test_every_unit_that_reads_what_we_did_not_write_is_fuzzed(unit: str) -> None:
    assert (NATIVE / "fuzz" / f"fuzz_{unit}.c").exists()


def test_no_unit_has_memory_io_or_state_of_its_own() -> None:
    calls = re.compile(r"\b(?:malloc|calloc|realloc|free|alloca|printf|fprintf|open|read|write|fopen)\s*\(")
    state = re.compile(r"^static (?!const\b|inline\b|_Thread_local\b)(?![^;{]*\bconst\b)[^()=;]*(?:=[^;]*)?;", re.M)
    found = [(name_of(path), hit) for path in UNITS for rule in (calls, state) for hit in rule.findall(code_of(path))]
    assert found == []


def test_no_c_hides_behind_volatile_goto_or_the_preprocessor() -> None:
    hiding = re.compile(r"\bvolatile\b|\bgoto\b|#define[^\n]*\breturn\b")
    assert [(name_of(path), hit) for path in C for hit in hiding.findall(code_of(path))] == []


def test_only_ringmap_talks_to_the_kernel() -> None:
    callers = {path.stem for path in UNITS if re.search(r"<(sys/(?!auxv)|unistd|fcntl|pthread)", path.read_text())}
    assert callers == {"ringmap"}


def test_the_build_compiles_every_unit_and_knows_every_header() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (module,) = project["tool"]["setuptools"]["ext-modules"]
    assert module["sources"] == ["native/_native.pyx", *(name_of(path) for path in UNITS)]
    assert module["depends"] == [name_of(path) for path in files("native/*.h", "native/*.pxi", "native/*.pxd")]
