"""`datacar bench`: measures hashing, signatures, state and whole clusters on this machine. Needs a source checkout."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.commands.output import Json, progress

if TYPE_CHECKING:
    from benchmarks.report import Report

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Measure this machine and this node.")

Plot = Annotated[Path | None, typer.Option("--plot", help="Also draw the figures into this PNG file.", metavar="FILE.png")]
Quick = Annotated[bool, typer.Option("--quick", help="A tenth of the time, and more noise.")]


@app.command("hash")
def hash_(as_json: Json = False, plot: Plot = None, quick: Quick = False) -> None:
    """SHA-256, SHA3-256 and BLAKE2b over 32 B to 64 KiB."""
    from benchmarks import hash as benchmark

    _show(benchmark.run(quick=quick), as_json, plot)


@app.command()
def signature(as_json: Json = False, plot: Plot = None, quick: Quick = False) -> None:
    """Ed25519 by libsodium and OpenSSL: sign and verify, on one core and on all."""
    from benchmarks import signature as benchmark

    _show(benchmark.run(quick=quick), as_json, plot)


@app.command()
def proof(as_json: Json = False, quick: Quick = False) -> None:
    """Proofs of payments and balances: their size, and the time to make and to check one."""
    from benchmarks import proof as benchmark

    _show(benchmark.run(quick=quick), as_json, None)


@app.command()
def gas(as_json: Json = False, quick: Quick = False) -> None:
    """What a unit of gas takes: storage, events, calls between contracts, a transfer."""
    from benchmarks import gas as benchmark

    _show(benchmark.run(quick=quick), as_json, None)


@app.command()
def state(as_json: Json = False, plot: Plot = None, quick: Quick = False) -> None:
    """A block's update of the state tree on disk: 1,000 changes of 1,000,000 keys."""
    from benchmarks import state as benchmark

    _show(benchmark.run(quick=quick, say=progress), as_json, plot)


@app.command()
def storage(as_json: Json = False, plot: Plot = None, quick: Quick = False) -> None:
    """Time to write a block, and bytes on disk for each transfer."""
    from benchmarks import storage as benchmark

    _show(benchmark.run(quick=quick, say=progress), as_json, plot)


@app.command()
def sync(as_json: Json = False, plot: Plot = None, quick: Quick = False) -> None:
    """How fast a fresh node takes up 50,000 transfers: by blocks and from a snapshot."""
    from benchmarks import sync as benchmark

    _show(benchmark.run(quick=quick, say=progress), as_json, plot)


@app.command()
def cluster(
    nodes: Annotated[int, typer.Option(min=1, max=16, help="Size of the network.")] = 4,
    seconds: Annotated[float, typer.Option(min=1, max=3_600, help="Length of one measured window.")] = 20,
    rate: Annotated[float | None, typer.Option(min=1, help="Offered transfers a second; without it, look for the limit.")] = None,
    as_json: Json = False,
    plot: Plot = None,
) -> None:
    """Throughput and latency of a network of real processes, against the bound that signature checks set."""
    from benchmarks import cluster as benchmark

    _show(benchmark.run(nodes=nodes, seconds=seconds, rate=rate, say=progress), as_json, plot)


def _show(report: "Report", as_json: bool, plot: Path | None) -> None:
    from rich.console import Console

    from benchmarks.report import show, to_json

    if plot is not None:
        from benchmarks.plot import save

        save(report, plot)
    if as_json:
        typer.echo(to_json(report))
    else:
        show(report, Console())
