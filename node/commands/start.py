"""`datacar start`: run one node in the foreground, as a service manager does."""

import typer

from node.commands.config import Config, Override, read_config

app = typer.Typer(add_completion=False)


@app.command()
def start(config: Config = None, override: Override = None) -> None:
    """Run this member's node until SIGTERM or Ctrl-C; its log goes to stderr."""
    found = read_config(config, override)
    found.check_files()
    from node.app import run

    raise typer.Exit(run(found))
