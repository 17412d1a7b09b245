"""`datacar version`: what runs here."""

import platform
from importlib.metadata import version as version_of

import typer

from node.commands.output import Json, print_json

app = typer.Typer(add_completion=False)


@app.command()
def version(as_json: Json = False) -> None:
    """Print the version."""
    found = version_of("datacar")
    if as_json:
        print_json({"version": found, "python": platform.python_version(), "platform": platform.platform()})
    else:
        typer.echo(f"datacar {found} (Python {platform.python_version()})")
