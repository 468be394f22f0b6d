"""The shape of the house: folders, sizes of modules and functions, arrows without cycles, words."""

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("analysis", "study", "trainers")
MOST_FLOORS = {"analysis": 10, "study": 9, "trainers": 7}
MOST_MODULES = 12
MOST_BESIDE = 4
"""Modules beside the folders of a package; `study` and `analysis` have their `__main__`, too."""
LEAST_LINES, MOST_LINES, MOST_FUNCTION_LINES = 60, 500, 50
SMALL = {
    "study/plan/cost.py",
    "study/verify/checklist.py",
    "trainers/config/checks.py",
}
"""Apart on purpose, so that quick commands import neither torch nor MLflow with them."""
STARTING_VERBS_REFUSED = {"Give", "Say", "Tell", "Name", "Let", "Put", "Take", "Ask", "Refuse"}

NAMES = sorted(
    str(path.relative_to(ROOT)) for package in PACKAGES for path in (ROOT / package).rglob("*.py")
)


def modules_of(folder: Path) -> list[str]:
    return [path.name for path in folder.glob("*.py") if not path.stem.startswith("__")]


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def arrows(package: str, depth: int | None = None) -> dict[str, set[str]]:
    """Read which module imports which; with a depth, of names cut to so many words."""
    graph = grimp.build_graph(package)
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        short = ".".join(module.split(".")[:depth])
        imported = graph.find_modules_directly_imported_by(module)
        others = {".".join(other.split(".")[:depth]) for other in imported}
        found.setdefault(short, set()).update(others - {short})
    # The package's own `__init__` re-exports names and is nobody's floor.
    return {name: above - {package} for name, above in found.items() if name != package}


def floors(above: Mapping[str, set[str]]) -> int:
    """Count the floors: the longest way down, in modules or folders."""
    height: dict[str, int] = {}
    for name in TopologicalSorter(above).static_order():
        height[name] = 1 + max((height[other] for other in above.get(name, ())), default=0)
    return max(height.values())


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_are_few_and_hold_few_modules(package: str) -> None:
    folders = [path for path in (ROOT / package).iterdir() if (path / "__init__.py").is_file()]
    assert len(modules_of(ROOT / package)) <= MOST_BESIDE
    for folder in folders:
        assert 2 <= len(modules_of(folder)) <= MOST_MODULES, folder
        assert not [path for path in folder.iterdir() if (path / "__init__.py").is_file()], folder


@pytest.mark.parametrize("name", NAMES)
def test_modules_and_functions_are_of_one_size(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= MOST_LINES
    if not Path(name).stem.startswith("__") and name not in SMALL:
        assert lines >= LEAST_LINES, "fold it into the module that uses it"
    for function in functions(ast.parse(text)):
        assert function.end_lineno is not None
        assert function.end_lineno - function.lineno < MOST_FUNCTION_LINES, function.name


@pytest.mark.parametrize("package", PACKAGES)
def test_no_files_and_no_folders_import_in_a_circle(package: str) -> None:
    TopologicalSorter(arrows(package)).prepare()
    assert floors(arrows(package, depth=2)) <= MOST_FLOORS[package]


def test_a_planted_circle_is_seen() -> None:
    with pytest.raises(CycleError):
        TopologicalSorter({"a": {"b"}, "b": {"c"}, "c": {"a"}}).prepare()
    assert floors({"a": {"b"}, "b": {"c"}, "c": set()}) == 3


@pytest.mark.parametrize("name", NAMES)
def test_imports_inside_functions_have_their_reason_beside_them(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    lines = text.splitlines()
    for function in functions(ast.parse(text)):
        is_told = False
        for node in function.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert node.end_lineno is not None
                around = lines[node.lineno - 2 : node.end_lineno]
                # One reason serves the imports that follow it.
                is_told = is_told or any("#" in line for line in around)
                assert is_told, f"{name}:{node.lineno}: why not at the top?"


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_begin_with_the_verbs_of_the_field(name: str) -> None:
    for function in functions(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
        first = (ast.get_docstring(function) or "-").split()[0].strip(",.:;")
        assert first not in STARTING_VERBS_REFUSED, f"{function.name}: {first}"


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_mirror_the_folders(package: str) -> None:
    folders = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    mirrored = {path.parent.name for path in (ROOT / "tests" / package).glob("*/test_*.py")}
    assert mirrored == folders
