"""Which statements of a file decide one of its functions or classes.

One file may hold a network and two methods; an edit of one method should not train the networks of
the other again. So a part's key holds a hash of what the part reaches by name within its file:
itself, the functions, classes, constants and imports that it names, what these name, and so on.
Every statement that may have an effect as the file is imported counts for all its parts. Where
names are looked up in ways that cannot be read (`globals()`, `eval`, `importlib`, metaclasses,
`import *`), the whole file counts.
"""

import ast
from collections.abc import Iterator, Set

UNREADABLE_NAMES = {"globals", "locals", "vars", "eval", "exec", "__import__"}
UNREADABLE_MODULES = {"importlib", "inspect", "sys", "gc"}
Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def reached(text: str, attribute: str, siblings: Set[str] = frozenset()) -> str:
    r"""Return the statements of a file that decide an attribute, in their order, as text.

    siblings: top-level modules of the same folder, whose decorators may do anything.

    >>> reached("import math\nA = 1\nB = 2\ndef f():\n    return A\n", "f")
    'A = 1\ndef f():\n    return A'
    """
    statements = ast.parse(text).body
    if any(_is_unreadable(node) for statement in statements for node in ast.walk(statement)):
        return text
    defined = {name for node in statements if isinstance(node, Definition) for name in _bound(node)}
    suspect = defined | _imported_from(statements, siblings)
    binding: dict[str, list[int]] = {}
    kept: set[int] = set()
    for number, node in enumerate(statements):
        if _has_effect(node, suspect):
            kept.add(number)
        for name in _bound(node):
            binding.setdefault(name, []).append(number)
    if attribute not in binding:
        return text
    waiting = [*kept, *binding[attribute]]
    kept.clear()
    while waiting:
        number = waiting.pop()
        if number in kept:
            continue
        kept.add(number)
        for name in _named(statements[number]):
            waiting += binding.get(name, [])
    lines = text.split("\n")  # not splitlines, for which a form feed ends a line, too
    return "\n".join("\n".join(_lines(statements[n], lines)) for n in sorted(kept))


def _is_unreadable(node: ast.AST) -> bool:
    """Return whether a statement or expression may reach names that are not written in it."""
    if isinstance(node, ast.Name):
        return node.id in UNREADABLE_NAMES
    if isinstance(node, ast.Import):
        return any(alias.name.partition(".")[0] in UNREADABLE_MODULES for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        is_star = any(alias.name == "*" for alias in node.names)
        return is_star or (node.module or "").partition(".")[0] in UNREADABLE_MODULES
    if isinstance(node, ast.ClassDef):
        return any(keyword.arg == "metaclass" for keyword in node.keywords)
    return isinstance(node, ast.FunctionDef) and node.name == "__init_subclass__"


def _bound(node: ast.stmt) -> Iterator[str]:
    """Yield the names that a statement of a module defines."""
    if isinstance(node, Definition):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    else:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                yield inner.id
            if isinstance(inner, Definition):
                yield inner.name


def _named(node: ast.stmt) -> Iterator[str]:
    """Yield what a statement names, also in strings, which annotations may be."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Name):
            yield inner.id
        elif isinstance(inner, ast.Constant) and isinstance(inner.value, str):
            if inner.value.isidentifier():
                yield inner.value
            elif len(inner.value) < 100:
                yield from (word for word in inner.value.replace("[", " ").split())


def _has_effect(node: ast.stmt, suspect: Set[str]) -> bool:
    """Return whether a statement may change more than the names that it defines."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return isinstance(node, ast.ImportFrom) and node.module == "__future__"
    if isinstance(node, Definition):
        roots = {_root(decorator) for decorator in node.decorator_list}
        return bool(roots & suspect)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return False  # a docstring
    if isinstance(node, ast.Assign | ast.AnnAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        is_plain = all(isinstance(target, ast.Name) for target in targets)
        return not is_plain or any(isinstance(inner, ast.Call) for inner in ast.walk(node))
    return True


def _root(node: ast.expr) -> str:
    """Return the first name of an expression such as `parts.register("x")`."""
    while isinstance(node, ast.Call | ast.Attribute):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else ""


def _imported_from(statements: list[ast.stmt], siblings: Set[str]) -> set[str]:
    """Return the names that come from modules of the same folder."""
    return {
        name
        for node in statements
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in _bound(node)
        if _is_beside(node, siblings)
    }


def _is_beside(node: ast.Import | ast.ImportFrom, siblings: Set[str]) -> bool:
    if isinstance(node, ast.ImportFrom):
        return node.level > 0 or (node.module or "").partition(".")[0] in siblings
    return any(alias.name.partition(".")[0] in siblings for alias in node.names)


def _lines(node: ast.stmt, lines: list[str]) -> list[str]:
    """Return a statement's lines, its decorators included."""
    decorators = node.decorator_list if isinstance(node, Definition) else []
    first = min([node.lineno, *(decorator.lineno for decorator in decorators)])
    return lines[first - 1 : node.end_lineno]
