"""Benchmarks: quick runs give sane figures, valid JSON, a table and a chart."""

import io
import sys
from pathlib import Path

import orjson
import pytest
from rich.console import Console

from benchmarks import hash as hash_benchmark
from benchmarks import proof as proof_benchmark
from benchmarks import signature as signature_benchmark
from benchmarks import state as state_benchmark
from benchmarks import storage as storage_benchmark
from benchmarks import sync as sync_benchmark
from benchmarks.hash import ALGORITHMS, SIZES_BYTES, HashReport
from benchmarks.plot import PlottingUnavailableError, save
from benchmarks.report import Machine, Report, Summary, show, to_json, usable_cores
from benchmarks.signature import LIBRARIES, OPERATIONS, SignatureReport, verifies_per_s_all_cores


@pytest.fixture(scope="module")
def hash_report() -> HashReport:
    return hash_benchmark.run(quick=True)


@pytest.fixture(scope="module")
def signature_report() -> SignatureReport:
    return signature_benchmark.run(quick=True)


def shown(report: Report) -> str:
    console = Console(file=io.StringIO(), width=140)
    show(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_a_summary_is_the_median_and_the_range_around_it() -> None:
    assert Summary.of([4.0, 1.0, 2.0]) == Summary(median=2.0, minimum=1.0, maximum=4.0, spread=1.5, repeats=3)
    assert Summary.of([5.0]).spread == 0


def test_the_machine_is_named() -> None:
    machine = Machine.here()
    assert machine.cores == usable_cores() >= 1
    assert machine.cpu
    assert f"Python {sys.version_info.major}.{sys.version_info.minor}" in machine.line()


def test_proofs_are_small_and_quick_to_check() -> None:
    report = proof_benchmark.run(quick=True)
    sizes = {row.kind: row.size_bytes for row in report.rows}
    assert sizes["header, short"] < sizes["account, short"] < sizes["account, from genesis"] < 10_000
    assert all(0 < row.check_us.minimum <= row.check_us.median for row in report.rows)
    assert "receipt, from genesis" in shown(report)
    assert orjson.loads(to_json(report))["benchmark"] == "proof"


def test_an_update_of_the_state_is_measured_on_disk(tmp_path: Path) -> None:
    report = state_benchmark.run(quick=True, say=lambda _: None)
    assert report.reads > 0
    assert 0.1 < report.root_ms.minimum <= report.root_ms.median < 1_000
    assert report.bytes_on_disk_a_key > 100
    assert "state root" in shown(report)
    pytest.importorskip("matplotlib", reason="charts are optional")
    save(report, tmp_path / "state.png")
    assert (tmp_path / "state.png").stat().st_size > 10_000


def test_pruning_makes_the_folder_smaller() -> None:
    report = storage_benchmark.run(quick=True, say=lambda _: None)
    assert report.disk_bytes > 1.15 * report.disk_bytes_pruned_states > 1.15 * 1.15 * report.disk_bytes_pruned_all
    assert sum(report.record_bytes.values()) == pytest.approx(report.disk_bytes, rel=0.3)
    assert report.write_ms.minimum > 0
    assert report.execute_ms.minimum > 0
    assert orjson.loads(to_json(report))["record_bytes"].keys() == report.record_bytes.keys()


def test_a_fresh_node_syncs_both_ways() -> None:
    """Real processes; that both end on one state root is checked in the run. Which is faster is for a quiet machine to say."""
    report = sync_benchmark.run(quick=True, say=lambda _: None)
    blocks, snapshot = report.ways
    assert blocks.state_root == snapshot.state_root
    assert min(way.transfers_per_s for way in report.ways) > 10
    assert all(way.mb_per_s == pytest.approx(way.received_mb / way.seconds) for way in report.ways)
    assert "from a snapshot" in shown(report)
    assert [way["name"] for way in orjson.loads(to_json(report))["ways"]] == ["by blocks", "from a snapshot"]


def test_hashing_covers_every_algorithm_and_size(hash_report: HashReport) -> None:
    assert [(row.algorithm, row.size_bytes) for row in hash_report.rows] == [(a, s) for a in ALGORITHMS for s in SIZES_BYTES]


def test_hashing_figures_are_possible(hash_report: HashReport) -> None:
    """No machine hashes in under 20 ns or over 20 GB/s; a large message takes longer than a small one."""
    for row in hash_report.rows:
        figure = row.ns_per_op
        assert 20 < figure.minimum <= figure.median <= figure.maximum
        assert row.mb_per_s < 20_000
        assert row.mb_per_s == pytest.approx(row.size_bytes * 1e3 / figure.median)
    for algorithm in ALGORITHMS:
        times = [row.ns_per_op.median for row in hash_report.rows if row.algorithm == algorithm]
        assert times[-1] > 5 * times[0]


def test_signatures_cover_both_libraries(signature_report: SignatureReport) -> None:
    assert [(row.library, row.operation) for row in signature_report.rows] == [(a, b) for a in LIBRARIES for b in OPERATIONS]


def test_signature_figures_are_possible(signature_report: SignatureReport) -> None:
    """Between 10 us and 10 ms an operation; cores help by about their number at most. Wide bounds: the machine may be busy."""
    for row in signature_report.rows:
        assert 100 < row.one_core_per_s.minimum <= row.one_core_per_s.median <= row.one_core_per_s.maximum < 100_000
        assert row.scaling == pytest.approx(row.all_cores_per_s.median / row.one_core_per_s.median)
        assert 0.1 < row.scaling < 4 * signature_report.machine.cores


def test_the_bound_for_the_cluster_benchmark_is_a_plain_rate() -> None:
    assert 100 < verifies_per_s_all_cores(0.06) < 100_000 * usable_cores()


def test_the_hash_report_is_json_with_stable_fields(hash_report: HashReport) -> None:
    document = orjson.loads(to_json(hash_report))
    assert set(document) == {"benchmark", "machine", "rows"}
    assert document["benchmark"] == "hash"
    assert set(document["machine"]) == {"python", "platform", "cpu", "cores", "load_1min"}
    assert set(document["rows"][0]) == {"algorithm", "size_bytes", "ns_per_op", "mb_per_s"}
    assert set(document["rows"][0]["ns_per_op"]) == {"median", "minimum", "maximum", "spread", "repeats"}


def test_the_signature_report_is_json_with_stable_fields(signature_report: SignatureReport) -> None:
    document = orjson.loads(to_json(signature_report))
    assert set(document) == {"benchmark", "machine", "rows"}
    assert document["benchmark"] == "signature"
    assert set(document["rows"][0]) == {"library", "operation", "one_core_per_s", "all_cores_per_s", "scaling"}


def test_tables_show_every_row_and_the_machine(hash_report: HashReport, signature_report: SignatureReport) -> None:
    hashes, signatures = shown(hash_report), shown(signature_report)
    assert all(f"{size:,}" in hashes for size in SIZES_BYTES)
    assert all(library in signatures for library in LIBRARIES)
    assert f"{hash_report.rows[0].ns_per_op.median:,.0f} (" in hashes
    assert "Python" in hashes
    assert "Python" in signatures


def test_charts_are_png_files(hash_report: HashReport, signature_report: SignatureReport, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="charts are optional")
    reports: list[HashReport | SignatureReport] = [hash_report, signature_report]
    for report in reports:
        path = tmp_path / f"{report.benchmark}.png"
        save(report, path)
        assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
        assert path.stat().st_size > 10_000


def test_without_matplotlib_the_message_says_what_to_install(
    hash_report: HashReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"] + ["matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(PlottingUnavailableError, match="matplotlib") as caught:
        save(hash_report, tmp_path / "hash.png")
    assert "datacar[plot]" in caught.value.hint
    assert list(tmp_path.iterdir()) == []
