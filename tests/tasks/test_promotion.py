"""A model is promoted only for what it shows beyond doubt, whichever way a metric points."""

from hypothesis import given
from hypothesis import strategies as st

from storage.evaluation import BenchmarkName, Difference, Evaluation, MetricResult
from tasks.training.promotion import Guard, Judged, Primary, PromotionConfig, decide

LOWER = {"dists": True, "lpips": True, "psnr": False, "musiq": False}
BENCHMARK = BenchmarkName(id="persona-val-0", digest="d", has_hq=True)


def evaluation(means, num_failed=0, label="x", num=40):
    metrics = {
        name: MetricResult(lower_is_better=LOWER[name], mean=mean, num=num)
        if isinstance(mean, float)
        else MetricResult(lower_is_better=LOWER[name], unavailable=mean)
        for name, mean in means.items()
    }
    return Evaluation(
        id=label, label=label, kind="model", benchmark=BENCHMARK, metrics=metrics, primary=None, num_images=num,
        num_failed=num_failed, weights={}, notes={}, code_version="1",
    )  # fmt: skip


def judged(candidate, against, half_width=0.01, failed=(0, 0), num=40):
    differences = {}
    for name in candidate.keys() & against.keys():
        if isinstance(candidate[name], float) and isinstance(against[name], float):
            mean = candidate[name] - against[name]
            differences[name] = Difference(
                lower_is_better=LOWER[name], mean=mean, low=mean - half_width, high=mean + half_width, num=num
            )
    return Judged(evaluation(candidate, failed[0], num=num), evaluation(against, failed[1], num=num), differences)


CONFIG = PromotionConfig(
    primary=Primary(metric="dists"),
    guards=(Guard(metric="lpips", tolerance=0.02), Guard(metric="psnr", tolerance=0.5)),
)
OLD = {"dists": 0.20, "lpips": 0.30, "psnr": 20.0}


def test_better_beyond_its_interval_and_nothing_falls_too_far():
    decision = decide(CONFIG, {"val": judged({"dists": 0.18, "lpips": 0.31, "psnr": 19.6}, OLD)}, is_first=False)
    assert decision.promoted
    assert [check.passed for check in decision.checks] == [True] * 4
    primary = decision.checks[0]
    assert (round(primary.improvement, 6), round(primary.low, 6), round(primary.high, 6)) == (0.02, 0.01, 0.03)
    assert round(decision.checks[2].improvement, 6) == -0.4


def test_every_way_to_be_refused_says_why():
    cases = [
        (judged({**OLD, "dists": 0.195}, OLD), "dists on val does not improve beyond its 95 % interval"),
        (judged({**OLD, "dists": 0.25}, OLD), "dists on val does not improve"),
        (judged({**OLD, "dists": 0.1, "lpips": 0.33}, OLD), "lpips on val falls by 0.03, beyond its tolerance 0.02"),
        (judged({**OLD, "dists": 0.1, "psnr": 19.0}, OLD), "psnr on val falls by 1, beyond its tolerance 0.5"),
        (judged({**OLD, "dists": "no weights"}, OLD), "dists on val cannot be judged: no weights"),
        (judged({"dists": 0.1, "psnr": 20.0}, OLD), "lpips on val cannot be judged: the metric is not computed"),
        (judged({**OLD, "dists": 0.1}, OLD, num=19), "dists on val cannot be judged: 19 pictures have a value of both"),
        (
            judged({**OLD, "dists": 0.1}, OLD, failed=(2, 1)),
            "failed pictures on val number 2 of 40, with the opponent 1",
        ),
    ]
    for pair, reason in cases:
        decision = decide(CONFIG, {"val": pair}, is_first=False)
        assert not decision.promoted
        assert decision.reason.startswith(reason), decision.reason
    elsewhere = PromotionConfig(primary=Primary(metric="musiq", benchmark="test"), guards=())
    assert "not configured" in decide(elsewhere, {"val": judged(OLD, OLD)}, is_first=False).reason


def test_a_first_model_must_beat_the_lq_pictures_unless_told_otherwise():
    worse = {"val": judged({**OLD, "dists": 0.3}, OLD)}
    assert not decide(CONFIG, worse, is_first=True).promoted
    always = CONFIG.model_copy(update={"first_model": "always"})
    assert decide(always, worse, is_first=True).promoted
    assert not decide(always, worse, is_first=False).promoted


value = st.floats(0, 1, allow_nan=False)


@given(candidate=value, against=value, half_width=st.floats(0.001, 0.5), metric=st.sampled_from(sorted(LOWER)))
def test_swapping_the_two_never_promotes_both_and_an_interval_over_zero_promotes_none(
    candidate, against, half_width, metric
):
    config = PromotionConfig(primary=Primary(metric=metric), guards=())
    there = decide(config, {"val": judged({metric: candidate}, {metric: against}, half_width)}, is_first=False)
    back = decide(config, {"val": judged({metric: against}, {metric: candidate}, half_width)}, is_first=False)
    assert not (there.promoted and back.promoted)
    assert (there.promoted or back.promoted) == (abs(candidate - against) > half_width)
    if there.promoted:
        assert (candidate < against) == LOWER[metric]
