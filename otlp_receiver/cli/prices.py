"""`prices`: what models cost, where public lists do not say or say something else."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from otlp_receiver.cli.metadata import opened, print_json, print_table
from otlp_receiver.cli.options import AsJson, ConfigFiles, Overrides
from otlp_receiver.cli.output import fail

if TYPE_CHECKING:
    from config.prices import PriceSettings

_HELP: Final = """Prices of models, of one project or of all.

They are kept in Postgres and come before the public lists; the service
takes changes over within a minute.
"""

app: Final = typer.Typer(name="prices", help=_HELP, no_args_is_help=True, rich_markup_mode="rich")


@app.command("import")
def import_prices(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON, prices as for the cost processor.")],
    *,
    project: Annotated[
        str,
        typer.Option("--project", metavar="ID", help="Whose prices. Default: as the file says, else all projects'."),
    ] = "",
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Add the prices of a file; those of the same model and day are replaced.

    The file holds a list, or a mapping with one under [bold]prices[/]:

      prices:
        - model: acme/assistant-.*
          valid_from: 2026-01-01
          usd_per_million_tokens: {input: 1.20, output: 4.80}

    For example:

      otlp-receiver prices import prices.yaml --project checkout
    """
    from otlp_receiver.metadata import model_prices
    from otlp_receiver.metadata.projects import existing_project

    new = _read(file, project)
    with opened(config, overrides) as metadata:
        for each in {price.project for price in new if price.project}:
            existing_project(metadata.connection, each)
        model_prices.put(metadata.connection, new, metadata.actor)
    typer.echo(f"Took over {len(new)} prices; the service uses them within a minute.")


@app.command("list")
def list_prices(*, as_json: AsJson = False, config: ConfigFiles = None, overrides: Overrides = None) -> None:
    """List prices, in US dollars per million tokens."""
    from otlp_receiver.metadata import model_prices

    with opened(config, overrides) as metadata:
        found = model_prices.prices(metadata.connection)
    rows = [{"id": number, **price.model_dump(mode="json")} for number, price in found.items()]
    if as_json:
        for row in rows:
            print_json(row)
    elif rows:
        print_table([_row(row) for row in rows])
    else:
        typer.echo("There are no prices; models have those of the public lists.", err=True)


@app.command()
def delete(
    price_id: Annotated[int, typer.Argument(metavar="ID", help="As in `prices list`.")],
    *,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Remove a price."""
    from otlp_receiver.metadata import model_prices

    with opened(config, overrides) as metadata:
        model_prices.delete(metadata.connection, price_id, metadata.actor)
    typer.echo(f"Removed price {price_id}.")


def _read(file: Path, project: str) -> "list[PriceSettings]":
    """The prices of a file, all of them good; what is wrong ends the command."""
    from pydantic import ValidationError
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    from config.prices import CostSettings
    from pipelines.errors import Permanent
    from pipelines.processors.tariffs import check_prices

    try:
        document = YAML(typ="safe", pure=True).load(file.read_text("utf-8"))
        listed = document.get("prices") if isinstance(document, dict) else document
        entries = [{**each, "project": project} if project else each for each in listed or ()]
        prices = CostSettings.model_validate({"prices": entries}).prices
        check_prices(prices)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        fail(f"{file}: {'.'.join(map(str, first['loc']))}: {first['msg']}")
    except (OSError, UnicodeDecodeError, YAMLError, Permanent, TypeError) as error:
        fail(f"{file} cannot be used: {error}")
    if not prices:
        fail(f"{file} holds no prices; expected a list, or a mapping with one under `prices`")
    return list(prices)


def _row(price: dict[str, Any]) -> dict[str, Any]:
    """Prices by bucket on one line."""
    buckets = {name: value for name, value in price["usd_per_million_tokens"].items() if value is not None}
    shown = {name: price[name] for name in ("id", "project", "model", "provider", "valid_from")}
    tiers = [f"above {tier['above_input_tokens']}" for tier in price["tiers"]]
    return shown | {"prices": [f"{name}={value}" for name, value in buckets.items()], "tiers": tiers}
