"""Pictures have titles, names on their axes, and show the numbers that they are of."""

import xml.etree.ElementTree as ET

import numpy as np
import pytest

import gputensor as gt
from gputensor.errors import ShapeError
from gputensor.keras.layers import Dense
from gputensor.keras.models import Sequential

pytest.importorskip("matplotlib")
RNG = np.random.default_rng(0)


def model():
    net = Sequential([Dense(8, activation="relu", input_shape=(4,)), Dense(3, "softmax")])
    net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return net


def checked(figure, folder, name):
    """Every axes with data names its axes; the file is a picture with more than one colour."""
    from matplotlib.image import imread

    for axes in figure.axes:
        if axes.axison and axes.get_label() != "<colorbar>":
            assert axes.get_title() or figure.get_suptitle()
            assert axes.get_xlabel() or axes is not figure.axes[-1]
            assert axes.get_ylabel()
    file = folder / f"{name}.png"
    figure.savefig(file, dpi=80)
    assert len(np.unique(imread(file)[..., 0])) > 3
    return figure


def test_curves_show_training_and_validation(tmp_path):
    x, y = RNG.normal(size=(64, 4)).astype("f"), RNG.integers(0, 3, 64)
    history = model().fit(x, y, epochs=4, validation_data=(x, y), validation_freq=2, verbose=0)
    figure = checked(gt.plot.curves(history), tmp_path, "curves")
    axes = {a.get_title(): a for a in figure.axes}
    assert axes.keys() == {"accuracy", "loss"}
    training, validation = axes["loss"].lines
    assert training.get_ydata().tolist() == history.history["loss"]
    assert validation.get_xdata().tolist() == [2, 4]
    assert [t.get_text() for t in axes["loss"].get_legend().get_texts()] == [
        "training",
        "validation",
    ]
    assert gt.plot.curves({"loss": [1.0]}).axes[0].get_legend() is None
    assert list(gt.plot.curves({"loss": [1.0]}).axes[0].get_xticks()) == [1]
    many = checked(gt.plot.curves({f"m{i}": [1.0] * 60 for i in range(4)}), tmp_path, "many")
    assert [a.get_title() for a in many.axes] == ["m0", "m1", "m2", "m3"]
    assert many.get_size_inches()[0] < 15
    assert many.axes[0].lines[0].get_markersize() == 0
    assert figure._repr_png_().startswith(b"\x89PNG")  # which a notebook asks for
    with pytest.raises(ValueError, match="there are loss"):
        gt.plot.curves({"loss": [1.0]}, ["acuracy"])


def test_the_confusion_matrix_counts(tmp_path):
    labels = gt.tensor([0, 0, 1, 2, 2, 2])
    guesses = np.array([0, 1, 1, 2, 0, 2])
    figure = checked(gt.plot.confusion(labels, guesses, ["a", "b", "c"]), tmp_path, "confusion")
    axes = figure.axes[0]
    assert axes.get_title() == "Confusion matrix: 4 of 6 right"
    written = {(t.get_position()[1], t.get_position()[0]): t.get_text() for t in axes.texts}
    assert written == {(0, 0): "1", (0, 1): "1", (1, 1): "1", (2, 2): "2", (2, 0): "1"}
    one = gt.plot.confusion(labels, np.eye(3)[guesses]).axes[0]
    assert one.get_title() == axes.get_title()
    with pytest.raises(ShapeError, match="one of each for a sample"):
        gt.plot.confusion([0, 1], [0])


def test_wrong_samples_say_that_they_were_chosen(tmp_path):
    images, labels = RNG.random((50, 8, 8)), np.arange(50) % 10
    guesses = labels.copy()
    guesses[[3, 7, 20]] = 0
    figure = checked(gt.plot.wrong(images, labels, guesses), tmp_path, "wrong")
    said = "The 2 wrong predictions of 50, chosen because they are wrong: predicted (true)"
    assert figure.get_suptitle() == said
    assert [a.get_title() for a in figure.axes if a.get_title()] == ["0 (3)", "0 (7)"]
    many = gt.plot.wrong(images, labels, labels * 0, most=8)
    assert many.get_suptitle().startswith("The first 8 of 45 wrong predictions of 50, chosen")
    assert gt.plot.wrong(images, labels, labels).get_suptitle() == "No wrong prediction of 50"
    with pytest.raises(ShapeError, match="images has shape"):
        gt.plot.wrong(images.reshape(50, 64), labels, labels)


def test_histograms_over_training(tmp_path):
    net = gt.nn.Sequential(gt.nn.Dense(4, 8, "relu"), gt.nn.Dense(8, 3))
    optimizer = gt.optim.SGD(net.parameters(), lr=0.5)
    weights, gradients = [], []
    for _ in range(5):
        optimizer.zero_grad()
        (net(gt.asarray(RNG.normal(size=(32, 4)).astype("f"))) ** 2).mean().backward()
        weights.append(gt.plot.snapshot(net))
        gradients.append(gt.plot.snapshot(net, gradients=True))
        optimizer.step()
    assert weights[0].keys() == gradients[0].keys() == dict(net.named_parameters()).keys()
    assert not np.array_equal(weights[0]["0.weight"], weights[-1]["0.weight"])
    figure = checked(gt.plot.histograms(weights), tmp_path, "weights")
    checked(gt.plot.histograms(gradients, "gradients"), tmp_path, "gradients")
    assert figure.axes[0].get_title() == "0.weight"
    bad = gt.plot.histograms([{"w": np.array([1.0, np.nan])}])
    assert bad.axes[0].get_title() == "w (1 not finite)"


def test_the_boundary_of_a_classifier(tmp_path):
    points, labels = RNG.normal(size=(60, 2)), RNG.integers(0, 2, 60)
    figure = gt.plot.boundary(lambda p: gt.sigmoid(p[:, 0] * 3), gt.asarray(points), labels)
    checked(figure, tmp_path, "boundary")
    assert len(figure.axes[0].get_legend().get_texts()) == 2
    three = gt.plot.boundary(lambda p: p @ RNG.normal(size=(2, 3)), points, labels)
    checked(three, tmp_path, "boundary3")
    given = gt.plot.boundary(lambda p: (p[:, 0] > 0) + 2 * (p[:, 1] > 0), points, labels)
    assert given.axes[0].get_title() == "Class that is given"
    assert len(given.axes) == 1  # no scale of probabilities
    with pytest.raises(ShapeError, match="points has shape"):
        gt.plot.boundary(len, points[:, :1], labels)


def test_layers_and_their_results(tmp_path):
    net = model()
    net.layers[0].trainable = False
    figure = checked(gt.plot.layers(net), tmp_path, "layers")
    assert figure.axes[0].get_title() == "Sequential: 67 parameters"
    assert [t.get_text() for t in figure.axes[0].get_legend().get_texts()] == ["trained", "frozen"]
    net = gt.nn.Sequential(gt.nn.Dense(4, 8, "relu"), gt.nn.Dense(8, 3))
    figure = checked(
        gt.plot.activations(net, RNG.normal(size=(99, 4)).astype("f")), tmp_path, "act"
    )
    assert "zeros" in figure.axes[0].get_title()
    with pytest.raises(TypeError, match="give the results by name"):
        gt.plot.activations(gt.nn.Dense(2, 2), gt.ones((2, 2)))


def test_the_landscape_leaves_the_parameters_alone(tmp_path):
    w = gt.tensor([3.0, 4.0], requires_grad=True)
    seen = []

    def loss():
        seen.append(w.detach().numpy().copy())
        return (w * w).sum()

    checked(gt.plot.landscape(loss, [w], radius=0.5, steps=9), tmp_path, "landscape")
    assert w.tolist() == [3, 4]
    assert len(seen) == 81
    np.testing.assert_allclose(seen[40], [3, 4])
    far = [np.linalg.norm(s - [3, 4]) for s in (seen[4], seen[36])]
    np.testing.assert_allclose(far, 2.5, rtol=1e-5)  # half of the parameters' length, 5


def test_the_roofline_names_the_share(tmp_path):
    kernels = {"add": (1e6, 12e6, 1e-3), "matmul": (2e9, 12e6, 4e-2)}
    figure = checked(gt.plot.roofline(kernels, 1e11, 2e10, "a machine"), tmp_path, "roofline")
    texts = [t.get_text() for t in figure.axes[0].get_legend().get_texts()]
    assert texts[1:] == ["add: 60% of it", "matmul: 50% of it"]


def boxes(drawing):
    svg = "{http://www.w3.org/2000/svg}"
    root = ET.fromstring(drawing)
    found = []
    for group in root.iter(f"{svg}g"):
        rect = group.find(f"{svg}rect")
        found.append(([t.text for t in group.iter(f"{svg}text")], rect))
    width, height = float(root.get("width")), float(root.get("height"))
    places = [tuple(float(r.get(k)) for k in ("x", "y", "width", "height")) for _, r in found]
    for x, y, w, h in places:
        assert min(x, y, width - x - w, height - y - h) >= 0
    for i, (x, y, w, h) in enumerate(places):
        for x2, y2, w2, h2 in places[:i]:
            assert x + w <= x2 or x2 + w2 <= x or y + h <= y2 or y2 + h2 <= y
    return [texts for texts, _ in found]


def test_the_tape_as_a_drawing(tmp_path):
    w = gt.tensor([[1.0, 2.0]], requires_grad=True)
    b = gt.tensor([1.0], requires_grad=True)
    hidden = gt.tanh(gt.ones((3, 1)) @ w + b)
    loss = (hidden * hidden).sum()
    drawing = gt.plot.tape(loss)
    names = [head for head, _ in boxes(drawing)]
    assert sorted(names) == ["add", "matmul", "multiply", "parameter", "parameter", "sum", "tanh"]
    assert "hidden = gt.tanh" in drawing
    drawing.save(tmp_path / "tape.svg")
    assert (tmp_path / "tape.svg").read_text() == drawing == drawing._repr_svg_()
    with pytest.raises(ValueError, match="there is no tape of it"):
        gt.plot.tape(gt.ones(2))
    for _ in range(201):
        b = b + 1
    with pytest.raises(ValueError, match="more than 200"):
        gt.plot.tape(b)


def test_a_captured_program_as_a_drawing():
    def f(x, w):
        return gt.exp(-x @ w).sum(axis=0)

    explained = gt.explain(f)(gt.ones((4, 3)), gt.ones((3, 2)))
    found = boxes(gt.plot.program(explained))
    assert len(found) == len(explained.parts)
    assert all(" in, " in text for _, text in found)
    with pytest.raises(ValueError, match="is not captured"):
        gt.plot.program(gt.explain(lambda x: x.sum().item() + x)(gt.ones(3)))


@pytest.mark.parametrize(
    ("draw", "text"),
    [
        (lambda: gt.plot.curves(None), "history is None; give what fit returns"),
        (lambda: gt.plot.histograms(gt.nn.Dense(2, 1)), "a list of dicts"),
        (lambda: gt.plot.histograms({"w": np.ones(3)}), "a list of dicts"),
        (lambda: gt.plot.confusion(np.eye(3), np.eye(3)), r"one_hot.argmax"),
        (lambda: gt.plot.confusion(["a", "b"], [0, 1]), "must be class numbers"),
        (lambda: gt.plot.confusion([0, 2], [0, 1], ["a", "b"]), "2 names, there are 3 classes"),
        (lambda: gt.plot.program(gt.capture(lambda x: x)), "give gt.explain"),
        (lambda: gt.plot.tape([1.0]), "there is no tape of it"),
        (lambda: gt.plot.boundary(lambda p: 1.0, np.eye(2), [0, 1]), "classify gave shape"),
        (lambda: gt.plot.boundary(lambda p: 3 * p[:, 0], np.eye(2), [0, 1]), "such as gt.sigmoid"),
    ],
)
def test_what_cannot_be_drawn_is_told(draw, text):
    with pytest.raises((TypeError, ValueError), match=text):
        draw()


def test_a_measure_may_be_named_alone():
    history = {"loss": [1.0, 0.5], "acc": [0.1, 0.2]}
    assert len(gt.plot.curves(history, "acc").axes) == 1
    assert gt.plot.curves({"val_loss": [1.0]}).axes[0].get_title() == "val_loss"
