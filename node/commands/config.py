"""`datacar config`: what a node would run with, and whether it can."""

import json
from pathlib import Path
from typing import Annotated

import typer

from node.commands.exits import usage
from node.commands.output import Json, print_json
from node.commands.paths import config_home
from node.config import NodeConfig, load_config, parse_override
from node.node_folder import CONFIG_NAME

app = typer.Typer(help="Show and check a node's configuration.", no_args_is_help=True, add_completion=False)

Config = Annotated[
    Path | None, typer.Option("--config", "-c", help="The TOML file.", show_default=f"~/.config/datacar/{CONFIG_NAME}")
]
Override = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="SECTION.KEY=VALUE", help="Set a key over file and environment; may be repeated."),
]


def read_config(path: Path | None, overrides: list[str] | None) -> NodeConfig:
    """Return the configuration that the options of a command ask for. Raises `ConfigError`."""
    sections: dict[str, dict[str, object]] = {}
    for text in overrides or []:
        section, key, value = usage(parse_override)(text)
        sections.setdefault(section, {})[key] = value
    return load_config(path or config_home() / CONFIG_NAME, sections)


@app.command()
def show(config: Config = None, override: Override = None, as_json: Json = False) -> None:
    """Print every key with its value: flags over environment over file over defaults."""
    document = read_config(config, override).model_dump(mode="json")
    if as_json:
        print_json(document)
        return
    for section, keys in document.items():
        typer.secho(f"[{section}]", bold=True)
        for key, value in keys.items():
            typer.echo(f"# {key} is not set" if value is None else f"{key} = {json.dumps(value, ensure_ascii=False)}")
        typer.echo("")


@app.command()
def validate(config: Config = None, override: Override = None, as_json: Json = False) -> None:
    """Check the configuration and every file it names, as `start` does before anything else."""
    found = read_config(config, override)
    found.check_files()
    if as_json:
        print_json({"valid": True, "member_id": found.node.member_id})
    else:
        typer.echo(f"valid: the configuration of {found.node.member_id}")


@app.command()
def schema(as_json: Json = True) -> None:
    """Print the JSON Schema of the configuration: every key, its type, bounds, default and meaning."""
    del as_json  # a schema is JSON in any case
    print_json(NodeConfig.model_json_schema())


@app.command(name="set")
def set_key(
    assignment: Annotated[str, typer.Argument(metavar="SECTION.KEY=VALUE", help="For example rpc.port=8700.")],
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Change one key in the file; comments stay. Nothing is written unless the result is valid."""
    from node.config_file import set_in_file

    section, key, value = usage(parse_override)(assignment)
    set_in_file(config or config_home() / CONFIG_NAME, section, key, value)
    if as_json:
        print_json({"section": section, "key": key, "value": value})
    else:
        typer.echo(f"{section}.{key} = {value}")
