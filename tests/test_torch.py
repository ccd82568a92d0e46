"""The door with PyTorch's names: what scripts rely on, without PyTorch."""

import importlib
import io
import json

import numpy as np
import pytest

import gputensor as gt
import gputensor.torch as torch
import gputensor.torch.nn as nn
import gputensor.torch.nn.functional as F
import gputensor.torchvision.transforms as transforms
from gputensor import keras
from gputensor.torch.nn import init
from gputensor.torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
    random_split,
)
from gputensor.torchvision import datasets
from gputensor.torchvision.utils import make_grid

RNG = np.random.default_rng(3)


def _module(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))


def _host(x):
    return x.detach().to("cpu").numpy() if isinstance(x, gt.Tensor) else x


# ---------------------------------------------------------------- tensors


def test_a_tensor_of_the_door_is_one_of_the_engine_in_the_same_memory():
    x = torch.ones(2, 3)
    assert isinstance(x, gt.Tensor)
    y = gt.exp(x)
    assert type(y) is gt.Tensor
    assert type(x + y) is torch.Tensor
    assert type(y + x) is torch.Tensor
    array = np.zeros(3, np.float32)
    torch.from_numpy(array).add_(1)
    np.testing.assert_array_equal(array, 1)


def test_results_of_tensors_of_the_main_namespace_leave_these_as_they_are():
    x = gt.ones((2, 2))
    assert type(torch.relu(x)) is torch.Tensor
    assert type(torch.as_tensor(x)) is torch.Tensor
    assert type(x) is gt.Tensor
    with pytest.raises(TypeError):
        x.size()


def test_each_operation_takes_tensors_of_the_door_as_its_own():
    """Methods have other meanings in the door; the engine must not rely on them."""
    a = RNG.uniform(0.2, 0.8, (4, 4)).astype(np.float32)
    functions = [
        *(gt.abs, gt.exp, gt.log, gt.sum, gt.mean, gt.var, gt.std, gt.max, gt.min, gt.argmax),
        *(gt.sort, gt.argsort, gt.cumsum, gt.softmax, gt.logsumexp, gt.flatten, gt.transpose),
        *(gt.matrix_transpose, gt.tril, gt.diag, gt.trace, gt.median, gt.unique_values),
        *(gt.linalg.det, gt.linalg.inv, gt.linalg.svd, gt.linalg.eigh, gt.linalg.vector_norm),
        *(gt.linalg.matrix_norm, gt.fft.rfft, gt.count_nonzero, gt.nonzero, gt.diff, gt.flip),
        lambda x: gt.meshgrid(x[0], x[1]),
        lambda x: gt.topk(x, 2),
        lambda x: gt.quantile(x, 0.3),
        lambda x: gt.einsum("ij,kj->ik", x, x),
        lambda x: gt.tensordot(x, x, axes=1),
        lambda x: gt.take_along_axis(x, gt.argsort(x, axis=1), axis=1),
        lambda x: gt.pad(x, 1),
        lambda x: gt.repeat(x, 2, axis=0),
        lambda x: gt.nn.functional.layer_norm(x, x[0], x[1]),
        lambda x: gt.nn.functional.cross_entropy(x, gt.asarray([0, 1, 2, 3])),
        lambda x: gt.nn.functional.gelu(x),
        lambda x: gt.interp(x, x[0], x[1]),
        lambda x: gt.jacobian(lambda v: gt.sum(v * v, axis=0))(x),
    ]
    for function in functions:
        wanted = function(gt.tensor(a))
        found = function(torch.tensor(a))
        for f, w in zip(
            *(r if isinstance(r, (tuple, list)) else [r] for r in (found, wanted)), strict=True
        ):
            np.testing.assert_array_equal(_host(f), _host(w))


def test_size_is_a_method_and_a_number():
    x = torch.zeros(2, 3)
    assert x.size() == (2, 3) == x.shape
    assert x.size(1) == 3
    assert x.size == 6
    assert repr(x.shape) == "torch.Size([2, 3])"
    assert x.shape.numel() == 6
    assert isinstance(x.shape[1:], torch.Size)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: torch.tensor([1.0, 2.5]), "tensor([1.0000, 2.5000])"),
        (lambda: torch.tensor([1.0, 2.0]), "tensor([1., 2.])"),
        (lambda: torch.tensor([[1, -2]]), "tensor([[ 1, -2]])"),
        (lambda: torch.tensor([True, False]), "tensor([ True, False])"),
        (lambda: torch.tensor(2.5, dtype=torch.float64), "tensor(2.5000, dtype=torch.float64)"),
        (lambda: torch.tensor([1e-5, 1.0]), "tensor([1.0000e-05, 1.0000e+00])"),
        (lambda: torch.ones(2, requires_grad=True), "tensor([1., 1.], requires_grad=True)"),
        (lambda: torch.tensor([float("nan"), 1.0]), "tensor([nan, 1.])"),
    ],
)
def test_tensors_are_printed_as_by_pytorch(make, text):
    with torch.device("cpu"):
        assert repr(make()) == text


def test_a_loop_by_hand_moves_what_data_and_no_grad_write_to():
    w = torch.ones(3, requires_grad=True)
    for _ in range(3):
        loss = (w * torch.tensor([1.0, 2.0, 3.0])).sum()
        loss.backward()
        w.data -= 0.1 * w.grad.data
        w.grad.data.zero_()
        with torch.no_grad():
            w -= 0.1
    np.testing.assert_allclose(w.numpy(force=True), [0.4, 0.1, -0.2], rtol=1e-5)
    assert w.grad.abs().sum().item() == 0


def test_data_that_is_set_keeps_an_optimizer_at_work():
    w = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([w], lr=1.0)
    w.data = torch.full((2,), 5.0)
    w.sum().backward()
    optimizer.step()
    np.testing.assert_allclose(w.numpy(force=True), 4.0)
    w.data = torch.ones(3)
    optimizer.zero_grad()
    w.sum().backward()
    optimizer.step()
    np.testing.assert_allclose(w.numpy(force=True), 0.0)


def test_the_gradient_of_a_result_is_kept_where_it_is_asked_for():
    x = torch.ones(2, requires_grad=True)
    y = x * 3
    y.retain_grad()
    (y**2).sum().backward()
    np.testing.assert_allclose(y.grad.numpy(force=True), 6.0)
    np.testing.assert_allclose(x.grad.numpy(force=True), 18.0)
    assert (x * 2).grad is None


def test_a_backward_pass_with_a_graph_can_be_differentiated_again():
    x = torch.tensor([2.0], requires_grad=True)
    (x**3).backward(create_graph=True)
    g = x.grad
    x.grad = None
    g.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(force=True), 12.0)


def test_gradients_are_recorded_where_the_mode_says_so():
    x = torch.ones(2, requires_grad=True)
    with torch.set_grad_enabled(False):
        assert not (x * 2).requires_grad
    assert (x * 2).requires_grad
    with torch.no_grad(), torch.enable_grad():
        assert torch.is_grad_enabled()
    torch.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        torch.set_grad_enabled(True)

    @torch.no_grad()
    def f():
        return x * 2

    assert not f().requires_grad


def test_numbers_of_numpy_beside_tensors_keep_their_dtype():
    x = torch.ones(2)
    for y in (np.float64(2) * x, x * np.float64(2), np.int64(2) + x, x / np.float32(3)):
        assert type(y) is torch.Tensor
        assert y.dtype == torch.float32


def test_a_device_has_a_type():
    cpu = torch.device("cpu")
    assert cpu.type == "cpu"
    assert torch.zeros(2).to(cpu).device == cpu
    assert isinstance(cpu, torch.device)
    assert not torch.zeros(2, device=cpu).is_cuda


def test_equal_seeds_give_equal_numbers():
    torch.manual_seed(5)
    a = torch.randn(4)
    torch.manual_seed(5)
    assert torch.equal(a, torch.randn(4))
    g = torch.Generator().manual_seed(1)
    h = torch.Generator().manual_seed(1)
    assert torch.equal(torch.randperm(9, generator=g), torch.randperm(9, generator=h))


@pytest.mark.parametrize(
    ("use", "word"),
    [
        (lambda: gt.ones(2).view(2), "reshape"),
        (lambda: gt.ones(2).unsqueeze(0), "expand_dims"),
        (lambda: gt.ones(2).data, "detach"),
        (lambda: gt.ones(2).zero_(), r"x\[\.\.\.\]"),
        (lambda: gt.ones(2).numel(), "x.size"),
        (lambda: gt.ones(2).float(), "astype"),
        (lambda: gt.cat([gt.ones(2)]), "concat"),
        (lambda: gt.clamp(gt.ones(2)), "clip"),
        (lambda: gt.from_numpy(np.ones(2)), "asarray"),
    ],
)
def test_in_the_main_namespace_a_name_of_pytorch_is_an_error_that_says_ours(use, word):
    with pytest.raises(AttributeError, match=word):
        use()


# ---------------------------------------------------------------- modules


class _Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(3, 3) for _ in range(2)])
        self.heads = nn.ModuleDict({"a": nn.Linear(3, 1), "b": nn.Linear(3, 2)})
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("steps", torch.zeros(1))
        self.register_buffer("scratch", torch.zeros(1), persistent=False)
        self.plain = torch.zeros(3)

    def forward(self, x, head="a", *, twice=False):
        for layer in self.layers:
            x = F.relu(layer(x))
        x = self.heads[head](x) * self.scale
        return (x, x) if twice else x


def test_a_module_counts_parameters_modules_and_buffers_and_nothing_else():
    block = _Block()
    names = [name for name, _ in block.named_parameters()]
    assert names == [
        "layers.0.weight",
        "layers.0.bias",
        "layers.1.weight",
        "layers.1.bias",
        "heads.a.weight",
        "heads.a.bias",
        "heads.b.weight",
        "heads.b.bias",
        "scale",
    ] or sorted(names) == sorted(n for n, _ in block.named_parameters())
    assert [n for n, _ in block.named_buffers()] == ["steps", "scratch"]
    state = block.state_dict()
    assert "steps" in state
    assert "scratch" not in state
    assert "plain" not in state
    assert len(list(block.modules())) == 7
    assert block(torch.ones(2, 3), "b", twice=True)[1].shape == (2, 2)
    assert block.train(False).layers[0].training is False
    assert [type(m).__name__ for m in block.children()] == ["ModuleList", "ModuleDict"]


def test_a_frozen_parameter_is_saved_and_not_moved():
    model = _module()
    for p in model[0].parameters():
        p.requires_grad = False
    before = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    after = model.state_dict()
    assert list(after) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert torch.equal(after["0.weight"], before["0.weight"])
    assert not torch.equal(after["2.weight"], before["2.weight"])


def test_a_state_that_does_not_fit_changes_nothing():
    model = _module()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = {k: v * 0 for k, v in before.items()}
    del state["2.bias"]
    with pytest.raises(RuntimeError, match=r"2\.bias"):
        model.load_state_dict(state)
    with pytest.raises(RuntimeError, match="shape"):
        model.load_state_dict(before | {"0.weight": torch.zeros(1)})
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    found = model.load_state_dict(state | {"other": torch.zeros(1)}, strict=False)
    assert found.missing_keys == ["2.bias"]
    assert found.unexpected_keys == ["other"]


def test_apply_reaches_each_module_and_init_fills_its_parameters():
    seen = []

    def start(module):
        seen.append(type(module).__name__)
        if isinstance(module, nn.Linear):
            init.constant_(module.weight, 0.5)
            module.bias.data.fill_(1.0)

    model = _module().apply(start)
    assert seen == ["Linear", "Tanh", "Linear", "Sequential"]
    assert model[0].weight.mean().item() == 0.5
    assert model[2].bias.mean().item() == 1.0


def test_hooks_see_what_a_module_takes_and_gives():
    model, seen = _module(), []
    handle = model[0].register_forward_hook(lambda m, args, out: seen.append(out.shape))
    model(torch.ones(2, 3))
    handle.remove()
    model(torch.ones(2, 3))
    assert seen == [(2, 8)]


def test_the_text_of_a_model_is_pytorchs():
    assert repr(nn.Sequential(nn.Linear(2, 3), nn.ReLU())) == (
        "Sequential(\n  (0): Linear(in_features=2, out_features=3, bias=True)\n  (1): ReLU()\n)"
    )


def test_batch_normalization_of_all_processes_takes_the_place_of_that_of_one():
    inner = nn.Sequential(nn.BatchNorm3d(2, momentum=None), nn.BatchNorm1d(3, affine=False))
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3, eps=0.1), inner).eval()
    held = dict([*net.named_parameters(), *net.named_buffers()])
    made = nn.SyncBatchNorm.convert_sync_batchnorm(net)
    assert made is net
    kinds = [type(m).__name__ for m in net.modules()]
    assert kinds == ["Sequential", "Linear", "SyncBatchNorm", "Sequential"] + 2 * ["SyncBatchNorm"]
    assert net[1].eps == 0.1
    assert net[2][0].momentum is None
    assert not net[2][1].training
    for name, t in [*net.named_parameters(), *net.named_buffers()]:
        assert held.pop(name) is t
    assert not held
    alone = nn.SyncBatchNorm.convert_sync_batchnorm(nn.BatchNorm1d(3))
    assert repr(alone) == "SyncBatchNorm(3)"
    x, plain = torch.randn(4, 3, 2, 2), nn.BatchNorm2d(3)
    np.testing.assert_array_equal(alone(x).numpy(force=True), plain(x).numpy(force=True))
    for name, t in plain.state_dict().items():
        np.testing.assert_array_equal(
            alone.state_dict()[name].numpy(force=True), t.numpy(force=True)
        )
    with pytest.raises(ValueError, match=r"x has shape \(3,\); it must have two axes"):
        alone(torch.ones(3))
    with pytest.raises(ValueError, match="process_group is 5; means are over all processes"):
        nn.SyncBatchNorm(3, process_group=5)


def test_an_activation_in_place_changes_the_tensor_that_it_is_given():
    x = torch.tensor([-1.0, 2.0])
    assert F.relu(x, inplace=True) is x
    assert x.tolist() == [0.0, 2.0]
    layer = nn.Sequential(nn.BatchNorm1d(2), nn.LeakyReLU(0.1, inplace=True))
    y = torch.randn(5, 2, requires_grad=True)
    (layer(y) ** 2).sum().backward()
    z = y.detach().clone().requires_grad_()
    (F.leaky_relu(nn.BatchNorm1d(2)(z), 0.1) ** 2).sum().backward()
    np.testing.assert_allclose(
        y.grad.numpy(force=True), z.grad.numpy(force=True), rtol=1e-5, atol=1e-6
    )


def test_padding_of_an_embedding_is_zero_and_stays():
    table = nn.Embedding(5, 3, padding_idx=0)
    optimizer = torch.optim.SGD(table.parameters(), lr=1.0)
    table(torch.tensor([[0, 2, 0]])).sum().backward()
    optimizer.step()
    assert table.weight[0].abs().sum().item() == 0
    assert table.weight.grad[2].sum().item() == 3


def test_a_model_learns_xor():
    torch.manual_seed(1)
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1), nn.Sigmoid())
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 200, gamma=0.5)
    criterion = nn.BCELoss()
    for _ in range(400):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
    assert scheduler.get_last_lr() == [pytest.approx(0.0125)]
    assert ((model(x) > 0.5).float() == y).all()


# ---------------------------------------------------------------- files


def test_what_is_saved_is_loaded_and_is_a_safetensors_file(tmp_path):
    model = _module()
    optimizer = torch.optim.Adam(model.parameters())
    checkpoint = {
        "epoch": 3,
        "loss": float("inf"),
        "name": "x",
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "list": [torch.tensor([1, 2]), (None, True)],
    }
    path = tmp_path / "checkpoint.pt"
    torch.save(checkpoint, path)
    header = path.read_bytes()
    names = json.loads(header[8 : 8 + int.from_bytes(header[:8], "little")])
    assert names["model.0.weight"]["dtype"] == "F32"
    found = torch.load(path, map_location="cpu")
    assert found["epoch"] == 3
    assert found["loss"] == float("inf")
    assert found["list"][1] == (None, True)
    other = _module(1)
    other.load_state_dict(found["model"])
    assert torch.equal(other[0].weight, model[0].weight)
    stream = io.BytesIO()
    torch.save(torch.ones(2, dtype=torch.float16), stream)
    stream.seek(0)
    assert torch.load(stream).dtype == torch.float16


def test_nothing_but_tensors_and_plain_values_is_saved_or_loaded(tmp_path):
    with pytest.raises(TypeError, match="state_dict"):
        torch.save(_module(), tmp_path / "model.pt")
    with pytest.raises(TypeError, match="function"):
        torch.save({"f": _module}, tmp_path / "f.pt")
    assert not list(tmp_path.iterdir())
    (tmp_path / "pickle.pt").write_bytes(b"PK\x03\x04" + bytes(40))
    with pytest.raises(ValueError, match="pickled"):
        torch.load(tmp_path / "pickle.pt")
    torch.save({"w": torch.ones(4)}, tmp_path / "cut.pt")
    data = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(data[:-4])
    with pytest.raises(ValueError, match="damaged"):
        torch.load(tmp_path / "cut.pt")


# ---------------------------------------------------------------- data


class _Squares(Dataset):
    def __len__(self):
        return 10

    def __getitem__(self, index):
        return torch.tensor([float(index)]), index * index


def test_a_loader_gives_each_sample_once_in_batches():
    loader = DataLoader(_Squares(), batch_size=4, shuffle=True)
    batches = list(loader)
    assert len(loader) == 3 == len(batches)
    assert [len(y) for _, y in batches] == [4, 4, 2]
    x, y = torch.cat([b[0] for b in batches]), torch.cat([b[1] for b in batches])
    assert sorted(y.tolist()) == [i * i for i in range(10)]
    assert torch.equal((x[:, 0] ** 2).long(), y)
    assert len(list(DataLoader(_Squares(), batch_size=4, drop_last=True))) == 2
    assert next(iter(DataLoader(_Squares(), batch_size=None)))[1] == 0


def test_a_loader_of_tensors_gives_what_one_by_one_gives():
    data = TensorDataset(torch.arange(10).float(), torch.arange(10))
    g = torch.Generator()
    fast = [b[1].tolist() for b in DataLoader(data, 3, shuffle=True, generator=g.manual_seed(4))]
    subset = Subset(data, range(10))
    slow = [b[1].tolist() for b in DataLoader(subset, 3, shuffle=True, generator=g.manual_seed(4))]
    assert fast == slow
    assert fast != [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]


def test_parts_of_a_data_set_are_together_the_whole():
    parts = random_split(_Squares(), [0.7, 0.3], generator=torch.Generator().manual_seed(0))
    assert [len(p) for p in parts] == [7, 3]
    assert sorted(y for p in parts for _, y in p) == [i * i for i in range(10)]
    joined = ConcatDataset(parts)
    assert len(joined) == 10
    assert joined[-1][1] == parts[1][2][1]
    with pytest.raises(ValueError, match="add up"):
        random_split(_Squares(), [5, 6])


def test_structures_are_made_batches_inside():
    samples = [{"a": np.ones(2), "b": (1, "x")}, {"a": np.zeros(2), "b": (2, "y")}]
    batch = next(iter(DataLoader(samples, batch_size=2)))
    assert batch["a"].dtype == torch.float64
    assert batch["b"][0].tolist() == [1, 2]
    assert batch["b"][1] == ["x", "y"]


def test_a_data_set_that_is_iterated_is_cut_into_batches():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(range(5))

    assert [b.tolist() for b in DataLoader(Stream(), batch_size=2)] == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValueError, match="order"):
        DataLoader(Stream(), shuffle=True)


def test_a_weighted_sampler_draws_what_has_weight():
    sampler = WeightedRandomSampler([0.0, 1.0, 3.0], 200)
    drawn = list(sampler)
    assert len(drawn) == 200
    assert set(drawn) == {1, 2}
    assert drawn.count(2) > drawn.count(1)


def test_images_become_tensors_and_are_normalized_alike_alone_and_in_batches():
    images = RNG.integers(0, 256, (5, 8, 6), dtype=np.uint8)
    both = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1,), (0.3,))])
    one = both(images[0])
    assert one.shape == (1, 8, 6)
    assert one.dtype == torch.float32
    np.testing.assert_allclose(
        one.numpy(force=True)[0], (images[0] / np.float32(255) - 0.1) / 0.3, rtol=1e-4, atol=1e-6
    )
    assert torch.equal(both.batch(images)[0], one)
    assert transforms.Compose([transforms.RandomCrop(4)]).batch(images) is None


def test_cuts_and_flips_keep_elements():
    image = np.arange(48, dtype=np.uint8).reshape(8, 6)
    assert transforms.CenterCrop(4)(image).tolist() == image[2:6, 1:5].tolist()
    assert transforms.RandomHorizontalFlip(1.0)(image).tolist() == image[:, ::-1].tolist()
    assert transforms.RandomVerticalFlip(1.0)(torch.tensor(image)).tolist() == image[::-1].tolist()
    assert transforms.RandomCrop(8, padding=2)(image).shape == (8, 8)
    assert transforms.Pad(1)(image).shape == (10, 8)
    assert transforms.Resize((4, 3))(np.full((8, 6), 7, np.uint8)).tolist() == [[7] * 3] * 4


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_right_angles_turn_images_without_loss(angle):
    image = RNG.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    turned = np.rot90(image, angle // 90)
    rotate = transforms.functional.rotate
    np.testing.assert_array_equal(rotate(image, angle), turned)
    tensor = torch.tensor(np.moveaxis(image, -1, 0).copy())
    found = rotate(tensor, angle)
    assert found.dtype == torch.uint8
    np.testing.assert_array_equal(found.numpy(force=True), np.moveaxis(turned, -1, 0))


def test_what_turns_out_of_the_image_is_filled():
    image = torch.ones(1, 9, 9)
    found = transforms.RandomRotation((45, 45), fill=7.0)(image)
    assert found[0, 0, 0].item() == found[0, 8, 8].item() == 7
    assert found[0, 4, 4].item() == 1
    angles = {transforms.RandomRotation(20)(torch.arange(81).view(1, 9, 9)).sum().item()}
    for _ in range(5):
        angles.add(transforms.RandomRotation(20)(torch.arange(81).view(1, 9, 9)).sum().item())
    assert len(angles) > 1


def test_parts_of_random_size_are_of_the_image():
    image = np.arange(120, dtype=np.float64).reshape(10, 12)
    cut = transforms.RandomResizedCrop((4, 5), interpolation=transforms.InterpolationMode.NEAREST)
    seen = [cut(image) for _ in range(20)]
    for part in seen:
        assert part.shape == (4, 5)
        assert set(part.ravel()) <= set(image.ravel())
        assert (np.diff(part, axis=0) >= 0).all()
    assert len({part[0, 0] for part in seen}) > 3
    whole = transforms.RandomResizedCrop((10, 12), scale=(1, 1), ratio=(1.2, 1.2))(image)
    np.testing.assert_allclose(whole, image)


def test_colours_change_by_factors_within_the_numbers_of_the_dtype():
    image = RNG.integers(0, 256, (4, 5, 3), dtype=np.uint8)
    tensor = torch.tensor(np.moveaxis(image, -1, 0).copy())
    for kind, found in (
        (image, transforms.ColorJitter(brightness=(2, 2))(image)),
        (tensor, np.moveaxis(transforms.ColorJitter((2, 2))(tensor).numpy(force=True), 0, -1)),
    ):
        assert found.dtype == np.uint8, type(kind)
        np.testing.assert_array_equal(found, np.minimum(image.astype(int) * 2, 255))
    grey = transforms.ColorJitter(saturation=(0, 0))(image)
    assert (grey == grey[..., :1]).all()
    flat = transforms.ColorJitter(contrast=(0, 0))(tensor)
    assert len(set(flat.flatten().tolist())) == 1
    with pytest.raises(ValueError, match="hue"):
        transforms.ColorJitter(hue=0.1)


def test_the_nearest_pixels_are_the_same_of_tensors_and_arrays():
    nearest = transforms.Resize((3, 5), transforms.InterpolationMode.NEAREST)
    image = np.repeat(np.repeat(np.arange(15, dtype=np.uint8).reshape(3, 5), 2, 0), 3, 1)
    assert nearest(torch.tensor(image[None])).tolist() == [np.arange(15).reshape(3, 5).tolist()]
    assert nearest(image).tolist() == np.arange(15).reshape(3, 5).tolist()


def test_whole_numbers_are_resized_and_made_grey_as_such():
    image = torch.tensor(RNG.integers(100, 103, (3, 8, 6)).astype(np.uint8))
    small = transforms.Resize((4, 3))(image)
    assert small.dtype == torch.uint8
    assert set(small.flatten().tolist()) <= {100, 101, 102}
    grey = transforms.Grayscale(3)(image)
    assert grey.dtype == torch.uint8
    assert set(grey.flatten().tolist()) <= {99, 100, 101, 102}


def test_transforms_are_chosen_with_their_probabilities_and_all_done_in_some_order():
    add, double = (lambda x: x + 1), (lambda x: 2 * x)
    one = torch.ones(1, 1, 1)
    assert transforms.RandomApply([add, double], p=1.0)(one).item() == 4
    assert transforms.RandomApply([add, double], p=0.0)(one).item() == 1
    order = transforms.RandomOrder([add, double])
    assert {order(one).item() for _ in range(30)} == {3, 4}
    choice = transforms.RandomChoice([add, lambda x: -x, double], p=[0.5, 0, 0.5])
    assert {choice(one * 3).item() for _ in range(30)} == {4, 6}


def test_a_grid_holds_all_images():
    images = torch.arange(5).float().view(5, 1, 1, 1).expand(5, 1, 4, 4)
    grid = make_grid(images, nrow=3, padding=1)
    assert grid.shape == (3, 11, 16)
    assert grid[0, 1, 1].item() == 0
    assert grid[0, 6, 6].item() == 4


def test_images_of_a_folder_are_loaded_alone_and_in_batches(tmp_path):
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in (("train", 7), ("t10k", 3)):
        images = RNG.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        labels = (np.arange(n) % 10).astype(np.uint8)
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            head = (0x0800 + array.ndim).to_bytes(4, "big")
            head += b"".join(m.to_bytes(4, "big") for m in array.shape)
            (raw / f"{part}-{name}-ubyte").write_bytes(head + array.tobytes())
    both = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
    data = datasets.MNIST(tmp_path, train=True, download=True, transform=both)
    assert len(data) == 7
    assert data.data.shape == (7, 28, 28)
    assert data.classes[3] == "3 - three"
    image, label = data[2]
    assert image.shape == (1, 28, 28)
    assert label == 2
    x, y = next(iter(DataLoader(data, batch_size=4)))
    assert x.shape == (4, 1, 28, 28)
    assert y.tolist() == [0, 1, 2, 3]
    assert torch.equal(x[2], image)
    test = datasets.MNIST(str(tmp_path), train=False, target_transform=lambda t: -t)
    assert len(test) == 3
    assert test[2][1] == -2
    assert isinstance(test[0][0], np.ndarray)


def test_the_groups_are_in_an_optimizers_state_too():
    a, b = nn.Parameter(torch.ones(2)), nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([{"params": [a], "lr": 0.5}, {"params": [b]}], lr=0.1, momentum=0.9)
    (a.sum() + b.sum()).backward()
    optimizer.step()
    state = optimizer.state_dict()
    groups = state["param_groups"]
    assert [g["lr"] for g in groups] == [0.5, 0.1]
    assert [g["params"] for g in groups] == [[0], [1]]
    assert groups[0]["momentum"] == 0.9
    with pytest.raises(KeyError, match="arrays are under names such as"):
        state["state"]
    buffer = io.BytesIO()
    torch.save({"optimizer": state}, buffer)
    buffer.seek(0)
    optimizer.load_state_dict(torch.load(buffer)["optimizer"])
    np.testing.assert_array_equal(optimizer.state_dict()["0.velocity"], np.ones(2, np.float32))


def test_layers_of_keras_and_of_the_engine_are_parts_of_a_module():
    class Mixed(nn.Module):
        def __init__(self):
            super().__init__()
            layers = keras.layers
            self.inner = keras.Sequential(
                [
                    layers.Dense(4, input_shape=(3,)),
                    layers.BatchNormalization(),
                    layers.Dropout(0.5),
                ]
            )
            self.last = nn.Linear(4, 1)

        def forward(self, x):
            return self.last(self.inner(x))

    torch.manual_seed(0)
    model = Mixed()
    names = [name for name, _ in model.named_parameters()]
    assert names[:2] == ["inner.0.weight", "inner.0.bias"]
    assert len(names) == len(list(model.parameters())) == 6
    assert len(list(model.buffers())) == 2
    assert model.train().inner.layers[2].training
    assert not model.eval().inner.layers[2].training
    x = torch.ones(8, 3)
    expected = model(x).detach().cpu().numpy()
    other = Mixed()
    other.load_state_dict(model.state_dict())
    np.testing.assert_array_equal(other.eval()(x).detach().cpu().numpy(), expected)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = model.inner.layers[0].weight.detach().numpy().copy()
    F.mse_loss(model(x), torch.zeros(8, 1)).backward()
    optimizer.step()
    assert (model.inner.layers[0].weight.detach().numpy() != before).any()


def test_tensors_like_others_and_of_other_lengths():
    x = torch.arange(6.0).reshape(2, 3)
    assert x.new().shape == (0,)
    assert x.new(2, 5).shape == x.new(torch.Size((2, 5))).shape == (2, 5)
    np.testing.assert_array_equal(x.double().new([1, 2]).cpu().numpy(), [1.0, 2.0])
    np.testing.assert_array_equal(x.new().resize_as_(x).zero_().cpu().numpy(), np.zeros((2, 3)))
    same = x.clone()
    assert same.resize_(3, 2) is same
    np.testing.assert_array_equal(same.cpu().numpy(), [[0, 1], [2, 3], [4, 5]])
    np.testing.assert_array_equal(same.resize_(8).cpu().numpy(), [0, 1, 2, 3, 4, 5, 0, 0])
    with pytest.raises(RuntimeError, match="keeps its shape"):
        torch.ones(3, requires_grad=True).resize_(4)


PATHS = [
    ("torch.nn.modules", "Linear"),
    ("torch.nn.modules.conv", "Conv2d"),
    ("torch.nn.modules.loss", "CrossEntropyLoss"),
    ("torch.nn.parameter", "Parameter"),
    ("torch.nn.parallel", "DataParallel"),
    ("torch.nn.utils.rnn", "pack_padded_sequence"),
    ("torch.autograd.variable", "Variable"),
    ("torch.autograd.function", "Function"),
    ("torch.cuda", "is_available"),
    ("torch.cuda.amp", "GradScaler"),
    ("torch.amp", "autocast"),
    ("torch.backends.cudnn", "benchmark"),
    ("torch.optim.adam", "Adam"),
    ("torch.optim.optimizer", "Optimizer"),
    ("torch.optim.lr_scheduler", "StepLR"),
    ("torch.utils.data.dataset", "TensorDataset"),
    ("torch.utils.data.dataloader", "DataLoader"),
    ("torchvision.datasets.mnist", "MNIST"),
    ("torchvision.datasets.cifar", "CIFAR10"),
    ("torchvision.models.resnet", "resnet18"),
    ("torchvision.transforms.functional", "to_tensor"),
    ("torchvision.transforms.v2", "Compose"),
]


@pytest.mark.parametrize(("path", "name"), PATHS, ids=[path for path, _ in PATHS])
def test_a_module_of_pytorchs_may_be_imported_by_its_path(path, name):
    module = importlib.import_module(f"gputensor.{path}")
    plain = importlib.import_module(f"gputensor.{path.rpartition('.')[0]}")
    assert getattr(plain, name, getattr(module, name)) is getattr(module, name)
    assert not hasattr(module, "nothing")


def test_a_path_that_is_not_there_is_an_error_of_imports():
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("gputensor.torch.nn.modules.nothing")
