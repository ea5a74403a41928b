"""The published table agrees with itself and with what a test set of that size can give."""

import pytest

from migstudy.report.published import COLUMNS, MODALITIES, TEST_CLIPS, UCLA_COLUMNS, load_published, load_published_ucla


def test_table_is_complete():
    table = load_published()
    assert tuple(table.columns) == COLUMNS and len(table) == 22
    assert table["method"].is_unique and table[["method", "modality", "year", "top1", "source"]].notna().all().all()
    assert set(table["modality"]) == set(MODALITIES)
    assert table["top1"].is_monotonic_decreasing
    assert (table["top5"].dropna() > table.loc[table["top5"].notna(), "top1"]).all()


def test_paper_a():
    row = load_published().set_index("method").filter(like="paper A", axis=0).iloc[0]
    assert (row["top1"], row["year"], row["modality"]) == (67.01, 2025, "skeleton")
    assert "2506.12848" in row["source"]


@pytest.mark.parametrize(("method", "correct"), [
    ("paper A", 3057), ("PoseC3D ensemble", 2925), ("Prototype", 3205), ("MM-Gesture", 3340), ("Self-supervised RGB", 3158),
    ("MAMP", 3202), ("XInsight", 3395),
])  # fmt: skip
def test_challenge_accuracies_are_counts_of_its_test_set(method, correct):
    """Some round, some cut: one unit of the last digit given."""
    row = load_published().set_index("method").filter(like=method, axis=0).iloc[0]
    assert row["protocol"] == "MiGA test"
    digits = len(str(row["top1"]).split(".")[1])
    assert abs(100 * correct / TEST_CLIPS["MiGA test"] - row["top1"]) < 10**-digits


def test_the_ladder_on_northwestern_ucla():
    table = load_published_ucla()
    assert tuple(table.columns) == UCLA_COLUMNS and table["top1"].is_monotonic_decreasing
    assert table[["method", "year", "top1", "source"]].notna().all().all() and table["source"].str.contains("arXiv:").all()
    assert table["top1"].between(70, 97).all() and table["method"].iloc[0] == "CTR-GCN"
    assert not table.duplicated(["method", "streams"]).any()
