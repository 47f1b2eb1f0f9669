"""Test the report: made of the data alone, complete, and honest.

It says what disagrees or was not measured.
"""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import msgspec
import pytest

from benches.micro import collect
from benches.report import pieces
from benches.report.aims import aims
from benches.report.pieces import Count, Live, Pace, Part, Piece, Row, Size, Step
from benches.report.pool import Report, compared, pooled_steps, together
from benches.report.render import HERE, files
from nemorouter.bench.machine import machine

LIVE = Live(load_s=7, bytes_a_key=300, start_s=1, respawn_s=0.2)


def row(name: str, server: str, cpu: float, ratio: float, size: int = 0) -> Row:
    def around(value: float) -> list[float]:
        return [value * 0.98, value, value * 1.02]

    return Row(
        name=name,
        server=server,
        per_second=around(1e6 / cpu),
        ratio=around(ratio),
        resident_bytes=1 << 26,
        remark="no money" if server == "Envoy" else "",
        size=size,
        cpu_us=around(cpu),
        worker_us=around(cpu),
        p50_us=around(cpu),
        p99_us=around(cpu),
    )


def piece(name: str, kind: str, title: str, **fields: object) -> Piece:
    made = pieces.new(
        name, kind, title, method={"rounds": 3, "seconds": 1, "connections": 16}, **fields
    )
    return msgspec.structs.replace(
        made, machine=msgspec.structs.replace(machine(), cpu="A CPU"), source="here"
    )


def run(ours: float = 1.1) -> list[Piece]:
    """Everything measured once; ``ours``: CPU over the floor with everything on."""
    floor = row("bare Granian RSGI, body read", "Granian RSGI", 40, 1.0)
    rsgi = "NemoRouter RSGI"
    rows = [floor, row(rsgi, rsgi, 40 * ours, ours)]
    limits = [*rows, row("Envoy, limits", "Envoy", 60, 1.5)]
    authenticate = [*rows, row("LiteLLM, master key", "LiteLLM, master key", 8000, 200)]
    fixed = {
        "p50_us": [100.0, 110.0],
        "p90_us": [150.0],
        "p99_us": [300.0, 310.0],
        "p999_us": [900.0],
    }
    blocks = [100.0, 101.0, 102.0]
    slow = [value * 30 for value in blocks]
    steps = [
        Step("identify admit settle", by, ns)
        for by, ns in (("native", blocks), ("reference", slow))
    ]
    many = (1000, 10**6)
    steps += [
        Step("decide", by, blocks, keys, "even", 1)
        for by in ("native", "limits-fixed")
        for keys in many
    ]
    paces = [Pace(name=rsgi, rate=rate, kept=rate < 9, answers=9, **fixed) for rate in (5, 9)]
    parts = [Part("NemoRouter RSGI, everything on", 44, {"kernel": 20, "Python": 24})]
    return [
        piece("authenticate", "scenario", "The key is checked", base=floor.name, rows=authenticate),
        piece("limits", "scenario", "+ limits", base=floor.name, rows=limits),
        piece(
            "everything",
            "scenario",
            "Everything on",
            base=floor.name,
            rows=rows,
            skipped={"Envoy": "no | wheel"},
        ),
        piece(
            "latency",
            "latency",
            "At fixed rates",
            paces=paces,
        ),
        piece(
            "growth-keys", "growth", "keys", rows=[row(f"{n} keys", rsgi, 50, 1.2, n) for n in many]
        ),
        piece("micro", "micro", "In memory", steps=steps),
        piece(
            "native",
            "native",
            "By criterion",
            steps=[Step("identify + admit + settle: 1000 keys", "core", [60.0])],
        ),
        piece("counts", "counts", "Instructions", counts=[Count("admit", 1020, 1000)]),
        piece(
            "sizes",
            "sizes",
            "Memory",
            sizes=[Size(1000, 300, 380, 0.1), Size(10**6, 500, 360, 3.0, LIVE)],
        ),
        piece(
            "profile",
            "profile",
            "By library",
            parts=parts,
        ),
    ]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two runs as files."""
    for number in (1, 2):
        for each in run():
            pieces.write(tmp_path / f"run-{number}", each)
    return tmp_path


def test_what_is_written_is_read_again(data: Path) -> None:
    assert [each.name for each in pieces.read(data / "run-1")] == sorted(
        each.name for each in run()
    )


def test_a_file_that_is_no_piece_is_refused(data: Path) -> None:
    (data / "run-1" / "x.json").write_text('{"name": "x"}')
    with pytest.raises(msgspec.ValidationError):
        list(files(data))


def test_the_report_has_every_chapter_and_every_plot(data: Path) -> None:
    made = dict(files(data))
    assert set(made) == {
        "README.md",
        "servers.svg",
        "latency.svg",
        "growth.svg",
        "gate.svg",
        "profile.svg",
    }
    text = made["README.md"]
    assert re.findall(r"^## (.*)$", text, re.M) == [
        *(
            "In short",
            "Whole servers",
            "Latency at fixed rates",
            "Growth",
            "The gate in memory",
            "The core alone",
        ),
        *("Where the time goes", "Do two runs agree?", "Left out"),
    ]
    assert set(re.findall(r"\]\((\w+\.svg)\)", text)) == set(made) - {"README.md"}
    assert "no money" in text, "what a rival leaves out stands beside its number"
    assert "no \\| wheel" in text, "and why one is missing"
    said = " ".join(text.split())
    assert "takes 101 ns from Python. The core alone, by criterion, takes 60 ns of them" in said


def test_tables_are_whole(data: Path) -> None:
    text = dict(files(data))["README.md"]
    for block in re.findall(r"(?:^\|.*\n)+", text, re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1, block


def test_plots_are_well_formed_and_fit_day_and_night(data: Path) -> None:
    for name, text in files(data):
        if name.endswith(".svg"):
            ET.fromstring(text)
            assert "prefers-color-scheme:dark" in text
            assert not re.search(r'="-?(nan|inf)', text)


def test_the_same_data_make_the_same_report(data: Path) -> None:
    assert dict(files(data)) == dict(files(data))


def test_aims_are_judged_by_the_figures() -> None:
    def verdicts(ours: float) -> dict[str, bool | None]:
        return {aim.what: aim.holds for aim in aims(Report([run(ours)]))}

    what = "server: everything on, CPU over a constant answer that reads the body"
    assert verdicts(1.1)[what] is True
    assert verdicts(1.3)[what] is False
    litellm = "requests a second and core, authenticated, over LiteLLM (master key, mocked answer)"
    assert verdicts(1.9)[litellm] is True
    assert verdicts(2.1)[litellm] is False
    envoy = "requests a second and core with limits, over Envoy (constant answer)"
    assert verdicts(1.4)[envoy] is True
    assert verdicts(1.6)[envoy] is False
    provider = "requests a second and core through a provider, over TensorZero"
    assert verdicts(1.1)[provider] is None, "what nobody measured holds nothing"


def test_what_make_bench_size_writes_is_collected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [Size(1000, 300, 380, 0.1, LIVE), Size(10**6, 500, 360, 3.0, LIVE)]
    (tmp_path / "sizes.json").write_bytes(msgspec.json.encode(sizes))
    monkeypatch.setattr(
        "sys.argv",
        ["collect", "--into", str(tmp_path / "run"), "--sizes", str(tmp_path / "sizes.json")],
    )
    collect.main()
    assert (
        msgspec.json.decode((tmp_path / "run" / "sizes.json").read_bytes(), type=Piece).sizes
        == sizes
    )


def test_two_runs_that_disagree_are_told() -> None:
    same = compared(Report([run(), run()]))
    apart = compared(Report([run(1.1), run(1.3)]))
    assert all(pair.agree for pair in same)
    assert {pair.what for pair in apart if not pair.agree} == {
        f"{name}: NemoRouter RSGI" for name in ("authenticate", "limits", "everything")
    }


def test_no_run_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no run"):
        list(files(tmp_path))


def test_the_committed_report_is_the_one_of_the_committed_data() -> None:
    for name, text in files(pieces.DATA) if pieces.DATA.exists() else ():
        assert (HERE / name).read_text("utf-8") == text, f"{name} is stale: make bench-report"


def test_pieces_of_several_starts_are_one(data: Path) -> None:
    first, second = (
        next(each for each in pieces.read(data / f"run-{n}") if each.name == "everything")
        for n in (1, 2)
    )
    both = together(together(first, second), second)
    assert both.method["starts"] == 3
    assert [row.name for row in both.rows] == [row.name for row in first.rows]
    assert both.rows[1].ratio == [*first.rows[1].ratio, *second.rows[1].ratio * 2]


def test_who_was_measured_at_another_start_is_not_left_out(data: Path) -> None:
    first, second = (
        next(each for each in pieces.read(data / f"run-{n}") if each.name == "limits")
        for n in (1, 2)
    )
    absent = msgspec.structs.replace(
        first, rows=first.rows[:2], skipped={"Envoy, limits": "slow", "Kong": "no wheel"}
    )
    assert Report([[absent], [second]]).skipped() == {"Kong": "no wheel"}
    assert together(absent, second).rows[2].name == "Envoy, limits"


def test_passes_of_pytest_benchmark_are_one(tmp_path: Path) -> None:
    def benchmark(native: list[float]) -> dict[str, object]:
        extra = {"times": 10, "native": native}
        return {
            "name": "test_admit",
            "params": None,
            "param": None,
            "extra_info": extra,
            "stats": {"data": [1e-4]},
        }

    files = []
    for number, native in enumerate(([1e-6, 3e-6, 2e-6], [4e-6])):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_bytes(msgspec.json.encode({"benchmarks": [benchmark(native)]}))
    steps = pooled_steps([collect.micro(msgspec.json.decode(file.read_bytes())) for file in files])
    assert {(step.step, step.by): [round(ns) for ns in step.ns] for step in steps} == {
        ("admit", "native"): [200, 400],
        ("admit", "reference"): [10_000, 10_000],
    }
