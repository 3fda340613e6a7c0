"""Conventions of one's own: through the running service, and what is said of those that cannot be."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError
from ruamel.yaml import YAML
from typer.testing import CliRunner

from config.conventions import FIELD_NAMES, Convention, in_order, load_conventions
from config.json_schema import json_schema
from config.printing import print_config
from otlp_receiver.cli.main import app
from otlp_receiver.mapping.plan import Plan
from tests.support.configs import MINIMAL, loaded, told
from tests.support.mapping import observation
from tests.support.otlp import Span, export, span, to_protobuf
from tests.support.senders import post
from tests.support.service import service
from tests.support.strategies import values

_BUILT_IN = load_conventions()
_EXAMPLE = Path(__file__).parent.parent / "config" / "examples" / "own-conventions.yaml"
_CALL = span(
    {
        "acme.kind": "completion",
        "acme.backend": "azure-eu",
        "acme.model": "gpt-5-mini",
        "acme.customer": "c-7",
        "acme.context": '{"conversation":{"id":"s-9"}}',
        "acme.tokens": '{"in":12,"out":3}',
        "acme.prompt.0.role": "user",
        "acme.prompt.0.content": "hi",
        "acme.bot": "greeter",
        "acme.option.temperature": 0.5,
        "acme.label.team": "blue",
        "answer": "hello",
    }
)
_QUERY = span({"db.query.text": "SELECT 1", "db.system.name": "postgresql"}, span_id="2122232425262728")


def _example_conventions() -> list[dict[str, Any]]:
    document = YAML(typ="safe", pure=True).load(_EXAMPLE.read_text("utf-8"))
    conventions: list[dict[str, Any]] = document["service"]["pipelines"]["traces"]["conventions"]
    return conventions


def _with_conventions(conventions: object) -> str:
    """The smallest configuration with conventions; they are on line 9, from column 87 on."""
    return MINIMAL.replace("exporters: [debug]}", f"exporters: [debug], conventions: {json.dumps(conventions)}}}")


def _convention(**changes: object) -> dict[str, Any]:
    return {"name": "acme", "title": "Acme", "precedence": 30, **changes}


def _refused(tmp_path: Path, *conventions: object) -> list[str]:
    """What is said of conventions, without the place in the file."""
    lines = told(tmp_path, _with_conventions(conventions))
    assert all(line.startswith("my.yaml:9:") for line in lines)
    return [line.partition("service::pipelines::traces::conventions")[2] for line in lines]


# --- what they do ----------------------------------------------------------------------------------------------------


def test_the_service_uses_them() -> None:
    """A dialect that only the configuration knows fills the record, and one of a built-in name takes its place."""
    with service() as started:
        started.config["service"]["pipelines"]["traces"]["conventions"] = _example_conventions()
        started.start()
        assert post(started, to_protobuf(export(_CALL, _QUERY, scope="acme.gateway.v2"))).ok
        started.wait_for_rows("true", 2)
        call, query = started.sql("SELECT * FROM observations ORDER BY id")
        assert started.stop() == 0
    assert (call["convention"], call["type"], call["agent_name"]) == ("acme_gateway", "GENERATION", "greeter")
    assert (call["provider"], call["model"]) == ("azure.ai.openai", "gpt-5-mini")
    assert (call["user_id"], call["session_id"]) == ("c-7", "s-9")
    assert call["usage_details"] == {"input": 12, "output": 3, "total": 15}
    assert call["model_parameters"] == {"temperature": "0.5"}
    assert json.loads(call["input"]) == [{"role": "user", "parts": [{"type": "text", "content": "hi"}]}]
    assert json.loads(call["output"])[0]["parts"] == [{"type": "text", "content": "hello"}]
    assert call["metadata"]["team"] == "blue"
    assert (query["input"], query["metadata"]["db.query.text"]) == ("", "SELECT 1")


def test_scoped_sources_count_in_their_scopes_only() -> None:
    """A name that others use too is not taken from another scope's span."""
    plan = Plan(in_order([*_BUILT_IN, *map(Convention.model_validate, _example_conventions())]))
    assert observation(_CALL, plan=plan)["output"] == ""


def test_built_in_ones_stay_as_they_are() -> None:
    """Where the configuration says nothing, a database's statement is the input."""
    assert observation(_QUERY)["input"] == "SELECT 1"


def test_each_pipeline_has_its_own(tmp_path: Path) -> None:
    """What one pipeline says is not known to another."""
    text = _with_conventions([_convention()]).replace("local:", "local:\n  local/b: {directory: b}")
    text = text.replace("  otlp:", "  otlp/b: {protocols: {grpc: {endpoint: 'localhost:1'}}}\n  otlp:")
    config = loaded(tmp_path, f"{text}    traces/b: {{receivers: [otlp/b], buffer: local/b, exporters: [debug]}}\n")
    pipelines = config.service.pipelines
    assert [each.name for each in pipelines["traces"].conventions] == ["acme"]
    assert pipelines["traces/b"].conventions == ()


# --- the commands ----------------------------------------------------------------------------------------------------


def test_explain_uses_them(tmp_path: Path) -> None:
    """`explain --config` shows what the service with this configuration would make of a request."""
    file = tmp_path / "request.pb"
    file.write_bytes(to_protobuf(export(_CALL, scope="acme.gateway")))
    done = CliRunner().invoke(app, ["explain", str(file), "--config", str(_EXAMPLE), "--json"])
    (explained,) = json.loads(done.stdout)["spans"]
    filled = {one["column"]: one["sources"] for one in explained["filled"]}
    assert explained["convention"] == "Acme gateway"
    assert filled["session_id"] == ["acme.context#conversation.id"]
    assert filled["user_id"] == ["acme.customer"]


def test_printed_ones_are_short_and_read_back(tmp_path: Path) -> None:
    """print-config prints of a convention what was written, and plain keys as plain keys."""
    config = loaded(tmp_path, _EXAMPLE.read_text("utf-8"))
    printed = print_config(config)
    document = YAML(typ="safe", pure=True).load(printed)
    assert document["service"]["pipelines"]["traces"]["conventions"] == _example_conventions()
    assert loaded(tmp_path, printed) == config


def test_the_schema_refuses_what_loading_refuses() -> None:
    """Editors tell a misspelt field, an unknown type and an empty prefix, and take keys with and without a path."""
    validator = Draft202012Validator({"$ref": "#/$defs/Convention", "$defs": json_schema()["$defs"]})
    assert [*validator.iter_errors(_convention(fields={"user_id": ["a", {"key": "b", "path": "c"}]}))] == []
    for wrong in ({"fields": {"user": ["a"]}}, {"types": {"a": {"b": "LLM"}}}, {"metadata": {"prefixes": [""]}}):
        assert not validator.is_valid(_convention(**wrong)), wrong


# --- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feilds": {}}, "::feilds: unknown key (did you mean 'fields'?)"),
        ({"fields": {"user": ["a"]}}, "::fields::user: no such field (did you mean 'user_id'?), got 'user'"),
        (
            {"fields": {"user_id": [{"key": "a", "paht": "b"}]}},
            "::fields::user_id[0]::paht: unknown key (did you mean 'path'?)",
        ),
        ({"fields": {"user_id": "a"}}, "::fields::user_id: expected a list, got 'a' (write [a])"),
        (
            {"fields": {"user_id": ["a", {"path": "b"}]}},
            "::fields::user_id[1]: a source names either a key or a prefix of indexed attributes",
        ),
        (
            {"fields": {"user_id": [{"indexed": "a", "path": "b"}]}},
            "::fields::user_id[0]: `path` goes with a key, not with a prefix of indexed attributes",
        ),
        (
            {"fields": {"user_id": [{"key": "a", "path": "b..c"}]}},
            (
                "::fields::user_id[0]::path: expected a path such as usage.input_tokens or choices.0.message, "
                "with one dot between two names and none at the ends, got 'b..c'"
            ),
        ),
        (
            {"fields": {"user_id": [{"key": "a", "path": ".".join("b" * 16)}]}},
            (
                "::fields::user_id[0]::path: expected a path such as usage.input_tokens or choices.0.message, "
                "of 15 steps at most, got 'b.b.b.b.b.b.b.b.b.b.b.b.b.b.b.b'"
            ),
        ),
        (
            {"fields": {"input_messages": [{"indexed": "a."}]}},
            (
                "::fields::input_messages[0]::indexed: expected what stands before a number, such as "
                "llm.input_messages, with one dot between two names and none at the ends, got 'a.'"
            ),
        ),
        (
            {"fields": {"user_id": [{"key": "a", "scoped": True}]}},
            (": fields::user_id counts on spans of the convention's own scopes only: name them in recognise::scopes"),
        ),
        (
            {"metadata": {"objects": [{"key": "a", "scoped": True}]}},
            ": metadata::objects counts on spans of the convention's own scopes only: name them in recognise::scopes",
        ),
        (
            {"span_types": {"a": "TOOL"}},
            ": span_types counts on spans of the convention's own scopes only: name them in recognise::scopes",
        ),
        (
            {"fields": {"user_id": ["a"], "session_id": ["b", "a"]}},
            ": a fills user_id already; write {key: a, path: .} to fill session_id with it too",
        ),
        (
            {"resource_fields": {"version": [{"key": "a", "path": "b"}]}},
            "::resource_fields::version[0]: `path` does not go with resource fields, which take key, legacy, first",
        ),
        (
            {"metadata": {"objects": [{"indexed": "a"}]}},
            "::metadata::objects[0]: `indexed` does not go with objects, which take key, path, scoped, when",
        ),
        ({"types": {"a": {"b": "TOOLS"}}}, "(did you mean 'TOOL'?)"),
        ({"recognise": {"attribute_prefixes": [""]}}, "::recognise::attribute_prefixes[0]: must not be empty, got ''"),
        ({"parameters": {"prefixes": [""]}}, "::parameters::prefixes[0]: must not be empty, got ''"),
        ({"metadata": {"prefixes": [""]}}, "::metadata::prefixes[0]: must not be empty, got ''"),
        ({"trace_metadata": {"prefixes": [""]}}, "::trace_metadata::prefixes[0]: must not be empty, got ''"),
        ({"recognise": {"scopes": [""]}}, "::recognise::scopes[0]: must not be empty, got ''"),
        (
            {"recognise": {"scopes": ["*"]}},
            (
                "::recognise::scopes[0]: expected the name of a scope, with * at its end at most; "
                "* alone would be every span's, got '*'"
            ),
        ),
        (
            {"ignored": {"a": "b"}},
            ": ignored counts on spans of the convention only: say in recognise how they are known",
        ),
        (
            {"provider_names": {"OpenAI": "openai"}},
            "::provider_names::OpenAI: expected lower case, such as 'openai': providers are compared so, got 'OpenAI'",
        ),
        ({"precedence": 90}, "::precedence: must be less than 90, got 90"),
        ({"name": "a b"}, "::name: must be letters, digits and _.- only, 63 at most, got 'a b'"),
        ({"name": ""}, "::name: must be letters, digits and _.- only, 63 at most, got ''"),
        ({"title": "x" * 501}, "::title: must have 500 characters at most, got '"),
    ],
    ids=str,
)
def test_faults_are_told_with_place_and_cure(tmp_path: Path, changes: dict[str, object], message: str) -> None:
    """One line each, with the path in the configuration and the nearest valid name or what to write instead."""
    (line,) = _refused(tmp_path, _convention(**changes))
    assert message in line
    assert line.startswith("[0]")


def test_places_are_exact(tmp_path: Path) -> None:
    """Line and column are those of the fault, deep inside a list of conventions."""
    text = _EXAMPLE.read_text("utf-8").replace("path: conversation.id", "paht: conversation.id")
    line = next(number for number, row in enumerate(text.splitlines(), 1) if "paht" in row)
    column = text.splitlines()[line - 1].index("paht") + 1
    path = "service::pipelines::traces::conventions[0]::fields::session_id[0]::paht"
    assert told(tmp_path, text) == [f"my.yaml:{line}:{column}: {path}: unknown key (did you mean 'path'?)"]


def test_names_are_their_own(tmp_path: Path) -> None:
    """Two conventions of a pipeline cannot have one name."""
    lines = _refused(tmp_path, _convention(), _convention(title="Another"))
    assert lines == ['[1]::name: "acme" names another convention of this pipeline already']


@pytest.mark.parametrize(
    "changes",
    [
        {"fields": {"user_id": [f"a{n}" for n in range(101)]}},
        {"types": {f"a{n}": {"x": "TOOL"} for n in range(101)}},
        {"recognise": {"attribute_prefixes": [f"a{n}." for n in range(101)]}},
        {"provider_names": {f"a{n}": "x" for n in range(1001)}},
    ],
    ids=["sources", "types", "prefixes", "names"],
)
def test_what_would_not_fit_the_engine_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    """Lists without end are told so, instead of failing where the mapping is compiled."""
    (line,) = _refused(tmp_path, _convention(**changes))
    assert line.endswith((" entries at most, got a list", " entries at most, got a mapping"))


# --- nothing that is accepted breaks the mapping ---------------------------------------------------------------------


def test_as_much_as_is_allowed_works() -> None:
    """A hundred conventions at every bound are compiled, and the one that comes first still decides."""
    many = [
        Convention.model_validate(
            _convention(
                name=f"c{number}",
                precedence=89 - number % 80,
                recognise={"scopes": [f"s{number}.{n}*" for n in range(100)]},
                types={f"k{number}.{n}": {"x": "TOOL"} for n in range(100)},
                fields={"user_id": [{"key": f"u{number}.{n}", "legacy": True} for n in range(100)]},
            )
        )
        for number in range(100)
    ]
    plan = Plan(in_order([*_BUILT_IN, *many]))
    row = observation(Span(attributes=[("u99.99", "last"), ("u79.0", "first"), ("k99.99", "x")]), plan=plan)
    assert (row["user_id"], row["type"]) == ("first", "TOOL")


_NAMES = st.sampled_from(
    ["a", "a.b", "a.0", "0", "a#b", " ", "*", "=", "日本", "a.0.b", "gen_ai.input.messages", "\x00"]
)
_PATHS = st.sampled_from(["", ".", "a", "0", "a.b", "a.0.b", "99999999999", "-1", "*", "#", " ", "a.\x00"])
_SOURCES = st.lists(
    st.one_of(
        _NAMES,
        st.fixed_dictionaries(
            {"key": _NAMES},
            optional={
                "path": _PATHS,
                "json_texts": st.booleans(),
                "whole": st.booleans(),
                "scoped": st.booleans(),
                "when": st.dictionaries(_NAMES, st.sampled_from(["*", "=a", "=", "", "x"]), max_size=2),
            },
        ),
        st.fixed_dictionaries({"indexed": st.sampled_from(["a", "a.0", "0", "a.b", " "])}),
    ),
    max_size=4,
)
_CONVENTIONS = st.fixed_dictionaries(
    {"name": st.just("acme"), "title": st.just("Acme"), "precedence": st.integers(0, 89)},
    optional={
        "recognise": st.fixed_dictionaries({"scopes": st.just(["tests", "*s"]), "attribute_prefixes": st.just(["a"])}),
        "types": st.dictionaries(_NAMES, st.dictionaries(_NAMES, st.sampled_from(["TOOL", "EVENT"]), max_size=2)),
        "fields": st.dictionaries(st.sampled_from(FIELD_NAMES), _SOURCES, max_size=6),
        "parameters": st.fixed_dictionaries(
            {"prefixes": st.lists(_NAMES), "own_keys": st.dictionaries(_NAMES, _NAMES)}
        ),
        "metadata": st.fixed_dictionaries({"prefixes": st.lists(_NAMES), "objects": st.lists(_NAMES)}),
        "trace_metadata": st.fixed_dictionaries({"prefixes": st.lists(_NAMES), "objects": st.lists(_NAMES)}),
        "ignored": st.dictionaries(_NAMES, _NAMES, max_size=2),
        "usage": st.just({"input_without_cache": ["model:[", "model:*a*"]}),
    },
)


@given(_CONVENTIONS, st.lists(st.tuples(_NAMES, values(4)), max_size=8))
def test_no_convention_breaks_the_mapping(wanted: dict[str, Any], attributes: list[tuple[str, Any]]) -> None:
    """Whatever is accepted maps whatever is sent."""
    try:
        own = Convention.model_validate(wanted)
    except ValidationError:
        return
    sent = Span(attributes=[*dict(attributes).items()])
    assert observation(sent, plan=Plan(in_order([*_BUILT_IN, own])))["id"] == sent.span_id
