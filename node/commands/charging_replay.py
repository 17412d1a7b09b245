"""What `datacar charging replay` does: the run, its progress on stderr, and its end by Ctrl-C."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from datacar.amounts import format_motes
from datacar.async_client import AsyncClient
from datacar.failures import MONEY, failure_text
from datacar.replay import Replay, ReplayResult, ShowProgress
from datacar.sessions_file import RealSession, Rejected, read_sessions
from node.commands.agreement import ASSET
from node.commands.connection import expected_genesis
from node.commands.exits import Exit
from node.commands.output import print_json, print_pairs, print_table, progress, warn
from vm.contracts.charging import NAME as CHARGING
from vm.tariff import Tariff

PAYING: Final = (ASSET, CHARGING)
"""The contracts that a session's transactions may fail in."""


def play(file: Path, tariff: Tariff, rpc: str, timeout_s: float, utc_offset_minutes: int, *, as_json: bool) -> None:
    """Play the sessions of a file and print the result. Exit codes: 130 when it was interrupted, 4 when all were rejected."""
    sessions, rejected = read_sessions(file)
    try:
        with _shown_progress() as show:
            result, interrupted = asyncio.run(_replay(rpc, timeout_s, tariff, sessions, rejected, show, utc_offset_minutes))
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    print_json(result.to_json()) if as_json else _show(result)
    if result.rejected:
        warn(f"{len(result.rejected)} of {result.sessions} sessions were rejected, {result.settled} were settled")
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)
    if result.rejected and not result.settled:
        raise typer.Exit(Exit.REJECTED)


async def _replay(
    url: str,
    timeout_s: float,
    tariff: Tariff,
    sessions: list[RealSession],
    rejected: list[Rejected],
    show: ShowProgress,
    utc_offset_minutes: int,
) -> tuple[ReplayResult, bool]:
    """Return the result and whether Ctrl-C ended it early; a second Ctrl-C ends it at once."""
    loop = asyncio.get_running_loop()
    interrupted = False
    async with AsyncClient(url, timeout_s, genesis_hash=expected_genesis()) as client:
        run = Replay(client, tariff, sessions, rejected, show, utc_offset_minutes=utc_offset_minutes)

        def interrupt() -> None:
            nonlocal interrupted
            interrupted = True
            loop.remove_signal_handler(signal.SIGINT)
            warn("no more sessions begin; those under way end first (Ctrl-C again: leave them)")
            run.stop()

        loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            return await run.run(), interrupted
        finally:
            loop.remove_signal_handler(signal.SIGINT)


@contextmanager
def _shown_progress() -> Iterator[ShowProgress]:
    """Show on stderr how many sessions are done: a bar on a terminal, else a line at every tenth."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _say_tenths
        return
    columns = (TextColumn("sessions"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("sessions", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _say_tenths(done: int, total: int) -> None:
    if done * 10 // total > (done - 1) * 10 // total:
        progress(f"{done} of {total} sessions")


def reason_text(reason: str) -> str:
    """Return why a session was rejected, with the amounts of a contract's failure as people write them."""
    code, colon, message = reason.partition(": ")
    contract = next((name for name, known in MONEY if known == code and name in PAYING), CHARGING)
    return f"{code}{colon}{failure_text(contract, code, message)}"


def _show(result: ReplayResult) -> None:
    rows = [(name, format_motes(item.motes), item.address) for name, item in result.stations.items()]
    print_table(("STATION", "DATR", "PAYOUT ACCOUNT"), rows)
    if result.rejected:
        typer.echo("")
        print_table(("REJECTED", "REASON"), [(item.session_id, reason_text(item.reason)) for item in result.rejected])
    typer.echo("")
    print_pairs(
        {
            "sessions": result.sessions,
            "settled": result.settled,
            "rejected": len(result.rejected),
            "energy": f"{result.energy_wh} Wh",
            "total": f"{format_motes(result.total_motes)} DATR",
            "seconds": f"{result.seconds:.1f}",
        }
    )
