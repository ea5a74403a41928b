import numpy as np
import pandas as pd
import pytest

from migstudy.comparison import compare, run_confusions
from migstudy.metrics import confusion_matrix, macro_f1
from migstudy.scores import get_probabilities, make_scores
from migstudy.statistics import mcnemar

RIGHT = {"strong": 0.8, "weak": 0.5}


def runs(kind, seeds, subjects=12, clips=15, classes=5):
    """Score tables of several runs on the same labelled clips, each in its own row order."""
    rng = np.random.default_rng(0)
    n = subjects * clips
    labels = rng.integers(0, classes, n)
    index = pd.DataFrame({"clip_id": [f"{i:04d}_0" for i in range(n)], "video": "0001", "split": "val", "label": labels})
    index["subject"] = np.repeat([f"s{i:02d}" for i in range(subjects)], clips)
    tables = []
    for seed in seeds:
        rng = np.random.default_rng([seed, len(kind)])
        answers = np.where(rng.random(n) < RIGHT[kind], labels, rng.integers(0, classes, n))
        table = make_scores(index, 0.6 * np.eye(classes)[answers] + 0.4 / classes)
        tables.append(table.sample(frac=1, random_state=seed))
    return tables


def test_a_real_effect_is_found_with_its_size():
    strong, weak = runs("strong", range(3)), runs("weak", range(3))
    result = compare(strong, weak)
    by_hand = [macro_f1(confusion_matrix(t["label"], get_probabilities(t).argmax(1), 5)) for t in strong + weak]
    assert np.isclose(result.effect.value, np.mean(by_hand[:3]) - np.mean(by_hand[3:]))
    assert 0 < result.effect.low < result.effect.value < result.effect.high
    assert result.swap.p_value < 0.01 and result.mcnemar is None
    assert (result.n_clips, result.n_clusters, result.cluster) == (180, 12, "subject")


def test_the_other_way_round_is_the_mirror_image():
    strong, weak = runs("strong", range(2)), runs("weak", range(2))
    there, back = compare(strong, weak, paired_seeds=True), compare(weak, strong, paired_seeds=True)
    assert np.isclose(there.effect.value, -back.effect.value) and there.swap.p_value == back.swap.p_value
    assert np.allclose((there.effect.low, there.effect.high), (-back.effect.high, -back.effect.low))


def test_no_effect_is_not_found():
    result = compare(runs("weak", range(4)), runs("weak", range(4, 8)))
    assert result.effect.low < 0 < result.effect.high and result.swap.p_value > 0.05


def test_one_run_each_also_gives_mcnemar_and_uneven_runs_no_swap_test():
    strong, weak = runs("strong", [0]), runs("weak", [0])
    result = compare(strong, weak, metric="top1")
    right = [t.set_index("clip_id").sort_index() for t in (strong[0], weak[0])]
    right = [t.filter(regex=r"p\d+").to_numpy().argmax(1) == t["label"].to_numpy() for t in right]
    assert result.mcnemar == mcnemar(*right, mid_p=True) and result.mcnemar.statistic > 0
    uneven = compare(runs("strong", range(3)), weak)
    assert uneven.swap is None and uneven.mcnemar is None and uneven.effect.low > 0


def test_rows_are_matched_by_clip_id():
    first, second = runs("strong", [0, 1])
    shuffled = [first.sample(frac=1, random_state=9), second]
    assert np.array_equal(run_confusions([first, second])[0], run_confusions(shuffled)[0])


def test_clear_errors():
    (table,) = runs("weak", [0])
    with pytest.raises(ValueError, match="at least one score table"):
        compare([], [table])
    with pytest.raises(ValueError, match="different clips"):
        compare([table], [table.iloc[1:]])
    with pytest.raises(ValueError, match="have no label"):
        compare([table.assign(label=-1)], [table.assign(label=-1)])
