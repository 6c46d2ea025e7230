import numpy as np
import pytest

from storage.store import Store
from tasks.select.calibrate import TOP_SHARE, calibrate, calibration_rows, proposal_lines
from tasks.select.select import select
from tasks.select.verdicts import SelectConfig
from tests.fake_shards import LOWER_IS_BETTER, crop_row, random_hashes, write_shard


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    store = Store(str(tmp_path_factory.mktemp("root")))
    rng = np.random.default_rng(2)
    hashes = random_hashes(150, 4)
    # Every third crop has a twin somewhere, and a few lack a metric.
    rows = [crop_row(i, source=("coco", "voc")[i % 2], crop_phash=hashes[i % 150]) for i in range(200)]
    values = {name: {r["crop_id"]: float(rng.normal(scale=1e-3)) for r in rows} for name in LOWER_IS_BETTER}
    values["niqe"] = {crop_id: value for crop_id, value in values["niqe"].items() if not crop_id.endswith("7")}
    return store, [write_shard(store, 0, rows[k::2], values) for k in (0, 1)]


def kept_by_select(scored, config):
    store, shards = scored
    return {s.source: s.report().counts["crop"].num_kept for s in select(store, shards, LOWER_IS_BETTER, config)}


CONFIG = SelectConfig(top_share=0.6, limits={"niqe": 1e-3})


def test_every_yield_is_what_select_keeps(scored):
    calibration = calibrate(scored[1], LOWER_IS_BETTER, CONFIG)
    assert calibration.configured == kept_by_select(scored, CONFIG)
    assert calibration.num_crops == {"coco": 100, "voc": 80} and calibration.proposal is None
    assert [y.value for y in calibration.yields if y.setting == TOP_SHARE] == pytest.approx(np.arange(1, 11) / 10)
    for found in calibration.yields[::3]:
        only = {"top_share": found.value} if found.setting == TOP_SHARE else {"limits": {found.setting: found.value}}
        assert found.alone == kept_by_select(scored, SelectConfig(**{"top_share": 1.0, **only}))
        combined = only if found.setting == TOP_SHARE else {"limits": {**CONFIG.limits, **only["limits"]}}
        assert found.combined == kept_by_select(scored, CONFIG.model_copy(update=combined))
    for metric in LOWER_IS_BETTER:
        alone = [sum(y.alone.values()) for y in calibration.yields if y.setting == metric]
        assert len(alone) == 10 and alone[0] > alone[4] > alone[9] > 0


@pytest.mark.parametrize("wanted", [1, 20, 60, 500])
def test_proposed_limits_give_exactly_the_number_told(scored, wanted):
    proposal = calibrate(scored[1], LOWER_IS_BETTER, CONFIG, wanted).proposal
    assert proposal.limits.keys() == LOWER_IS_BETTER.keys()
    # As they are printed, not only as they are in memory.
    printed = {name: float(f"{limit:.6g}") for name, limit in proposal.limits.items()}
    kept = kept_by_select(scored, CONFIG.model_copy(update={"limits": printed}))
    assert kept == proposal.reached_per_source and sum(kept.values()) == proposal.reached
    if wanted == 500:
        assert proposal.reached < wanted and proposal.quantile == 0
        assert proposal.reached == sum(kept_by_select(scored, SelectConfig(top_share=0.6)).values())
        assert "raise select.top_share" in proposal_lines(proposal, CONFIG)[-1]
    else:
        assert wanted <= proposal.reached <= wanted + 2


def test_rows_for_a_table(scored):
    calibration = calibrate(scored[1], LOWER_IS_BETTER, CONFIG, 20)
    head, configured, *rows = calibration_rows(calibration)
    assert head == ["setting", "value", "coco", "voc", "all"]
    assert configured[0] == "as configured" and len(rows) == 30
    assert all(len(row) == len(head) for row in rows)
    assert "20 crops wanted" in proposal_lines(calibration.proposal, CONFIG)[0]
    with pytest.raises(ValueError, match="at least 1"):
        calibrate(scored[1], LOWER_IS_BETTER, CONFIG, 0)
