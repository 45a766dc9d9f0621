from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from recsys.data.readers.request import Request
from recsys.data.synthetic import Synthetic, open_synthetic, write_synthetic
from recsys.errors import ConfigError
from tests.support.rows import plain

TRUTH = Synthetic(rows=5000, seed=3, cardinalities=(60, 20), bag_cardinalities=(10,))


def log_loss(label, probability):
    return -np.mean(np.where(label == 1, np.log(probability), np.log1p(-probability)))


@pytest.mark.parametrize(("start", "stop"), [(0, 10), (37, 38), (4000, 5000)])
def test_any_slice_of_the_rows_can_be_had(start, stop):
    rows, probability = TRUTH.generate(0, 5000)

    some, of_some = TRUTH.generate(start, stop)

    assert plain(some) == plain(rows.take(np.arange(start, stop)))
    assert of_some.tolist() == probability[start:stop].tolist()


def test_the_log_holds_the_generated_rows(tmp_path):
    log = write_synthetic(tmp_path / "log", TRUTH, valid=0.1, test=0.2)

    assert plain(log.rows) == plain(TRUTH.generate(0, 5000)[0])
    assert log.splits == {
        "train": range(3500),
        "valid": range(3500, 4000),
        "test": range(4000, 5000),
    }
    assert log.schema.group == "c0"
    assert [f.cardinality for f in log.schema.sparse] == [61, 21, 11]


def test_the_bayes_log_loss_is_the_mean_entropy_of_the_true_probabilities(tmp_path):
    log = write_synthetic(tmp_path / "log", TRUTH)

    _, p = TRUTH.generate(0, 5000)
    entropy = [-(q * np.log(q) + (1 - q) * np.log(1 - q)) for q in p.tolist()]
    assert log.meta["bayes_log_loss"] == pytest.approx(np.mean(entropy), rel=1e-12)


def test_labels_are_draws_with_the_true_probabilities():
    rows, p = Synthetic(rows=40_000, seed=1).generate(0, 40_000)

    deviation = (rows.label - p).sum() / np.sqrt((p * (1 - p)).sum())
    assert abs(deviation) < 4
    by_decile = np.array_split(np.argsort(p), 10)
    for part in by_decile:
        spread = np.sqrt((p[part] * (1 - p[part])).sum())
        assert abs((rows.label[part] - p[part]).sum()) < 4 * spread


def test_the_truth_scores_its_bayes_log_loss_and_a_linear_model_falls_short():
    truth = Synthetic(rows=20_000, seed=2, cardinalities=(30, 20), bag_cardinalities=(10,))
    rows, p = truth.generate(0, 20_000)
    one_hot = [np.eye(size)[ids] for size, ids in zip((31, 21), rows.ids.T, strict=True)]
    bag = rows.bags["b0"]
    counts = sparse.csr_matrix((np.ones(len(bag.values)), bag.values, bag.offsets)).toarray()
    inputs = np.hstack([rows.dense, *one_hot, counts / counts.sum(1, keepdims=True)])

    linear = LogisticRegression(C=10, max_iter=500).fit(inputs, rows.label)

    of_truth = log_loss(rows.label, p)
    of_linear = log_loss(rows.label, linear.predict_proba(inputs)[:, 1])
    assert of_truth == pytest.approx(truth.bayes_log_loss(0, 20_000), abs=0.015)
    assert of_linear > of_truth + 0.02


def test_ids_follow_zipfs_law():
    truth = Synthetic(rows=60_000, cardinalities=(100,), bag_cardinalities=(), zipf=1.0)

    ids = truth.generate(0, 60_000)[0].ids[:, 0]

    counts = np.bincount(ids, minlength=101)[1:]
    expected = 60_000 / np.arange(1, 101) / (1 / np.arange(1, 101)).sum()
    chi_squared = ((counts - expected) ** 2 / expected).sum()
    assert chi_squared < 149  # 99 degrees of freedom: exceeded once in a thousand


def test_bags_hold_from_1_to_the_longest():
    lengths = np.diff(TRUTH.generate(0, 5000)[0].bags["b0"].offsets)

    assert np.bincount(lengths).tolist()[0] == 0
    assert np.all(np.bincount(lengths)[1:] > 1000)
    assert lengths.max() == 4


def test_the_rows_are_the_same_on_every_platform():
    rows, probability = Synthetic(seed=7).generate(100, 102)

    assert rows.ids.tolist() == [[2, 87, 1, 1], [4, 2, 1, 3]]
    assert probability.tolist() == pytest.approx([0.052308585005, 0.606922283641], rel=1e-9)


def test_seeds_make_other_truths():
    first, second = (Synthetic(seed=seed).generate(0, 100)[1] for seed in (0, 1))

    assert not np.allclose(first, second)


@pytest.mark.parametrize("asked", [{"rows": 0}, {"rows": -5}, {"seed": -1}, {"seed": 2**64}])
def test_impossible_wishes_are_refused(asked):
    with pytest.raises(ConfigError, match="expected at least 1 row, a seed from 0 on"):
        open_synthetic(Request(**asked))
