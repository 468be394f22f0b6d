"""A YAML file read as plain values, each with its line; ambiguous spellings are refused.

Lists become tuples. Only `true` and `false` are booleans, and `1e-3` is a number. What YAML 1.1
would quietly turn into something else (`on`, `010`, `12:30`, dates, `.nan`) is refused.
"""

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

Place = tuple[str | int, ...]
"""Where a value stands: keys and list positions from the top of the file."""

# Far beyond any studies file, and small enough that a hostile one costs neither time nor memory.
LARGEST_FILE_BYTES = 256 * 1024
DEEPEST = 32
MOST_VALUES = 50_000
LARGEST_INTEGER = 2**63 - 1
"""The largest whole number of NumPy and torch."""

_PLAIN = "unquoted"
_STRING = "tag:yaml.org,2002:str"
_LIST = "tag:yaml.org,2002:seq"
_MAPPING = "tag:yaml.org,2002:map"

_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_REFUSED = (
    (r"(?i:yes|no|on|off|true|false)", "only true and false are booleans", "true or false"),
    (r"[-+]?0[0-9]+([.eE].*)?", "a leading zero has two readings", "the number without it"),
    (r"[-+]?0[xob][0-9a-fA-F_]+", "numbers are decimal", "the decimal number"),
    (r"[-+]?[0-9]+(_+[0-9]+)+(\.[0-9]*)?", "numbers have no underscores", "digits alone"),
    (r"[-+]?[0-9]+(:[0-5]?[0-9])+(\.[0-9]*)?", "times are not read", "a plain number"),
    (r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?", "dates are not read", "a plain number"),
    (r"(?i:[-+]?\.inf|\.nan)", "numbers must be finite", "a finite number"),
)


_SYNTAX = {
    "'\\t'": "found a tab; write spaces instead",
    "mapping values are not allowed": "found one colon too many; quote text that contains a colon",
    "expected <block end>": "this line does not fit those above; check indentation and dashes",
    "expected ',' or": "the bracket opened in line {start} is not closed; close it, or add a comma",
    "unexpected end of stream": "a quote is opened but not closed; close it",
    "second occurrence": "a name (&name) is used twice; rename one",
    "undefined alias": "an alias (*name) has no &name before it; define it first, or quote the *",
}
"""Parts of PyYAML's messages, and the text that replaces them."""


class SpecError(ValueError):
    """A studies file that cannot be used; `messages` has one line for each mistake in it."""

    def __init__(self, *messages: str) -> None:
        super().__init__("\n".join(messages))
        self.messages = messages


@dataclass(frozen=True, kw_only=True)
class Source:
    """The values of a file, the line of each, and the mistakes found while reading."""

    data: Any
    lines: dict[Place, int]
    problems: tuple[tuple[Place, int, str], ...]

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest place around it that is in the file."""
        while place not in self.lines and place:
            place = place[:-1]
        return self.lines.get(place, 1)


def read_yaml(path: Path) -> Source:
    """Read a YAML file. Raises `SpecError` if its structure cannot be read."""
    text = _text(path)
    try:
        node = _Loader(text).get_single_node()
    except yaml.MarkedYAMLError as error:
        raise SpecError(f"{path}{_syntax(error)}") from None
    except yaml.reader.ReaderError as error:
        line = text[: error.position].count("\n") + 1
        character = f"U+{error.character:04X}"
        message = f"{path}:{line}: must be plain text, got the character {character}; remove it"
        raise SpecError(message) from None
    except (ValueError, OverflowError):
        fault = "a \\U in double quotes names no character; correct it"
        raise SpecError(f"{path}: is not valid YAML, {fault}") from None
    if node is None:
        raise SpecError(f"{path}: is empty; declare a study, such as digits: {{...}}")
    reading = _Reading()
    try:
        data = reading.value(node, ())
    except _TooMuchError as error:
        raise SpecError(f"{path}:{error.line}: {error}") from None
    return Source(data=data, lines=reading.lines, problems=tuple(reading.problems))


def _text(path: Path) -> str:
    """Read the file as text. Raises `SpecError` with the reason if that fails."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST_FILE_BYTES + 1)
    except FileNotFoundError:
        raise SpecError(f"{path}: there is no such file; check its name and folder") from None
    except IsADirectoryError:
        raise SpecError(f"{path}: is a folder; name the studies file inside it") from None
    except PermissionError:
        raise SpecError(f"{path}: this user may not read it; change its permissions") from None
    except (OSError, ValueError) as error:
        raise SpecError(f"{path}: cannot be read, {_first_line(error)}") from None
    if len(content) > LARGEST_FILE_BYTES:
        limit = LARGEST_FILE_BYTES // 1024
        message = f"{path}: must be at most {limit} KiB, but is larger; is it a studies file?"
        raise SpecError(message)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        byte = content[error.start]
        message = f"{path}:{line}: must be UTF-8, got the byte 0x{byte:02x}; save it as UTF-8"
        raise SpecError(message) from None


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _syntax(error: yaml.MarkedYAMLError) -> str:
    """Format a YAML syntax error as `:LINE: text`."""
    mark = error.problem_mark or error.context_mark
    line = mark.line + 1 if mark else 1
    if "single document" in (error.context or ""):
        return f":{line}: must hold one document, got a second one; remove the line ---"
    problem = (error.problem or "it cannot be read").replace("\n", " ")
    start = error.context_mark.line + 1 if error.context_mark else line
    for words, explanation in _SYNTAX.items():
        if words in problem:
            line = start if words == "unexpected end of stream" else line
            return f":{line}: is not valid YAML, {explanation.format(start=start)}"
    return f":{line}: is not valid YAML, {problem}; check indentation, brackets and quotes"


class _Loader(yaml.SafeLoader):
    """Compose nodes, and leave the interpretation of unquoted scalars to `_plain`."""

    yaml_implicit_resolvers = {None: [(_PLAIN, re.compile(""))]}  # noqa: RUF012 the base's own shape
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose one node, and refuse a depth that could overflow Python's stack."""
        self.depth += 1
        if self.depth > DEEPEST:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem=f"it is nested more than {DEEPEST} levels deep", problem_mark=mark
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


class _TooMuchError(Exception):
    """A file that its aliases expand to an unreasonable size."""

    def __init__(self, text: str, line: int) -> None:
        super().__init__(text)
        self.line = line


class _RefusedError(Exception):
    """A scalar that is not read, with the reason."""


@dataclass
class _Reading:
    """The conversion of nodes to values: aliases are expanded, the line of each place is kept."""

    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[tuple[Place, int, str]] = field(default_factory=list)
    count: int = 0

    def value(self, node: yaml.Node, place: Place) -> Any:
        self.lines.setdefault(place, node.start_mark.line + 1)
        self._tally(node, len(place))
        if isinstance(node, yaml.SequenceNode) and node.tag == _LIST:
            items = enumerate(node.value)
            return tuple(self.value(item, (*place, index)) for index, item in items)
        if isinstance(node, yaml.MappingNode) and node.tag == _MAPPING:
            return self._mapping(node, place)
        try:
            return _scalar(node)
        except _RefusedError as refusal:
            self.problems.append((place, node.start_mark.line + 1, str(refusal)))
            return None

    def _tally(self, node: yaml.Node, depth: int) -> None:
        """Count a value, and refuse aliases that expand without end ("billion laughs")."""
        self.count += 1
        line = node.start_mark.line + 1
        if depth > DEEPEST:
            raise _TooMuchError(
                "an alias (*name) stands inside the value that it names; write that out", line
            )
        if self.count > MOST_VALUES:
            text = f"holds more than {MOST_VALUES} values, aliases expanded; use fewer aliases"
            raise _TooMuchError(text, line)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        """Convert a mapping: its own keys first, then further keys of merged mappings (`<<`)."""
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if _is_merge(key_node):
                continue
            key = self._key(key_node, place)
            if key is None:
                continue
            line = key_node.start_mark.line + 1
            if key in values:
                first = self.lines[(*place, key)]
                where = f"lines {first} and {line}" if first != line else f"line {line}"
                text = f"appears twice, in {where}; keep one"
                self.problems.append(((*place, key), line, text))
                continue
            self.lines[(*place, key)] = line
            values[key] = self.value(value_node, (*place, key))
        for merged in self._merged(node, place, len(place)):
            for key_node, value_node in merged.value:
                key = None if _is_merge(key_node) else self._key(key_node, place)
                if key is not None and key not in values:
                    self.lines[(*place, key)] = key_node.start_mark.line + 1
                    values[key] = self.value(value_node, (*place, key))
        return values

    def _merged(
        self, node: yaml.MappingNode, place: Place, depth: int
    ) -> Iterator[yaml.MappingNode]:
        """Yield the mappings that a mapping merges, each before those that it merges itself."""
        for key_node, value_node in node.value:
            if not _is_merge(key_node):
                continue
            is_list = isinstance(value_node, yaml.SequenceNode)
            for merged in value_node.value if is_list else [value_node]:
                self._tally(merged, depth)
                if isinstance(merged, yaml.MappingNode):
                    yield merged
                    yield from self._merged(merged, place, depth + 1)
                else:
                    text = "<< merges mappings only; write <<: *name with the name of a mapping"
                    self.problems.append((place, merged.start_mark.line + 1, text))

    def _key(self, node: yaml.Node, place: Place) -> str | None:
        """Return a key, which must be a word; note any other and return None."""
        key = None
        if isinstance(node, yaml.ScalarNode):
            with suppress(_RefusedError):
                key = _scalar(node)
        if isinstance(key, str) and key:
            return key
        got = repr(node.value[:40]) if isinstance(node, yaml.ScalarNode) else "a list or mapping"
        text = f"a key must be a word, got {got}; write a word, or put it in quotes"
        self.problems.append((place, node.start_mark.line + 1, text))
        return None


def _is_merge(node: yaml.Node) -> bool:
    return node.tag == _PLAIN and node.value == "<<"


def _scalar(node: yaml.Node) -> bool | int | float | str | None:
    if not isinstance(node, yaml.ScalarNode) or node.tag not in (_PLAIN, _STRING):
        tag = node.tag.replace("tag:yaml.org,2002:", "!!")
        raise _RefusedError(f"tags are not read, got {tag}; write the value alone")
    if node.tag == _STRING:
        return str(node.value)
    return _plain(node.value)


def _plain(text: str) -> bool | int | float | str | None:
    """Read an unquoted scalar as null, a boolean, a finite number or text."""
    if text in ("", "~", "null"):
        return None
    if text in ("true", "false"):
        return text == "true"
    for pattern, rule, way_out in _REFUSED:
        if re.fullmatch(pattern, text):
            raise _RefusedError(f'{rule}, got {text}; write {way_out}, or "{text}" for the text')
    if _INTEGER.fullmatch(text):
        if len(text) > 20 or abs(int(text)) > LARGEST_INTEGER:
            raise _RefusedError(
                f"a whole number must be below 2^63, got {text[:20]}...; write a smaller one"
            )
        return int(text)
    if _FLOAT.fullmatch(text):
        number = float(text)
        if not math.isfinite(number):
            raise _RefusedError(f"numbers must be finite, got {text[:20]}; write a smaller number")
        return number
    return text
