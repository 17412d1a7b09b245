"""PNG charts of the reports (matplotlib, an optional dependency, drawn off screen)."""

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.cluster import ClusterReport
from benchmarks.hash import ALGORITHMS, HashReport
from benchmarks.report import Barred, Bars, Machine, Report
from benchmarks.signature import SignatureReport
from ledger.errors import NotFoundError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class PlottingUnavailableError(NotFoundError):
    """matplotlib is not installed, or the report has no chart; everything but `--plot` works without it."""

    def __init__(self) -> None:
        super().__init__("not_found", "charts need matplotlib, which is not installed", hint="pip install 'datacar[plot]'")


def save(report: Report, path: Path) -> None:
    """Draw `report` into a PNG file at `path`, replacing it; raises `PlottingUnavailableError`."""
    figure = _new_figure()
    axes = figure.add_subplot()
    match report:
        case HashReport():
            _draw_hash(axes, report)
        case SignatureReport():
            _draw_signature(axes, report)
        case ClusterReport():
            _draw_cluster(axes, report)
        case Barred():
            _draw_bars(axes, report.bars())
        case _:
            raise PlottingUnavailableError
    axes.legend(frameon=False)
    axes.grid(visible=True, which="major", axis="y", alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.text(0.01, 0.01, _footnote(report.machine), fontsize=7, color="0.4")
    figure.savefig(path, format="png", dpi=150)


def _new_figure() -> "Figure":
    """Return an empty figure on the off-screen Agg canvas, without pyplot's global state."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise PlottingUnavailableError from error
    figure = Figure(figsize=(8, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.set(rect=(0, 0.04, 1, 0.96))  # type: ignore[call-arg]  # room for the footnote
    return figure


def _draw_bars(axes: "Axes", bars: Bars) -> None:
    """Bars lying side by side below one another: their labels are sentences."""
    labels, values = zip(*reversed(bars.values), strict=True)
    drawn = axes.barh(labels, values, label=bars.unit)
    axes.bar_label(drawn, fmt="{:,.0f}", padding=3)
    axes.set(title=bars.title, xlabel=bars.unit)


def _draw_hash(axes: "Axes", report: HashReport) -> None:
    """Lines: throughput by message size, with the repeats' range as error bars."""
    for algorithm in ALGORITHMS:
        rows = [row for row in report.rows if row.algorithm == algorithm]
        rates = [row.mb_per_s for row in rows]
        below = [rate - row.size_bytes / row.ns_per_op.maximum * 1e3 for rate, row in zip(rates, rows, strict=True)]
        above = [row.size_bytes / row.ns_per_op.minimum * 1e3 - rate for rate, row in zip(rates, rows, strict=True)]
        axes.errorbar([row.size_bytes for row in rows], rates, yerr=[below, above], marker="o", capsize=3, label=algorithm)
    sizes = sorted({row.size_bytes for row in report.rows})
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(sizes, labels=[f"{size:,}" for size in sizes])
    axes.set(title="Hash throughput on one core", xlabel="message (bytes)", ylabel="MB/s")


def _draw_signature(axes: "Axes", report: SignatureReport) -> None:
    """Bars: operations a second on one core and on all, with the repeats' range as error bars."""
    width = 0.4
    for offset, label in ((-width / 2, "one core"), (width / 2, f"{report.machine.cores} cores")):
        figures = [row.one_core_per_s if offset < 0 else row.all_cores_per_s for row in report.rows]
        axes.bar(
            [position + offset for position in range(len(figures))],
            [figure.median for figure in figures],
            width,
            yerr=[[f.median - f.minimum for f in figures], [f.maximum - f.median for f in figures]],
            capsize=3,
            label=label,
        )
    axes.set_xticks(range(len(report.rows)), labels=[f"{row.library}\n{row.operation}" for row in report.rows])
    axes.set(title="Ed25519 signatures", ylabel="operations/s")


def _draw_cluster(axes: "Axes", report: ClusterReport) -> None:
    """Steps: committed transactions in each second of the window, between the offered rate and the signature bound."""
    seconds = range(len(report.block_tps_series))
    axes.step(seconds, report.block_tps_series, where="post", label="committed")
    axes.axhline(report.offered_tps, linestyle="--", color="0.4", label="offered")
    axes.axhline(report.signature_bound_tps, linestyle=":", color="tab:red", label="signature bound")
    axes.set_ylim(bottom=0)
    title = f"{report.nodes} nodes: p50 {report.p50_ms:.0f} ms, p99 {report.p99_ms:.0f} ms"
    axes.set(title=title, xlabel="second of the window", ylabel="transactions/s")


def _footnote(machine: Machine) -> str:
    return f"median of the repeats, bars: slowest and fastest; {machine.line()}"
