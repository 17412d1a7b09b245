"""`datacar db verify`: is what a stopped node stores whole, and the chain that it says it is?"""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from ledger.errors import DatacarError
from node.block_store import Held, StorageError
from node.commands.config import Config, Override
from node.commands.db_session import Target, shown_progress, target
from node.commands.exits import Exit
from node.commands.output import Json, print_json, print_line, print_pairs
from node.damage import NOTE_NAME, STORE_NAME, is_damage, noted_damage
from node.db_replay import Replayed, ReplayError, replay
from node.db_tools import Progress, check_stopped
from node.db_verify import Problem, Report
from node.db_verify import verify as verify_store
from node.level_files import Scan, scan
from vm.registry import default_registry

Full = Annotated[
    bool,
    typer.Option(
        "--full", help="Also every checksum, signature, body, receipt and index entry, and the whole state: reads everything."
    ),
]
Replay = Annotated[
    bool,
    typer.Option("--replay", help="Also execute the blocks again, from genesis where all bodies are kept, and compare roots."),
]


def verify(
    full: Full = False, again: Replay = False, config: Config = None, override: Override = None, as_json: Json = False
) -> None:
    """Check a stopped node's ledger. Says what is damaged and where, and ends with 1 when something is.

    By default: the database's files, the tip and its state's root, every header's link to the one before, and the transaction ids
    of the window in which duplicates are refused.
    """
    node = target(config, override)
    db = node.data_dir / STORE_NAME
    check_stopped(db)
    files = scan(db, check_logs=full)
    report, replayed, problems = None, None, [Problem("files", str(found)) for found in files.damage]
    noted = noted_damage(node.data_dir)
    if not problems:
        with shown_progress() as told:
            report, replayed, problems = _inside(node, told, full=full, again=again)
    if as_json:
        print_json(_document(files, report, replayed, problems) | {"noted": noted})
    else:
        _show(files, report, replayed, problems)
        if noted is not None:
            print_line(f"note: the node left word in {db / NOTE_NAME}: {noted}")
    if problems:
        raise typer.Exit(Exit.ERROR)


def _inside(node: Target, told: Progress, *, full: bool, again: bool) -> tuple[Report | None, Replayed | None, list[Problem]]:
    """Check what stands in the files."""
    replayed = None
    try:
        with node.store() as store:
            report = verify_store(store, node.genesis, default_registry(), told, full=full)
            problems = report.problems
            if again and not problems:
                try:
                    replayed = replay(store, node.genesis, default_registry(), node.data_dir, told)
                except DatacarError as error:
                    if not (is_damage(error) or isinstance(error, ReplayError)):
                        raise
                    problems = [Problem("replay", error.message)]
    except StorageError as error:
        if not is_damage(error):
            raise
        return None, None, [Problem("files", error.message)]
    return report, replayed, problems


def _document(files: Scan, report: Report | None, replayed: Replayed | None, problems: list[Problem]) -> dict[str, Any]:
    return {
        "ok": not problems,
        "tip": None if report is None else report.tip,
        "held": None if report is None else _held(report.held),
        "checked": {"tables": files.tables, "logs_bytes": files.log_bytes, **({} if report is None else report.counts)},
        "torn": [str(found) for found in files.torn],
        "replayed": None if replayed is None else asdict(replayed),
        "problems": [asdict(problem) for problem in problems],
        "problem_count": len(problems) if report is None else max(report.problem_count, len(problems)),
    }


def _held(held: Held) -> dict[str, int]:
    return asdict(held)


def _show(files: Scan, report: Report | None, replayed: Replayed | None, problems: list[Problem]) -> None:
    if report is not None:
        print_pairs(
            {
                "tip": report.tip,
                **_held(report.held),
                **{f"checked {name}": f"{count:,}" for name, count in report.counts.items()},
            }
        )
    if replayed is not None:
        how = "from genesis" if replayed.from_genesis else "on the states that are kept"
        print_line(f"blocks {replayed.first} to {replayed.last} executed again {how}: the same roots")
    for found in files.torn:
        print_line(f"note: {found} (what a power failure leaves; it was never acknowledged)")
    for problem in problems:
        where = "" if problem.height is None else f"block {problem.height}: "
        print_line(f"DAMAGED {problem.check}: {where}{problem.message}")
    if report is not None and report.problem_count > len(problems):
        print_line(f"... and {report.problem_count - len(problems)} more")
    print_line("damaged: see docs/operations.md for what to do" if problems else "whole")
