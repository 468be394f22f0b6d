"""The code of own parts as plain text: which files it is, what it hashes to, how it is imported.

A file is found once, beside the studies file or where Python finds it, and from then on its text is
what counts: it is hashed, travels to workers inside the configuration, and is imported there. So an
edit during a launch changes nothing of that launch, and another node needs no copy of the file.
"""

import ast
import hashlib
import importlib
import importlib.util
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.abc import ExecutionLoader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.metadata import Distribution, packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from trainers.config.reached import reached


class PartError(ValueError):
    """An own part that cannot be used; the message is one line with file, line and way out."""


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """The text of a module that a part needs."""

    module: str
    """Its dotted name."""
    path: str
    """Where it was found; for messages, and for what the module reads beside itself."""
    shown: str
    """Its path from the folder that it was found in, such as `my_nets.py`."""
    is_package: bool
    text: str


@dataclass(frozen=True, kw_only=True)
class Code:
    """All that is known of a part's code: files, or a distribution and its version."""

    module: str
    files: tuple[SourceFile, ...] = ()
    """The module itself first, then the modules of its folder that it imports."""
    distribution: tuple[str, str] = ("", "")
    """For a part that is installed as a distribution: its name and version."""

    @property
    def shown(self) -> str:
        """Return what messages call the code: its file, or its module."""
        return self.files[0].shown if self.files else self.module


def find_code(module: str, folder: Path) -> Code:
    """Find a module in a folder, else in Python's path. Raises `PartError` if there is none.

    The modules of the same folder that it imports are found with it, wherever the import stands.
    Modules of other folders and of installed distributions are not followed.
    """
    files = _walk(module, folder)
    if files:
        return Code(module=module, files=files)
    # importlib looks for the parents of a dotted name by importing them.
    top = importlib.util.find_spec(module.partition(".")[0])
    if top is None or isinstance(top.loader, _Loader):
        near = ", ".join(sorted(path.name for path in folder.glob("*.py"))[:5]) or "no .py file"
        raise PartError(
            f"there is no module {module} in {folder} (which has {near}) and none is installed; "
            "correct the name, or install it"
        )
    origin = Path(top.origin or "")
    is_python = top.origin in (None, "built-in", "frozen")
    is_python = is_python or origin.is_relative_to(_standard_library())
    if is_python and "site-packages" not in origin.parts:
        version = ".".join(map(str, sys.version_info[:2]))
        return Code(module=module, distribution=("python", version))
    distribution = package_of(top.name)
    if distribution is not None and not _is_editable(distribution):
        return Code(module=module, distribution=(distribution.name, distribution.version))
    root = origin.parent.parent if top.submodule_search_locations else origin.parent
    files = _walk(module, root)
    if not files:
        raise PartError(f"{top.name} is installed, but has no module {module}; correct the name")
    return Code(module=module, files=files)


@cache
def content(code: Code, attribute: str) -> tuple[tuple[str, str], ...]:
    """Return what decides a part: a hash for each of its files, or a distribution's version.

    Of the part's own file it is a hash of what the part reaches there; of the modules of the folder
    that this imports, and those that they import, a hash of all their text.
    """
    if not code.files:
        return (code.distribution,)
    own, *others = code.files
    siblings = {file.module.partition(".")[0] for file in others}
    text = reached(own.text, attribute, siblings)
    found = {own.module: (own.shown, _digest(text))}
    names = {file.module: file for file in others}
    waiting = [*_imports(replace(own, text=text)), *_parents(own.module)]
    while waiting:
        file = names.get(waiting.pop())
        if file is not None and file.module not in found:
            found[file.module] = (file.shown, _digest(file.text))
            waiting += [*_imports(file), *_parents(file.module)]
    return tuple(found.values())


@cache
def imported(code: Code) -> ModuleType:
    """Import a part's module from its text, or as it is installed.

    Raises `PartError` with file and line of an error inside. A module of the same name that has
    been imported before, say of a library, is hidden only while the part's own files are imported.
    """
    names = {file.module: file for file in code.files}
    hidden = {
        name: sys.modules.pop(name)
        for name, file in names.items()
        if name in sys.modules and not _is_of(sys.modules[name], file)
    }
    if hidden:  # what imported the others would hold the old ones
        hidden |= {name: sys.modules.pop(name) for name in names if name in sys.modules}
    finder = _Finder(names)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(code.module)
    except SystemExit as stop:
        raise PartError(
            f"{code.shown}:1: it ends Python ({stop}) as it is imported; remove that"
        ) from None
    except Exception as error:
        raise PartError(located(error, code)) from None
    finally:
        sys.meta_path.remove(finder)
        _LATER.files.update(names)
        if _LATER not in sys.meta_path:
            sys.meta_path.append(_LATER)
        others = {n: m for n, m in hidden.items() if not isinstance(_loader(m), _Loader)}
        sys.modules.update(others)


def line_of(code: Code, attribute: str) -> int:
    """Return the line in the part's file at which an attribute is defined; 1 if it is not there."""
    if not code.files:
        return 1
    for node in ast.parse(code.files[0].text).body:
        if getattr(node, "name", None) == attribute:
            return int(node.lineno)
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == attribute for target in targets):
            return int(node.lineno)
    return 1


def located(error: BaseException, code: Code) -> str:
    """Format an error inside a part's code as file, line and error, in one line."""
    shown = {file.path: file.shown for file in code.files}
    text = " ".join(str(error).split())[:300]
    told = f"{type(error).__name__}: {text}" if text else type(error).__name__
    if isinstance(error, SyntaxError) and error.filename in shown:
        return f"{shown[error.filename]}:{error.lineno}: SyntaxError: {error.msg}; correct the line"
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename in shown:
            return f"{shown[frame.filename]}:{frame.lineno}: {told}; correct the line"
    return f"{code.shown}{':1' if code.files else ''}: {told}; correct it"


def _walk(module: str, folder: Path) -> tuple[SourceFile, ...]:
    """Read a module of a folder and what it imports from there; empty if it is not there."""
    found: dict[str, SourceFile] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop(0)
        file = None if name in found else _read(name, folder)
        if file is None:
            continue
        found[name] = file
        waiting += [*_parents(name), *_imports(file)]
    if module not in found:
        return ()
    own = found.pop(module)
    return (own, *(found[name] for name in sorted(found)))


def _parents(module: str) -> list[str]:
    """Return the packages that a module lies in, the nearest first."""
    return [module.rsplit(".", count)[0] for count in range(1, module.count(".") + 1)]


def _read(module: str, folder: Path) -> SourceFile | None:
    """Read a module's file in a folder, None if there is none."""
    if not all(word.isidentifier() for word in module.split(".")):
        return None
    base = folder.joinpath(*module.split("."))
    for path, is_package in ((base / "__init__.py", True), (base.with_suffix(".py"), False)):
        if not path.is_file():
            continue
        shown = str(path.relative_to(folder))
        try:
            text = path.read_text(encoding="utf-8-sig")
            ast.parse(text, filename=shown)
        except SyntaxError as error:
            rule = f"{shown}:{error.lineno}: SyntaxError: {error.msg}; correct the line"
            raise PartError(rule) from None
        except (OSError, ValueError) as error:
            fault = " ".join(str(error).split())[:200]
            raise PartError(f"{shown}:1: cannot be read, {fault}; save it as UTF-8") from None
        return SourceFile(
            module=module, path=str(path), shown=shown, is_package=is_package, text=text
        )
    return None


def _imports(file: SourceFile) -> Iterator[str]:
    """Yield the names of modules that a file may import, wherever the import stands."""
    package = file.module if file.is_package else file.module.rpartition(".")[0]
    for node in ast.walk(ast.parse(file.text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.rsplit(".", node.level - 1)[0] if node.level > 1 else package
                base = f"{above}.{base}".strip(".")
            yield base
            yield from (f"{base}.{alias.name}".lstrip(".") for alias in node.names)


class _Loader(ExecutionLoader):
    """Run a module from its text."""

    def __init__(self, file: SourceFile) -> None:
        self.file = file

    def get_filename(self, fullname: str) -> str:
        """Return the path at which the text was found."""
        return self.file.path

    def get_source(self, fullname: str) -> str:
        """Return the text, so that tracebacks show it where the file is not."""
        return self.file.text

    def is_package(self, fullname: str) -> bool:
        """Return whether other modules lie below this one."""
        return self.file.is_package


class _Finder(MetaPathFinder):
    """Find modules among the texts of a part."""

    def __init__(self, files: dict[str, SourceFile]) -> None:
        self.files = files

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return how a module is imported, None if it is none of these."""
        file = self.files.get(fullname)
        if file is None:
            return None
        return importlib.util.spec_from_file_location(
            fullname,
            file.path,
            loader=_Loader(file),
            submodule_search_locations=[] if file.is_package else None,
        )


_LATER = _Finder({})
"""Asked last of all, for what a part imports inside of a function, as it runs."""


def _loader(module: ModuleType) -> Any:
    return getattr(module, "__loader__", None)


def _is_of(module: ModuleType, file: SourceFile) -> bool:
    """Return whether a module was imported from this text."""
    loader = _loader(module)
    return isinstance(loader, _Loader) and loader.file == file


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@cache
def _standard_library() -> Path:
    return Path(sysconfig.get_paths()["stdlib"])


@cache
def package_of(top: str) -> Distribution | None:
    """Return the distribution that a top-level module belongs to, None if it belongs to none."""
    names = packages_distributions().get(top, [])
    return Distribution.from_name(names[0]) if names else None


def _is_editable(distribution: Distribution) -> bool:
    """Return whether a distribution is a link to a working folder, whose files change."""
    return '"editable": true' in (distribution.read_text("direct_url.json") or "")
