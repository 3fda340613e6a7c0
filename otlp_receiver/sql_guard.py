"""Which queries the SQL interface runs: SELECT and what describes tables, nothing that reaches outside the database.

Three walls stand one behind the other; this is the first.

1. The guard. ClickHouse's own parser writes the query in canonical form and as a syntax tree. The tree is checked
   node by node against lists of what is allowed (`sql_allowed`), and what runs is the text written back from this very
   tree. It must be the canonical form again, but for redundant brackets: else the tree does not hold the whole query.
2. The role: the connection holds no right but to read our database (`exporters.chdb_directory`).
3. `readonly = 1` and limits: nothing can be changed, settings included, and every query ends.

The second and third alone would leave holes in an embedded server: `file('/etc/passwd')`, INTO OUTFILE, SET ROLE.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson

from otlp_receiver.sql_allowed import (
    CATEGORIES,
    NODES,
    OTHER_FUNCTIONS,
    OUTSIDE_FORMATS,
    ROOTS,
    SHARED_NODES,
    SHARED_SYSTEM_TABLES,
    SHARED_TABLE_FUNCTIONS,
    SYSTEM_TABLES,
    TABLE_FUNCTIONS,
)

_STATEMENTS: Final = "SELECT, EXPLAIN SELECT, SHOW TABLES, SHOW DATABASES, SHOW CREATE, SHOW COLUMNS, DESCRIBE, EXISTS"

_NAME: Final = r"(?:\w+|`(?:[^`\\]|\\.)+`)"
_PATH: Final = rf"(?:{_NAME}\.)?{_NAME}"
_TEXT: Final = r"'(?:[^'\\]|\\.)*'"
# Statements that the engine does not write as a tree; all that may vary in them are names and patterns.
_DESCRIBING: Final = re.compile(
    rf"""(?:
      SHOW\ DATABASES(?:\ (?:NOT\ )?I?LIKE\ {_TEXT})?
    | SHOW\ (?:FULL\ )?TABLES(?:\ FROM\ {_NAME})?(?:\ (?:NOT\ )?I?LIKE\ {_TEXT})?
    | SHOW\ (?:FULL\ )?COLUMNS\ FROM\ {_NAME}(?:\ FROM\ {_NAME})?
    | SHOW\ CREATE\ (?:TABLE|VIEW|DATABASE)\ {_PATH}
    | DESCRIBE\ TABLE\ {_PATH}
    | EXISTS\ (?:TABLE|VIEW|DATABASE)\ {_PATH}
    )(?:\ FORMAT\ (?P<format>\w+))?""",
    re.VERBOSE,
)
_DESCRIBED_QUERY: Final = re.compile(r"DESCRIBE TABLE \((?P<query>.+)\)(?: FORMAT (?P<format>\w+))?", re.DOTALL)

_SCHEMA: Final = "information_schema"
_ASKED: Final = re.compile(r": In scope SELECT formatQuerySingleLine\(.*\)(?=\. \(\w+\)$)", re.DOTALL)
_NO_BRACKETS: Final = str.maketrans({"(": None, ")": None})
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"})


class Refused(Exception):
    """The query cannot run; the text reads like ClickHouse's own errors, code included."""


@dataclass(frozen=True, slots=True)
class Statement:
    """A query that may run.

    Attributes:
        text: canonical SQL without FORMAT.
        format: what its FORMAT clause asked for, in the engine's spelling; empty without one.
    """

    text: str
    format: str


class SqlGuard:
    """Knows what this version of the engine offers, and refuses what is not known to be harmless.

    Args:
        connection: to ask the engine what functions, tables and formats it has.
        shared: whether those who ask may know of their own project only. Rows are kept from them by a row policy
            (`exporters.chdb_directory`), what the engine tells of its tables and queries by this guard.
    """

    def __init__(self, connection: Any, *, shared: bool = False) -> None:
        self._is_shared = shared
        self._nodes = SHARED_NODES if shared else NODES
        self._table_functions = SHARED_TABLE_FUNCTIONS if shared else TABLE_FUNCTIONS
        self._system_tables = SHARED_SYSTEM_TABLES if shared else SYSTEM_TABLES
        functions = _rows(connection, "SELECT name, alias_to, categories, is_aggregate FROM system.functions")
        allowed = {row["name"] for row in functions if _is_harmless(row)}
        self._functions = frozenset(
            row["name"].lower() for row in functions if (row["alias_to"] or row["name"]) not in allowed
        )
        formats = {row["name"] for row in _rows(connection, "SELECT name FROM system.formats WHERE is_output")}
        self._formats = {name.lower(): name for name in formats - OUTSIDE_FORMATS}

    def check(self, connection: Any, query: str, parameters: Mapping[str, str]) -> Statement:
        """The statement to run instead of `query`.

        Args:
            connection: to parse with.
            query: one statement.
            parameters: values of its `{name:Type}`.

        Raises:
            Refused: it is not allowed, or no SQL.
        """
        canonical = _canonical(connection, query)
        described = _DESCRIBED_QUERY.fullmatch(canonical)
        if described:
            _, text = self._check_tree(connection, described["query"], parameters)
            return Statement(f"DESCRIBE TABLE ({text})", self.format_name(described["format"] or ""))
        describing = _DESCRIBING.fullmatch(canonical)
        if describing:
            return self._statement(canonical, describing["format"] or "")
        tree, text = self._check_tree(connection, canonical, parameters)
        return self._statement(text, tree.get("format_ast", {}).get("name", ""))

    def _statement(self, text: str, output_format: str) -> Statement:
        known = self.format_name(output_format)
        return Statement(text.removesuffix(f" FORMAT {output_format}"), known)

    def format_name(self, name: str) -> str:
        """The engine's own spelling of an output format; empty for empty. Raises Refused for an unknown one."""
        if name and name.lower() not in self._formats:
            raise Refused(f"Code: 73. DB::Exception: Unknown format {name}. (UNKNOWN_FORMAT)")
        known: str = self._formats.get(name.lower(), "")
        return known

    def _check_tree(self, connection: Any, canonical: str, parameters: Mapping[str, str]) -> tuple[dict[str, Any], str]:
        """The tree, and the text written back from it: that is what may run."""
        tree, text = _parsed(connection, canonical)
        for node in _walk(tree):
            self._check_node(node, parameters)
        if text.translate(_NO_BRACKETS) != canonical.translate(_NO_BRACKETS):  # the tree lacks redundant ones
            raise _denied("a query that cannot be checked in full")
        return tree, text

    def _check_node(self, node: dict[str, Any], parameters: Mapping[str, str]) -> None:
        kind = node["type"]
        if kind == "SetQuery":  # in a subquery the engine would apply them, whatever it forbids elsewhere
            raise _denied("a SETTINGS clause")
        if kind not in self._nodes:
            raise _denied(kind)
        if kind == "Function" or "func_name" in node:
            self._check_function(node.get("name", node.get("func_name", "")))
        elif kind in ("Identifier", "TableIdentifier"):
            self._check_name(node.get("name_parts") or [node["name"]])
        elif kind == "TableExpression" and "table_function" in node:
            name = node["table_function"]["name"]
            if name.lower() not in self._table_functions:
                raise _denied(f"the table function {name}")
        elif kind == "QueryParameter" and node["param_type"] == "Identifier":
            self._check_parameter(parameters.get(node["name"], ""))
        elif "out_file" in node:
            raise _denied("INTO OUTFILE")

    def _check_function(self, name: str) -> None:
        if name.lower() in self._functions:
            raise _denied(f"the function {name}")

    def _check_name(self, parts: list[str]) -> None:
        """A name alone may also stand for a function: `arrayMap(file, ...)`."""
        if len(parts) == 1:
            self._check_function(parts[0])
        elif parts[0] == "default":  # lists the files of the machine as its tables
            raise _denied("the database default")
        elif parts[0].lower() == _SCHEMA and self._is_shared:
            raise _denied(f"the database {parts[0]}")
        elif parts[0] == "system" and parts[1] not in self._system_tables:
            raise _denied(f"the table system.{parts[1]}")

    def _check_parameter(self, value: str) -> None:
        if value.lower() in self._functions or value.lower() in ("default", "system", _SCHEMA):
            raise _denied(f"the name {value}")


def _is_harmless(function: dict[str, Any]) -> bool:
    if function["alias_to"]:
        return False
    if function["categories"] == "Other" or not function["categories"]:
        return bool(function["is_aggregate"]) or function["name"] in OTHER_FUNCTIONS
    return function["categories"] in CATEGORIES


def _denied(what: str) -> Refused:
    return Refused(
        f"Code: 497. DB::Exception: Not enough privileges: {what} is not available here; "
        f"this is a read-only interface to the recorded traces. It runs {_STATEMENTS}. (ACCESS_DENIED)"
    )


def _canonical(connection: Any, query: str) -> str:
    try:
        (canonical,) = _ask(connection, ["formatQuerySingleLine({query:String})"], query)
    except RuntimeError as error:
        raise Refused(_ASKED.sub("", str(error))) from error
    return canonical


def _parsed(connection: Any, canonical: str) -> tuple[dict[str, Any], str]:
    """The syntax tree of a SELECT or EXPLAIN, and the text that the engine writes from this tree."""
    try:
        written, written_back = _ask(
            connection,
            ["parseQueryToJSON({query:String}) AS tree", "formatQuerySingleLine(formatQueryFromJSON(tree))"],
            canonical,
        )
        tree = orjson.loads(written)
    except (RuntimeError, orjson.JSONDecodeError):  # statements without a tree, and too deep ones
        tree, written_back = {}, ""
    if tree.get("type") not in ROOTS:
        statement = canonical.partition(" ")[0]
        raise Refused(
            f"Code: 164. DB::Exception: Cannot execute this {statement} query in readonly mode. "
            f"This interface runs {_STATEMENTS}. (READONLY)"
        )
    return tree, written_back


def _walk(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Every node; not what is inside literals, and not the options of EXPLAIN, which are values."""
    waiting: list[Any] = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting.extend(value)
        elif isinstance(value, dict):
            kind = value.get("type")
            if kind:
                yield value
            if kind != "Literal":
                waiting.extend(part for name, part in value.items() if (kind, name) != ("ExplainQuery", "settings"))


def _ask(connection: Any, expressions: Sequence[str], query: str) -> list[str]:
    """The values of text expressions over `{query:String}`."""
    question = f"SELECT {', '.join(expressions)}"
    parameters = {"query": query.translate(_ESCAPES)}
    line: bytes = connection.query(question, "JSONCompactEachRow", params=parameters).bytes()
    values: list[str] = orjson.loads(line)
    return values


def _rows(connection: Any, query: str) -> list[dict[str, Any]]:
    lines: bytes = connection.query(query, "JSONEachRow").bytes()
    return [orjson.loads(line) for line in lines.splitlines()]
