"""The command line in the process of the test: what a command prints, as it is and as JSON."""

import json
from typing import Any

from typer.testing import CliRunner, Result

import cli


def run(*args: str, stdin: str | None = None) -> Result:
    """Run a command; without `stdin` nothing is typed."""
    return CliRunner().invoke(cli.app, list(args), input=stdin)


def ok(*args: str, stdin: str | None = None) -> Any:
    """Return the JSON that a command prints which succeeds."""
    result = run(*args, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def said(result: Result) -> str:
    """Return what was said on stderr in one line, without the frames around it."""
    return " ".join(result.stderr.replace("│", " ").split())
