"""Event files: what is written is read back, by a reader of our own and by TensorBoard's."""

import struct

import numpy as np
import pytest

import gputensor.torch as torch
from gputensor import keras
from gputensor.event_files import EventFile, _checksum


def fields(message):
    """Numbers and contents of the fields of a message, in order."""
    found, at = [], 0

    def varint():
        nonlocal at
        n = shift = 0
        while True:
            byte = message[at]
            at += 1
            n |= (byte & 0x7F) << shift
            if byte < 0x80:
                return n
            shift += 7

    while at < len(message):
        key = varint()
        kind = key & 7
        if kind == 0:
            found.append((key >> 3, varint()))
            continue
        size = {1: 8, 5: 4}.get(kind) or varint()
        found.append((key >> 3, message[at : at + size]))
        at += size
    return found


def scalars(folder):
    """Name, step and value of each number in the files of a folder."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        data = path.read_bytes()
        while data:
            (size,) = struct.unpack("<Q", data[:8])
            assert data[8:12] == _checksum(data[:8])
            message, end, data = (
                data[12 : 12 + size],
                data[12 + size : 16 + size],
                data[16 + size :],
            )
            assert end == _checksum(message)
            event = dict(fields(message))
            if 5 not in event:
                continue
            value = dict(fields(dict(fields(event[5]))[1]))
            if 2 in value:
                (number,) = struct.unpack("<f", value[2])
                found.append((value[1].decode(), event.get(2, 0), number))
    return found


def test_the_checksum_is_castagnolis():
    # RFC 3720, B.4: 32 bytes of zeros have 0x8a9136aa.
    crc = 0x8A9136AA
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    assert _checksum(bytes(32)) == struct.pack("<I", masked)


def test_numbers_come_back(tmp_path):
    events = EventFile(tmp_path / "run")
    values = [(300, 0.5), (0, -1.0), (2**40, 3.0)]
    for step, value in values:
        events.scalar("loss", value, step)
    events.close()
    assert scalars(tmp_path / "run") == [("loss", step, value) for step, value in values]


def fitted(callback, **options):
    model = keras.Sequential([keras.layers.Dense(1, input_shape=(2,))])
    model.compile(keras.optimizers.SGD(0.5), "mse", metrics=["mae"])
    x = np.ones((8, 2), "float32")
    return model.fit(
        x, x[:, :1], batch_size=4, epochs=3, callbacks=[callback], verbose=0, **options
    )


def test_measures_of_epochs_are_those_of_the_history(tmp_path):
    x = np.ones((4, 2), "float32")
    history = fitted(keras.callbacks.TensorBoard(tmp_path), validation_data=(x, x[:, :1])).history
    train, validation = scalars(tmp_path / "train"), scalars(tmp_path / "validation")
    for name in ("loss", "mae"):
        for part, key in ((train, name), (validation, f"val_{name}")):
            found = [(step, value) for tag, step, value in part if tag == f"epoch_{name}"]
            assert [step for step, _ in found] == [0, 1, 2]
            np.testing.assert_allclose([value for _, value in found], history[key], rtol=1e-6)
    assert [v for tag, _, v in train if tag == "epoch_learning_rate"] == [0.5] * 3
    assert not [tag for tag, _, _ in train if tag.startswith("batch_")]
    steps = [step for tag, step, _ in validation if tag == "evaluation_loss_vs_iterations"]
    assert steps == [2, 4, 6]


def test_measures_of_batches_are_written_as_often_as_wanted(tmp_path):
    fitted(keras.callbacks.TensorBoard(tmp_path, update_freq=2))
    train = scalars(tmp_path / "train")
    assert [step for tag, step, _ in train if tag == "batch_loss"] == [0, 2, 4]
    with pytest.raises(ValueError, match="update_freq"):
        keras.callbacks.TensorBoard(tmp_path, update_freq="step")
    with pytest.raises(ValueError, match="write_images"):
        keras.callbacks.TensorBoard(tmp_path, write_images=True)


def test_a_writer_of_pytorchs_has_figures_of_several_lines(tmp_path):
    with torch.utils.tensorboard.SummaryWriter(tmp_path) as writer:
        writer.add_scalar("loss", torch.tensor(0.25), 7)
        writer.add_scalars("both", {"a": 1.0, "b": 2}, 3)
    assert scalars(tmp_path) == [("loss", 7, 0.25)]
    assert scalars(tmp_path / "both_a") == [("both", 3, 1.0)]
    assert scalars(tmp_path / "both_b") == [("both", 3, 2.0)]


@pytest.mark.peers
def test_tensorboard_reads_histograms_images_and_texts(tmp_path):
    reading = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    pytest.importorskip("PIL")
    fitted(keras.callbacks.TensorBoard(tmp_path / "logs", histogram_freq=2))
    whole = {"histograms": 0}
    events = reading.EventAccumulator(str(tmp_path / "logs" / "train"), whole)
    events.Reload()
    weights = [tag for tag in events.Tags()["histograms"] if "kernel" in tag or "weight" in tag]
    assert len(weights) == 1
    assert [event.step for event in events.Histograms(weights[0])] == [0, 2]
    with torch.utils.tensorboard.SummaryWriter(tmp_path) as writer:
        writer.add_histogram("w", torch.arange(10.0), 2)
        writer.add_image("image", torch.zeros(3, 4, 5), 1)
        writer.add_text("words", "some *text*", 5)
        writer.add_scalar("loss", 0.5, 2)
    events = reading.EventAccumulator(str(tmp_path))
    events.Reload()
    (histogram,) = events.Histograms("w")
    assert histogram.histogram_value.num == 10
    assert sum(histogram.histogram_value.bucket) == 10
    (image,) = events.Images("image")
    assert (image.height, image.width, image.step) == (4, 5, 1)
    (text,) = events.Tensors("words/text_summary")
    assert list(text.tensor_proto.string_val) == [b"some *text*"]
    assert events.Scalars("loss")[0].value == 0.5
