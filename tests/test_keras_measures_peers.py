"""Losses, metrics, activations and regularizers beside real Keras, over several batches."""

import os

import numpy as np
import pytest

import gputensor as gt
from gputensor import keras

os.environ.setdefault("KERAS_BACKEND", "torch")
torch = pytest.importorskip("torch")
theirs = pytest.importorskip("keras")
if theirs.backend.backend() != "torch":
    pytest.skip("Keras does not run on PyTorch here", allow_module_level=True)
pytestmark = pytest.mark.peers

RNG = np.random.default_rng(4)
N, CLASSES = 40, 4
P = RNG.dirichlet(np.ones(CLASSES), N).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, N)
ROWS = np.eye(CLASSES, dtype=np.float32)[LABELS]
MANY = (RNG.random((N, CLASSES)) < 0.4).astype(np.float32)  # several labels each
YES, SCORES = (RNG.random(N) < 0.4).astype(np.float32), RNG.random(N).astype(np.float32)
NUMBERS = RNG.standard_normal((2, N, 3)).astype(np.float32)
WEIGHTS = RNG.random(N).astype(np.float32)
UNIT = P / np.linalg.norm(P, axis=1, keepdims=True)

METRICS = [
    ("MeanIoU", {"num_classes": CLASSES}, LABELS, RNG.integers(0, CLASSES, N)),
    ("MeanIoU", {"num_classes": CLASSES, "sparse_y_pred": False, "ignore_class": 1}, LABELS, P),
    ("IoU", {"num_classes": CLASSES, "target_class_ids": [0, 2]}, LABELS, LABELS[::-1].copy()),
    ("BinaryIoU", {"target_class_ids": [1], "threshold": 0.3}, YES, SCORES),
    ("OneHotIoU", {"num_classes": CLASSES, "target_class_ids": [1, 3]}, ROWS, P),
    ("OneHotMeanIoU", {"num_classes": CLASSES}, ROWS, P),
    ("FBetaScore", {"beta": 2.0, "average": "macro"}, MANY, P),
    ("FBetaScore", {"beta": 0.5, "threshold": 0.3}, MANY, P),
    ("F1Score", {"average": "weighted"}, ROWS, P),
    ("R2Score", {"class_aggregation": None}, *NUMBERS),
    ("R2Score", {"class_aggregation": "variance_weighted_average"}, *NUMBERS),
    ("R2Score", {"num_regressors": 5}, *NUMBERS),
    ("PearsonCorrelation", {}, *NUMBERS),
    ("ConcordanceCorrelation", {"axis": -1}, *NUMBERS),
    ("PrecisionAtRecall", {"recall": 0.6}, YES, SCORES),
    ("RecallAtPrecision", {"precision": 0.45, "num_thresholds": 20}, YES, SCORES),
    ("SensitivityAtSpecificity", {"specificity": 0.5}, YES, SCORES),
    ("SpecificityAtSensitivity", {"sensitivity": 0.5, "num_thresholds": 1}, YES, SCORES),
    ("Precision", {"top_k": 2}, MANY, P),
    ("Recall", {"top_k": 2, "class_id": 1}, MANY, P),
    ("Precision", {"thresholds": [0.2, 0.5]}, YES, SCORES),
    ("AUC", {"summation_method": "minoring"}, YES, SCORES),
    ("AUC", {"summation_method": "majoring", "curve": "PR"}, YES, SCORES),
    ("AUC", {"thresholds": [0.1, 0.4, 0.8]}, YES, SCORES),
    ("AUC", {"multi_label": True, "num_labels": CLASSES}, MANY, P),
    ("AUC", {"multi_label": True, "label_weights": [0.1, 0.4, 0.3, 0.2], "curve": "PR"}, MANY, P),
    ("AUC", {"label_weights": [0.1, 0.4, 0.3, 0.2]}, MANY, P),
    ("TruePositives", {"thresholds": 0.3}, YES, SCORES),
]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("name", "options", "y", "p"), METRICS)
def test_a_metric_over_batches_is_keras(name, options, y, p, weighted):
    results = []
    # Keras's tables of overlap count whole numbers by default, so that weights are cut off.
    kind = {"dtype": "float32"} if "IoU" in name else {}
    for door in (theirs, keras):
        metric = getattr(door.metrics, name)(**options, **kind)
        metric.update_state(y[:5], p[:5])
        metric.reset_state()
        for part in (slice(0, 25), slice(25, N)):
            extra = {"sample_weight": WEIGHTS[part]} if weighted else {}
            metric.update_state(y[part], p[part], **extra)
        results.append(np.asarray(door.ops.convert_to_numpy(metric.result()), np.float64))
    np.testing.assert_allclose(results[1], results[0], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted({case[0] for case in METRICS}))
def test_a_metric_is_made_again_of_its_settings(name):
    options = next(case[1] for case in METRICS if case[0] == name)
    metric = getattr(keras.metrics, name)(**options)
    label, again = keras.metrics.deserialize(keras.metrics.serialize(metric))
    assert type(again) is type(metric)
    assert label == metric.name
    for key, value in options.items():
        np.testing.assert_array_equal(getattr(again, key), value)


LOSSES = [
    ("Dice", {}, ROWS, P),
    ("Dice", {"axis": (1,)}, ROWS, P),
    ("Tversky", {"alpha": 0.3, "beta": 0.7}, ROWS, P),
    ("Tversky", {"axis": -1}, ROWS, P),
    ("Circle", {}, LABELS, UNIT),
    ("Circle", {"gamma": 10.0, "margin": 0.2, "remove_diagonal": False}, LABELS, UNIT),
    ("CategoricalFocalCrossentropy", {}, ROWS, P),
    ("CategoricalFocalCrossentropy", {"alpha": 0.5, "gamma": 1.0, "label_smoothing": 0.1}, ROWS, P),
    ("CategoricalFocalCrossentropy", {"from_logits": True}, ROWS, np.log(P) * 3),
    ("CategoricalGeneralizedCrossEntropy", {"q": 0.3}, LABELS, P),
]


@pytest.mark.parametrize(("name", "options", "y", "p"), LOSSES)
def test_a_loss_and_its_gradient_are_keras(name, options, y, p):
    loss = getattr(theirs.losses, name)(**options)
    there = torch.tensor(p, requires_grad=True)
    expected = loss(y, there)
    expected.backward()
    here = gt.tensor(p, requires_grad=True)
    mine = getattr(keras.losses, name)(**options)
    found = mine(y, here)
    found.backward()
    np.testing.assert_allclose(found.item(), expected.item(), rtol=2e-5)
    np.testing.assert_allclose(here.grad.numpy(), there.grad.numpy(), rtol=2e-3, atol=1e-6)
    assert type(keras.losses.deserialize(keras.losses.serialize(mine))) is type(mine)


ACTIVATIONS = [
    *((name, {}) for name in ("hard_shrink", "soft_shrink", "squareplus", "sparse_plus")),
    ("sparse_sigmoid", {}),
    ("squareplus", {"b": 1.0}),
    ("hard_shrink", {"threshold": 1.0}),
    ("threshold", {"threshold": 0.2, "default_value": -1.0}),
]


@pytest.mark.parametrize(("name", "options"), ACTIVATIONS)
def test_an_activation_and_its_gradient_are_keras(name, options):
    x = NUMBERS[0] * 2
    there = torch.tensor(x, requires_grad=True)
    expected = getattr(theirs.activations, name)(there, **options)
    here = gt.tensor(x, requires_grad=True)
    found = getattr(keras.activations, name)(here, **options)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), atol=1e-6)
    g = RNG.standard_normal(x.shape).astype(np.float32)
    expected.backward(torch.tensor(g))
    found.backward(gt.asarray(g))
    np.testing.assert_allclose(here.grad.numpy(), there.grad.numpy(), atol=1e-5)


@pytest.mark.parametrize("axis", [-1, 0])
def test_sparsemax_is_the_nearest_point_of_the_simplex(axis):
    # Keras's own adds up cumulative sums, and its results do not have the sum 1.
    x = np.moveaxis(NUMBERS[0] * 2, axis, -1)
    tensor = gt.tensor(NUMBERS[0] * 2, requires_grad=True)
    found = keras.activations.sparsemax(tensor, axis)
    mine = np.moveaxis(found.detach().numpy(), axis, -1)
    np.testing.assert_allclose(mine.sum(axis=-1), 1, rtol=1e-5)
    level = (x - mine).max(axis=-1, where=mine > 0, initial=-np.inf, keepdims=True)
    np.testing.assert_allclose(mine, np.maximum(x - level, 0), atol=1e-5)
    double = gt.tensor(NUMBERS[0, :5].astype(float), requires_grad=True)
    assert gt.gradcheck(lambda t: keras.activations.sparsemax(t, axis), double)


@pytest.mark.parametrize("mode", ["rows", "columns"])
def test_the_penalty_of_rows_that_are_not_orthogonal_is_keras(mode):
    found = keras.regularizers.OrthogonalRegularizer(0.1, mode)(gt.asarray(NUMBERS[0])).item()
    true = theirs.regularizers.OrthogonalRegularizer(0.1, mode)(torch.tensor(NUMBERS[0])).item()
    assert found == pytest.approx(true, rel=1e-5)


def test_a_scale_of_losses_changes_no_step():
    ends = []
    for factor in (None, 8.0):
        for door in (theirs, keras):
            m = door.Sequential([door.layers.Dense(1)])
            m(NUMBERS[0][:1])
            m.set_weights([np.ones((3, 1), np.float32), np.zeros(1, np.float32)])
            m.compile(door.optimizers.SGD(0.1, loss_scale_factor=factor), "mse")
            m.fit(NUMBERS[0], NUMBERS[1][:, :1], epochs=2, shuffle=False, verbose=0)
            ends.append(m.get_weights()[0])
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=1e-5)


def test_a_model_without_a_loss_learns_by_what_its_layers_add():
    def make(door):
        class Whole(door.layers.Layer):
            def call(self, x):
                self.add_loss(door.ops.mean(door.ops.square(x - 1.0)))
                return x

        return door.Sequential([door.layers.Dense(3), Whole()])

    ends = []
    for door in (theirs, keras):
        m = make(door)
        m(NUMBERS[0][:1])
        m.set_weights([np.eye(3, dtype=np.float32), np.zeros(3, np.float32)])
        m.compile(optimizer="sgd")
        history = m.fit(NUMBERS[0], epochs=3, shuffle=False, verbose=0, batch_size=8)
        value = m.evaluate(NUMBERS[0], verbose=0, batch_size=8)
        ends.append((history.history["loss"], m.get_weights()[0], value))
    for mine, true in zip(ends[1], ends[0], strict=True):
        np.testing.assert_allclose(mine, true, rtol=1e-5)


def test_a_model_that_has_no_loss_at_all_says_so():
    m = keras.Sequential([keras.layers.Dense(3)])
    m.compile("sgd")
    with pytest.raises(gt.errors.GraphError, match="has no loss"):
        m.fit(NUMBERS[0], verbose=0)


def test_a_loss_that_is_nan_may_be_an_error():
    m = keras.Sequential([keras.layers.Dense(3)])
    m.compile("sgd", "mse")
    x = np.full((8, 3), np.nan, np.float32)
    with pytest.raises(RuntimeError, match="NaN or infinite"):
        m.fit(x, x, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN(raise_error=True)])


def test_metrics_of_one_name_are_told_apart_as_in_keras():
    x = RNG.standard_normal((40, 3)).astype(np.float32)
    found = []
    for k in (keras, theirs):
        model = k.Sequential([k.layers.Input((3,)), k.layers.Dense(1, activation="sigmoid")])
        model.set_weights([np.float32([[0.5], [1.0], [-1.0]]), np.zeros(1, np.float32)])
        kinds = [k.metrics.AUC(name="a"), k.metrics.AUC(name="a", curve="PR"), "mae", "mae"]
        model.compile("sgd", "mse", metrics=kinds, weighted_metrics=["mae", "mae"])
        values = model.evaluate(x, YES, sample_weight=WEIGHTS, verbose=0, return_dict=True)
        found.append(values)
    assert sorted(found[0]) == sorted(found[1])
    for name, value in found[1].items():
        np.testing.assert_allclose(found[0][name], value, rtol=1e-4, err_msg=name)


@pytest.mark.parametrize("last", [None, "softmax"])
@pytest.mark.parametrize("weighted", [False, True])
def test_padding_counts_neither_in_loss_nor_in_metrics(last, weighted):
    words = RNG.integers(1, 10, (12, 5)) * (np.arange(5) < RNG.integers(1, 6, (12, 1)))
    y = RNG.integers(0, 3, (12, 5)) if last else RNG.random((12, 5, 3)).astype(np.float32)
    found = []
    for k in (keras, theirs):
        at = k.layers
        parts = [at.Input((5,)), at.Embedding(10, 4, mask_zero=True)]
        parts += [at.LSTM(3, return_sequences=True), at.Dense(3, activation=last)]
        model = k.Sequential(parts)
        loss, kinds = (
            ("sparse_categorical_crossentropy", ["accuracy"]) if last else ("mse", ["mae"])
        )
        model.compile(k.optimizers.SGD(0.1), loss, metrics=kinds, weighted_metrics=kinds)
        if found:
            model.set_weights(found[0].get_weights())
        found.append(model)
    # Keras on PyTorch multiplies weights by the mask's in place, for the metrics of a batch too.
    size = 12 if weighted else 4
    options = {"sample_weight": np.tile(WEIGHTS[:12, None], 5)} if weighted else {}
    for _ in range(2):
        values = [
            m.evaluate(words, y, batch_size=size, verbose=0, return_dict=True, **options)
            for m in found
        ]
        assert values[0].keys() == values[1].keys()
        for name, value in values[1].items():
            np.testing.assert_allclose(values[0][name], value, rtol=1e-4, err_msg=name)
        for m in found:
            m.fit(words, y, batch_size=size, shuffle=False, verbose=0, **options)
