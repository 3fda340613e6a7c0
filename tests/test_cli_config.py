"""Commands that start nothing: validate, print-config, components, schema, version; and what `run` hands on."""

import json
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from ruamel.yaml import YAML
from typer.testing import CliRunner

from config import Config
from config.json_schema import json_schema
from config.loader import load
from config.models import SECTIONS
from exporters.clickhouse_sql import ddl
from otlp_receiver import __version__, supervisor
from otlp_receiver.cli.main import app

_HEAVY = ("pyarrow", "grpc", "chdb", "aiohttp", "rich", "ruamel", "opentelemetry", "psycopg", "structlog")


def test_version_imports_nothing_heavy() -> None:
    """`version` answers at once: none of the heavy packages is imported for it, nor for the command table."""
    code = (
        "import sys\nfrom typer.testing import CliRunner\nfrom otlp_receiver.cli.main import app\n"
        f"print(CliRunner().invoke(app, ['version']).stdout, [name for name in {_HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == f"otlp-receiver {__version__}\n []\n"


def test_module_is_the_same_command() -> None:
    """`python -m otlp_receiver` is the console script."""
    done = subprocess.run(
        [sys.executable, "-m", "otlp_receiver", "version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"otlp-receiver {__version__}\n"


@pytest.mark.parametrize("columns", ["80", "120"])
def test_help_names_every_command(columns: str) -> None:
    """The first screen lists all commands, in lines that fit the terminal."""
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": columns})
    names = [str(typer.main.get_command_name(one.callback.__name__)) for one in app.registered_commands if one.callback]
    assert len(names) == 13
    assert shown.exit_code == 0
    assert [name for name in names if f" {name} " not in shown.stdout] == []
    assert max(map(len, shown.stdout.splitlines())) <= int(columns)


def test_every_help_has_an_example() -> None:
    """A newcomer can copy a line from the help of every command that takes something."""
    commands = ["run", "validate", "migrate", "health", "print-config", "schema", "traces", "trace", "query", "explain"]
    for command in [*commands, "send-sample"]:
        shown = CliRunner().invoke(app, [command, "--help"], env={"COLUMNS": "80"})
        assert f"\n   otlp-receiver {command}" in shown.stdout, command


def test_validate_says_ok_on_standard_error() -> None:
    """A good configuration prints nothing that a pipe would take."""
    done = CliRunner().invoke(app, ["validate"])
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", "ok\n")


def test_validate_reports_everything_at_once(tmp_path: Path) -> None:
    """Every problem of every source is named, with exit code 1."""
    file = tmp_path / "bad.yaml"
    file.write_text("service: {worker: 2}\nreceiver: {}\n")
    done = CliRunner().invoke(app, ["validate", "--config", str(file), "--set", "buffers.local.max_size_mib=much"])
    assert done.exit_code == 1
    assert f"{file}:1:11: service::worker: unknown key (did you mean 'workers'?)" in done.stderr
    assert f"{file}:2:1: receiver: unknown key (did you mean 'receivers'?)" in done.stderr
    assert "--set buffers.local.max_size_mib" in done.stderr


def test_validate_opens_no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checking works where nothing may be opened."""

    def refuse(*_args: Any, **_named: Any) -> None:
        raise AssertionError("a socket was opened")

    monkeypatch.setattr(socket, "socket", refuse)
    assert CliRunner().invoke(app, ["validate"]).exit_code == 0


def test_print_config_can_be_loaded_again(tmp_path: Path) -> None:
    """What is printed is a configuration, and the same one."""
    shown = CliRunner().invoke(app, ["print-config", "--set", "service.workers=3"])
    file = tmp_path / "printed.yaml"
    file.write_text(shown.stdout)
    assert load([file]) == load([], ["service.workers=3"])


def test_components_lists_every_type() -> None:
    """The YAML names exactly the registered types, section by section, and the version."""
    listed = YAML(typ="safe", pure=True).load(CliRunner().invoke(app, ["components"]).stdout)
    assert listed["buildinfo"]["version"] == __version__
    assert {section: [one["name"] for one in listed[section]] for section in SECTIONS} == {
        section: list(types) for section, types in SECTIONS.items()
    }


def test_schema_is_the_configurations() -> None:
    """`schema` prints the JSON Schema."""
    assert json.loads(CliRunner().invoke(app, ["schema"]).stdout) == json_schema()


def test_schema_sql_is_the_ddl() -> None:
    """`schema sql` prints the statements that the exporters run, for the database and time to live asked for."""
    shown = CliRunner().invoke(app, ["schema", "sql", "--database", "genai", "--ttl-days", "7"])
    assert shown.stdout == "\n\n".join(f"{statement};" for statement in ddl("genai", 7)) + "\n"


def test_schema_sql_refuses_what_is_no_name() -> None:
    """A database name is never a way to smuggle SQL into a script."""
    assert CliRunner().invoke(app, ["schema", "sql", "--database", "a; DROP DATABASE b"]).exit_code == 2


@pytest.mark.parametrize("arguments", [["walk"], ["run", "--only", "both"], ["traces", "--limit", "0"], ["trace", "x"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    """Unknown commands and impossible values are the caller's mistake, told apart from failures."""
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_run_with_a_bad_configuration_is_a_start_failure() -> None:
    """`run` that cannot start ends with 3 and says why."""
    done = CliRunner().invoke(app, ["run", "--set", "service.workers=none"])
    assert done.exit_code == 3
    assert "--set service.workers" in done.stderr


def test_run_hands_everything_to_the_supervisor(monkeypatch: pytest.MonkeyPatch) -> None:
    """The supervisor gets the configuration, the half, and a way to load it anew; its code is the command's."""
    calls: list[tuple[Any, ...]] = []

    def remember(settings: Config, *, only: str | None, reload: Any) -> int:
        calls.append((settings, only, reload()))
        return 1

    monkeypatch.setattr(supervisor, "run", remember)
    done = CliRunner().invoke(app, ["run", "--set", "service.workers=2", "--only", "export"])
    expected = load([], ["service.workers=2"])
    assert done.exit_code == 1
    assert calls == [(expected, "export", expected)]
