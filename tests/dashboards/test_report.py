"""The report's numbers are those of the data, its bytes those of the last time, its size that of a small file."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from dashboards.report.charts import distribution_chart, reasons_chart
from dashboards.report.data import CropNumbers, read_run
from dashboards.report.report import Published, report
from flows.dashboard_data.report import report_of, report_of_run
from flows.execution.run_record import RunRecorder
from storage.config_file import ConfigError
from storage.reasons import Reason
from storage.report import ItemCounts, StageReport
from storage.run_record import read_run_record
from storage.schema import CROPS, REJECTS, SCORES
from storage.scored_crops import ScoredShard
from storage.shard import Shard, ShardWriter
from storage.store import Store
from tasks.publish.publish import PublishConfig, plan_snapshot, publish
from tasks.select.select import select
from tasks.select.verdicts import SelectConfig
from tests.fake_shards import LOWER_IS_BETTER, crop_row, flipped, two_sources, write_shard

ROOT = Path(__file__).parent.parent.parent
LIMITS = SelectConfig(top_share=0.8, limits={"niqe": 1.0}, val_size=3)
CONFIGURATION = {
    "name": "fake",
    "sources": [
        {"format": "coco", "name": name, "photos": "nowhere", "annotations": "nowhere.json"} for name in ("coco", "voc")
    ],
    "score": {"metrics": ["clipiqa", "niqe"]},
    "select": LIMITS.model_dump(mode="json"),
}


def enter(record, scored, selection=()):
    by_source = {}
    for shard in scored:
        by_source.setdefault(shard.crops.source, []).append(shard)
    record.enter({name: [s.crops for s in shards] for name, shards in by_source.items()})
    for metric in LOWER_IS_BETTER:
        record.enter({name: [s.scores[metric] for s in shards] for name, shards in by_source.items()})
    if selection:
        record.enter({shard.source: [shard] for shard in selection})


def curated(root, scored):
    """RunRecorder, selection and snapshot of scored shards, as `curate` leaves them."""
    store = Store(str(root))
    record = RunRecorder(store, "fake", CONFIGURATION)
    selection = select(store, scored, LOWER_IS_BETTER, LIMITS)
    enter(record, scored, selection)
    facts = {"config_dump": CONFIGURATION, "reports": record.reports, "weights": {}}
    plan = plan_snapshot(store, "fake", scored, selection, config=PublishConfig(), **facts)
    snapshot = publish(plan, "test")
    record.close(snapshot)
    return snapshot


@pytest.fixture
def root(tmp_path):
    """Two sources, and one crop that shows the same as another."""
    store = Store(str(tmp_path))
    scored = two_sources(store, 40)
    first = crop_row(100, source="twin", crop_phash=0x0F0F0F0F0F0F0F0F)
    second = crop_row(101, source="twin", crop_phash=flipped(0x0F0F0F0F0F0F0F0F, 3, 60))
    best = {"clipiqa": {"c0100": 3.0, "c0101": 2.9}, "niqe": {"c0100": -3.0, "c0101": -2.9}}
    scored.append(write_shard(store, 0, [first, second], best))
    curated(tmp_path, scored)
    return tmp_path


def figures(html):
    """Every chart of a page."""
    found = re.findall(r'<div class="plot"[^>]*></div><script type="application/json">(.*?)</script>', html, re.DOTALL)
    return [json.loads(text) for text in found]


def test_numbers_on_the_page_are_those_of_the_selection(root):
    store = Store(str(root))
    html = report_of(str(root))
    rows = [
        row
        for name in read_run_record(store, "fake").shards["select"]
        for row in Shard.named(store, name).read("selection").to_pylist()
    ]
    kept = [row for row in rows if row["verdict"] == "kept"]
    assert f"fake: {len(kept)} of " in html
    lost = [row["reason"] for row in rows if row["reason"]]
    drawn = {row[0]: row[3] for row in reasons_chart(read_run_record(store, "fake").reports).table.rows}
    assert drawn == {reason.replace("_", " "): lost.count(reason) for reason in lost}
    assert all(Reason(reason).sentence in html for reason in lost)
    assert lost.count("near_duplicate") == 1
    assert "c0101" not in [row["crop_id"] for row in kept]
    assert "crop_phash · 2, limit 6" in html


def test_bars_hold_every_crop_once(root):
    store = Store(str(root))
    data = read_run(store, read_run_record(store, "fake"), lambda *_: None)
    for name in (*data.metrics, "score", "laplacian_variance"):
        chart = distribution_chart(name, data.crops, None, {})
        everything, chosen = chart.figure.data
        assert sum(everything.y) == 42
        assert sum(chosen.y) == data.crops.kept.sum() == sum(data.crops.splits.values())


def test_outliers_do_not_squeeze_the_axis_and_are_counted():
    values = np.concatenate([np.random.default_rng(0).normal(size=10_000), [1e6, 2e6]])
    crops = CropNumbers(np.zeros(len(values), bool), {"niqe": values}, {}, {})
    chart = distribution_chart("niqe", crops, None, {})
    assert max(chart.figure.data[0].x) < 10
    assert sum(chart.figure.data[0].y) == len(values)
    beyond = int(re.search(r"([\d,]+) crops lie beyond", chart.summary)[1])
    assert 2 <= beyond <= 50


def test_limit_and_published_means_are_drawn_where_they_are():
    crops = CropNumbers(np.arange(100) < 30, {"niqe": np.linspace(2, 8, 100)}, {}, {})
    facts = {"limit": 4.0, "lower_is_better": True}
    chart = distribution_chart("niqe", crops, facts, {"PERSONA": 2.8659, "COCO": 3.7774})
    line, marks = chart.figure.data[2:]
    assert list(line.x) == [4.0, 4.0]
    assert list(marks.x) == [2.8659, 3.7774]
    assert "above 4 is not chosen" in chart.summary


def test_same_input_gives_the_same_bytes_whatever_the_process(root):
    script = "import sys; from flows.dashboard_data.report import report_of; sys.stdout.write(report_of(sys.argv[1]))"
    here = report_of(str(root))
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    command = [sys.executable, "-c", script, root]
    there = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT, env=environment)
    assert there.stdout == here


def test_a_snapshot_alone_tells_what_it_holds(root, tmp_path_factory):
    (snapshot,) = (root / "snapshots").iterdir()
    elsewhere = tmp_path_factory.mktemp("moved") / "persona"
    snapshot.rename(elsewhere)
    html = report_of(str(elsewhere))
    assert "Only the chosen crops are known to a snapshot" in html
    assert html.count("<img ") > 5
    assert {"funnel", "scores", "contents", "examples", "origin"} <= set(re.findall(r'<section id="(\w+)"', html))


def test_a_run_that_has_not_finished_has_a_report_at_every_stage(tmp_path):
    store = Store(str(tmp_path))
    record = RunRecorder(store, "fake", CONFIGURATION)
    assert "begun" in _report_after(store, record, {})
    scored = two_sources(store, 12)
    assert "12 crops so far" not in _report_after(store, record, {"coco": [scored[0].crops]})
    html = _report_after(store, record, {"coco": [s.scores["niqe"] for s in scored[:1]]})
    assert "The run has not finished" in html
    assert "What other limits would give" not in html


def _report_after(store, record, shards):
    record.enter(shards)
    return report_of_run(store, "fake")


def test_what_the_data_says_cannot_break_the_page(tmp_path):
    evil = "</script><script>alert(1)</script>\"'&"
    counts = ItemCounts(num_in=3, num_kept=2, rejected={Reason.NO_PERSON: 1})
    reports = (StageReport(stage="ingest", source=evil, counts={"photo": counts}),)
    store = Store(str(tmp_path))
    record = RunRecorder(store, "fake", {})
    record.reports = list(reports)
    record.enter({})
    data = read_run(store, read_run_record(store, "fake"), lambda *_: None)
    html = report(data, Published({}, 3.4, evil))
    assert "alert(1)</script>" not in html
    assert len(figures(html)) == 2


def test_no_run_and_no_snapshot_is_one_sentence(tmp_path):
    with pytest.raises(ConfigError, match="neither the root of a run nor a snapshot"):
        report_of(str(tmp_path))


def large(store, num, per_shard=10_000):
    """Crop shards of `num` crops without pictures, and their random scores."""
    rng = np.random.default_rng(0)
    shards = []
    for number in range(num // per_shard):
        template = pa.Table.from_pylist([crop_row(0, image={"bytes": b"", "path": None})], schema=CROPS)
        rows = template.take(np.zeros(per_shard, int))
        columns = {
            "crop_id": pa.array([f"c{number:03d}{i:06d}" for i in range(per_shard)]),
            "photo_id": pa.array([f"p{number:03d}{i:06d}" for i in range(per_shard)]),
            "num_people": pa.array(rng.integers(1, 12, per_shard), pa.int32()),
            "laplacian_variance": pa.array(rng.gamma(2, 300, per_shard)),
            "photo_phash": pa.array(rng.integers(0, 2**63, per_shard, np.uint64)),
            "crop_phash": pa.array(rng.integers(0, 2**63, per_shard, np.uint64)),
        }
        for name, values in columns.items():
            rows = rows.set_column(
                rows.schema.get_field_index(name), CROPS.field(name), values.cast(CROPS.field(name).type)
            )
        crops = Shard(store, "crop", "coco", number, "0" * 12)
        report_ = StageReport(
            stage="crop", source="coco", counts={"crop": ItemCounts(num_in=per_shard, num_kept=per_shard)}
        )
        with ShardWriter(crops, crops=CROPS, rejects=REJECTS) as out:
            for batch in rows.combine_chunks().to_batches():
                out["crops"].extend(batch)
            out.commit(report_)
        scores = {}
        for metric in LOWER_IS_BETTER:
            scores[metric] = Shard(store, f"score/{metric}", "coco", number, "0" * 12)
            with ShardWriter(scores[metric], scores=SCORES, rejects=REJECTS) as out:
                values = pa.table([columns["crop_id"], pa.array([metric] * per_shard), pa.array(rng.normal(size=per_shard))], schema=SCORES)  # fmt: skip  # noqa: E501
                out["scores"].extend(values.to_batches()[0])
                out.commit(StageReport(stage=scores[metric].stage, source="coco", counts=report_.counts))
        shards.append(ScoredShard(crops, scores))
    return shards


MEASURE = """
import resource, sys
from dashboards.report.report import report
from dashboards.report.data import CropNumbers
import dashboards.report.data as data
from flows.dashboard_data.report import PUBLISHED
from storage.run_record import read_run_record
from storage.store import Store
store = Store(sys.argv[1])
data.crop_tiles = data.duplicate_pairs = lambda *_: []  # these crops have no pictures
html = report(data.read_run(store, read_run_record(store, "fake"), lambda *_: None), PUBLISHED)
print(len(html.encode()), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def measured(root, num):
    """Bytes of the report of `num` crops, and the peak memory of the process that made it, in MB."""
    store = Store(str(root))
    scored = large(store, num)
    record = RunRecorder(store, "fake", CONFIGURATION)
    limits = SelectConfig(top_share=0.33, limits={"niqe": 1.0}, near_duplicate_photo_bits=0, near_duplicate_crop_bits=0)
    enter(record, scored, select(store, scored, LOWER_IS_BETTER, limits))
    done = subprocess.run([sys.executable, "-c", MEASURE, root], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    size, peak_kb = map(int, done.stdout.split())
    return size, peak_kb / 1024


def test_a_hundred_thousand_crops_stay_below_15_mb_and_in_memory(tmp_path):
    small, little = measured(tmp_path / "small", 10_000)
    size, memory = measured(tmp_path / "large", 100_000)
    print(f"report of 100,000 crops: {size / 1e6:.2f} MB, {memory:.0f} MB of memory ({little:.0f} for 10,000)")
    assert size - small < 20_000  # only digits grow
    assert size + 250 * 16_000 < 15e6  # with as many thumbnails as there can be
    assert memory - little < 200
