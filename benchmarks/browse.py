"""How fast the App's samples are written: N synthetic crops through real shards into a real MongoDB, without previews.

eval "$(mongod.sh start 27117)"
python -m benchmarks.browse [100000]
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from dashboards.fiftyone.app import open_fiftyone
from dashboards.fiftyone.crop_records import browsed_run
from dashboards.fiftyone.crops_dataset import update_crops
from storage.run_record import RunRecord
from storage.store import Store
from tasks.select.select import select
from tasks.select.verdicts import SelectConfig
from tests.fake_shards import LOWER_IS_BETTER, crop_row, random_hashes, write_shard

CROPS_PER_SHARD = 1_000


def scored_shards(store: Store, num: int):
    rng = np.random.default_rng(0)
    hashes = random_hashes(num)
    row = crop_row(0)
    for number, start in enumerate(range(0, num, CROPS_PER_SHARD)):
        rows = [
            row | {"crop_id": f"c{i:07d}", "photo_id": f"p{i}", "crop_phash": hashes[i], "photo_phash": hashes[-1 - i]}
            for i in range(start, min(start + CROPS_PER_SHARD, num))
        ]
        values = {name: {r["crop_id"]: float(rng.normal()) for r in rows} for name in LOWER_IS_BETTER}
        yield write_shard(store, number, rows, values)


def main(num: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        scored = list(scored_shards(store, num))
        selection = select(store, scored, LOWER_IS_BETTER, SelectConfig(limits={"niqe": 1.0}))
        shards = {
            "crop": [s.crops.name for s in scored],
            "select": [s.name for s in selection],
            **{f"score/{m}": [s.scores[m].name for s in scored] for m in LOWER_IS_BETTER},
        }
        configuration = {"crop": {"side_px": 512}}
        record = RunRecord(name="benchmark", snapshot=None, configuration=configuration, reports=(), shards=shards)
        fo = open_fiftyone(Path(folder) / "fiftyone")
        for name in fo.list_datasets("benchmark-*"):
            fo.delete_dataset(name)
        for what in ("build", "update"):
            start = time.perf_counter()
            browsed = browsed_run(store, record)
            dataset = update_crops(fo, browsed, browsed.sample(num), {}, Path(folder), lambda n: None)
            seconds = time.perf_counter() - start
            memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
            print(f"{what}: {len(dataset):,} crops in {seconds:.1f} s, {num / seconds:,.0f}/s, {memory_gb:.1f} GB")
        fo.delete_dataset(dataset.name)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
