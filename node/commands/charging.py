"""`datacar charging`: what sessions cost, and real ones played through a running network."""

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from datacar.amounts import format_motes
from datacar.async_client import AsyncClient
from datacar.replay import Replay, ReplayResult, ShowProgress
from datacar.sessions_file import RealSession, Rejected, read_sessions
from ledger.codec import Value
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout
from node.commands.contract_group import sends
from node.commands.exits import Exit
from node.commands.output import Json, print_json, print_pairs, print_table, progress, warn
from vm.contracts.charging import NAME as CHARGING
from vm.contracts.charging import Charging
from vm.contracts.charging_types import TariffTerms
from vm.quote import quote
from vm.registry import default_registry
from vm.tariff import Tariff, parse_tariff
from vm.tariff_restrictions import UTC_OFFSET_MINUTES_MAX

app = typer.Typer(
    help="Stations, tariffs and sessions; price them, and play real ones.", no_args_is_help=True, add_completion=False
)

TariffFile = Annotated[Path, typer.Option("--tariff", exists=True, dir_okay=False, help="An OCPI tariff object (JSON).")]
UtcOffset = Annotated[
    int,
    typer.Option(
        "--utc-offset-minutes",
        min=-UTC_OFFSET_MINUTES_MAX,
        max=UTC_OFFSET_MINUTES_MAX,
        help="The site's local time, which the tariff's times, dates and days are about.",
    ),
]


@app.command("publish-tariff")
@sends(CHARGING, Charging.publish_tariff.__name__)
def publish_tariff(tariff: TariffFile, utc_offset: UtcOffset = 0) -> tuple[Value, ...]:
    """Publish an OCPI tariff, for good and for anybody's stations. Its id is the hash of its terms."""
    terms = TariffTerms.of(parse_tariff(tariff.read_text(encoding="utf-8")), utc_offset)
    return default_registry().method(CHARGING, Charging.publish_tariff.__name__).encode_args((terms,))


@app.command()
def price(
    tariff: TariffFile,
    session: Annotated[Path, typer.Option("--session", exists=True, dir_okay=False, help="The session (JSON).")],
    as_json: Json = False,
) -> None:
    """Quote a charging session offline, by the code that the contract runs."""
    found: dict[str, Any] = quote(tariff.read_text(encoding="utf-8"), session.read_text(encoding="utf-8"))
    if as_json:
        print_json(found)
        return
    columns = ("type", "quantity", "price", "excl_vat", "vat")
    print_table(columns, [tuple(line[name] for name in columns) for line in found["components"]])
    typer.echo("")
    print_pairs({name: f"{found[name]} DATR" for name in ("excl_vat", "vat", "incl_vat")})


@app.command()
def replay(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, metavar="FILE.csv", help="The sessions.")],
    tariff: TariffFile,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    utc_offset: UtcOffset = 0,
    as_json: Json = False,
) -> None:
    """Play real charging sessions through a running development network, and print what each station was paid.

    Ctrl-C begins no more sessions, lets those under way end, and prints what was settled.
    """
    terms = parse_tariff(tariff.read_text(encoding="utf-8"))
    sessions, rejected = read_sessions(file)
    try:
        with _shown_progress() as show:
            result, interrupted = asyncio.run(_replay(rpc, timeout, terms, sessions, rejected, show, utc_offset))
    except KeyboardInterrupt:
        raise typer.Exit(Exit.INTERRUPTED) from None
    print_json(result.to_json()) if as_json else _show(result)
    if interrupted:
        raise typer.Exit(Exit.INTERRUPTED)


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
    async with AsyncClient(url, timeout_s) as client:
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


def _show(result: ReplayResult) -> None:
    rows = [(name, format_motes(item.motes), item.address) for name, item in result.stations.items()]
    print_table(("STATION", "DATR", "PAYOUT ACCOUNT"), rows)
    if result.rejected:
        typer.echo("")
        print_table(("REJECTED", "REASON"), [(item.session_id, item.reason) for item in result.rejected])
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
