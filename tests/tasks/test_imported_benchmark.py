"""Pictures that others published become a benchmark, beside the rows of exactly that set."""

import shutil

import cv2
import numpy as np
import pytest

from flows.cli.show_judging import import_and_show
from flows.judging import judge_folder, judge_lq
from storage.benchmark import benchmark_at, num_rows
from storage.errors import InputError
from storage.snapshot import verify_snapshot
from storage.store import Store
from tasks.benchmark.imported import import_benchmark
from tasks.evaluate.evaluate import EvaluateConfig
from tasks.evaluate.published import PUBLISHED
from tasks.publish.audit import audit
from tests.fake_benchmark import squares

NUM = 21
QUICK = EvaluateConfig(metrics=("psnr", "piqe", "consistency"), device="cpu", num_resamples=10)


@pytest.fixture(scope="module")
def folders(shared_data, tmp_path_factory):
    """HQ and LQ as they are released: two folders of the same names."""
    root = tmp_path_factory.mktemp("released")
    for side in ("HQ", "LQ"):
        (root / side).mkdir()
    for i, hq in enumerate(squares(shared_data / "coco_mini/val2017", NUM, 64)):
        cv2.imwrite(str(root / f"HQ/{i:06d}.png"), hq)
        cv2.imwrite(str(root / f"LQ/{i:06d}.png"), cv2.GaussianBlur(hq, (0, 0), 2))
    return root / "HQ", root / "LQ"


def test_two_folders_are_judged_beside_the_rows_of_their_set_alone(metric_weights, folders, tmp_path, capsys):
    hq, lq = folders
    assert import_and_show(str(tmp_path), "val", lq, hq, "persona-val-haodiff") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"{NUM} pictures, but there are 4,216 in persona-val-haodiff" in shown
    (folder,) = (tmp_path / "benchmarks").iterdir()
    benchmark = benchmark_at(folder)
    assert (num_rows(benchmark.manifest()), verify_snapshot(benchmark.store, benchmark.path)) == (NUM, [])
    evaluation = judge_lq(folder, QUICK)
    assert (evaluation.num_images, list(evaluation.metrics)) == (NUM, ["psnr", "piqe"])  # there are no recipes
    table = (tmp_path / evaluation.path / "table.md").read_text()
    assert "| OSDHuman | 22.79 |" in table and "22.41" not in table
    assert "on the pictures of persona-val-haodiff, which are 4,216" in table
    perfect = judge_folder(folder, hq, QUICK)
    assert perfect.metrics["psnr"].mean == pytest.approx(80, abs=1e-6)


def test_the_same_files_are_the_same_benchmark_and_others_another(folders, tmp_path):
    hq, lq = folders
    first = import_benchmark_at(tmp_path / "a", lq, hq)
    assert import_benchmark_at(tmp_path / "a", lq, hq).id == import_benchmark_at(tmp_path / "b", lq, hq).id == first.id
    files = [sorted((tmp_path / root / first.path).rglob("*.*")) for root in "ab"]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]
    changed = copied(lq, tmp_path / "changed")
    cv2.imwrite(str(changed / "000003.png"), np.zeros((64, 64, 3), np.uint8))
    assert import_benchmark_at(tmp_path / "a", changed, hq).id != first.id


def test_one_folder_of_jpegs_is_a_benchmark_without_references(folders, tmp_path):
    jpegs = tmp_path / "test"
    jpegs.mkdir()
    for path in folders[1].iterdir():
        cv2.imwrite(str(jpegs / f"{path.stem}.jpg"), cv2.imread(str(path)))
    benchmark = import_benchmark(store_of(tmp_path), "persona-test", jpegs, published="persona-test")
    evaluation = judge_lq(benchmark.store.local(benchmark.path), QUICK)
    assert (evaluation.benchmark.has_hq, list(evaluation.metrics)) == (False, ["piqe"])
    with pytest.raises(InputError, match="was imported, and nothing is known of its photos"):
        audit([benchmark])


def test_partners_are_found_by_names_or_refused(folders, tmp_path):
    hq, lq = folders
    named = tmp_path / "named"
    named.mkdir()
    for path in lq.iterdir():
        shutil.copy(path, named / f"{path.stem}x4_lq.png")
    # The bytes of every file are the same, and so is the benchmark.
    assert import_benchmark_at(tmp_path, named, hq).id == import_benchmark_at(tmp_path, lq, hq).id
    (named / "000004x4_lq.png").unlink()
    with pytest.raises(ValueError, match=f"{NUM:,} pictures and .* {NUM - 1:,}: every picture needs its partner"):
        import_benchmark_at(tmp_path, named, hq)
    cv2.imwrite(str(named / "stranger.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(ValueError, match=r"000004\.png have no partner in"):
        import_benchmark_at(tmp_path, named, hq)
    small = copied(lq, tmp_path / "small")
    cv2.imwrite(str(small / "000002.png"), np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"000002\.png has 16x16 px and 000002\.png has 64x64 px: bring LQ to the size"
    ):
        import_benchmark_at(tmp_path, small, hq)
    (small / "000002.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match=r"000002\.png is no picture that can be read"):
        import_benchmark_at(tmp_path, small, hq)
    other = tmp_path / "other"
    other.mkdir()
    for i, path in enumerate(sorted(lq.iterdir())):
        shutil.copy(path, other / f"picture-{chr(97 + i)}.png")
    with pytest.raises(ValueError, match="give partners one name"):
        import_benchmark_at(tmp_path, other, hq)


def test_rows_of_two_sets_never_stand_together():
    """The published values of OSDHuman tell the sets of LQ pictures apart."""
    val, newer, test, mpii = (
        PUBLISHED[name] for name in ("persona-val", "persona-val-haodiff", "persona-test", "mpii-test")
    )
    assert (val.rows["OSDHuman"]["psnr"], newer.rows["OSDHuman"]["psnr"]) == (22.41, 22.79)
    assert "HAODiff" not in val.rows and "OSEDiff*" not in newer.rows
    assert [len(one.rows) for one in (val, newer, test, mpii)] == [11, 11, 17, 3]
    assert test.rows["OSDHuman"] == {
        "clipiqa": 0.7155, "maniqa-pipal": 0.6977, "musiq": 73.7694, "niqe": 4.1287, "liqe": 4.3202, "ilniqe": 24.8712
    }  # fmt: skip
    assert newer.rows["LCUDiff"] == {"dists": 0.1022, "lpips": 0.2149, "psnr": 22.93, "ssim": 0.6416, "clipiqa": 0.7540}
    assert val.rows["OSDHuman (trained on LSDIR)"]["fid"] == 17.5615


def store_of(root):
    return Store(str(root))


def import_benchmark_at(root, lq, hq):
    return import_benchmark(store_of(root), "persona-val", lq, hq)


def copied(folder, to):
    shutil.copytree(folder, to)
    return to
