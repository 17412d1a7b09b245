"""`datacar db`: checking, shrinking, comparing and exporting the ledger of a node that does not run."""

import typer

from node.commands import db_diff, db_export, db_prune, db_snapshot, db_verify

app = typer.Typer(
    help="Check, shrink, copy, compare and export a stopped node's ledger.", no_args_is_help=True, add_completion=False
)

app.command("verify")(db_verify.verify)
app.command("prune")(db_prune.prune)
app.command("reindex")(db_prune.reindex)
app.command("snapshot")(db_snapshot.snapshot)
app.command("restore")(db_snapshot.restore)
app.command("export")(db_export.export)
app.command("diff")(db_diff.diff)
