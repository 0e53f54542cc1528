"""Weights by name and path: every kind of file, all or nothing, and what is said of files that do not fit."""

from __future__ import annotations

import inspect
import logging
import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

import kerascnn
from kerascnn import applications, weights
from kerascnn.factory import builders
from kerascnn.weights import WeightsError, reading
from kerascnn.weights.fitting import adapt_channels
from kerascnn.weights.naming import googlenet, squeezenet
from kerascnn.weights.naming.choosing import family
from tests.parity import seeding

SHAPE = (64, 64, 3)
Arrays = dict[str, np.ndarray]


@pytest.fixture(scope="module")
def state() -> Arrays:
    """A checkpoint of SqueezeNet v1.1 in torchvision's naming."""
    model = applications.squeezenet1_1(input_shape=SHAPE)
    names = squeezenet.torchvision1_1([layer.name for layer in model.layers if layer.weights])
    return seeding.state_dict(seeding.shapes(model, names))


@pytest.fixture
def file(state: Arrays, tmp_path: Path) -> Path:
    """That checkpoint as a file."""
    save_file(state, tmp_path / "squeezenet.safetensors")
    return tmp_path / "squeezenet.safetensors"


def build(**options: Any) -> keras.Model:
    return applications.squeezenet1_1(**{"input_shape": SHAPE, "classifier_activation": None, **options})


def images(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(2, *shape)).astype("float32")


def randomize(model: keras.Model, seed: int = 0) -> keras.Model:
    """Random weights that also make every bias and every statistic of a normalisation count."""
    stream = np.random.default_rng(seed)
    for layer in model.layers:
        for weight in layer.weights:
            uniform = stream.random(tuple(weight.shape), dtype=np.float32)
            if weight.name == "kernel":
                fan_in = np.prod(weight.shape[:-1])
                weight.assign((uniform - 0.5) * np.float32((24 / fan_in) ** 0.5))
            else:
                low, high = {"moving_variance": (0.5, 1.5), "gamma": (0.2, 0.6)}.get(weight.name, (-0.5, 0.5))
                weight.assign(low + (high - low) * uniform)
    return model


def refusal(model: keras.Model, path: Path, **options: Any) -> str:
    """The message with which a file is refused, after making sure that the model was not touched."""
    before = model.get_weights()
    with pytest.raises(WeightsError) as caught:
        weights.load(model, path, **options)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    return str(caught.value)


# Keras files


@pytest.mark.smoke
@pytest.mark.parametrize("suffix", [".weights.h5", ".h5", ".keras"])
def test_our_own_files_round_trip(tmp_path: Path, suffix: str) -> None:
    """What a user trains and saves must come back, also into a model with another name and layers in front."""
    model = randomize(build())
    path = tmp_path / f"mine{suffix}"
    (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    front = keras.Input(SHAPE)
    y = keras.layers.Conv2D(3, 1, name="conv1x")(keras.layers.Rescaling(1.0)(front))
    other = build(input_shape=None, input_tensor=y, weights=path, name="other")
    np.testing.assert_array_equal(
        other.get_layer("conv10").get_weights()[0], model.get_layer("conv10").get_weights()[0]
    )
    kernel = other.get_layer("conv1x").get_weights()[0]
    other.get_layer("conv1x").set_weights([np.eye(3, dtype="float32").reshape(kernel.shape), np.zeros(3)])
    np.testing.assert_allclose(other(images()), model(images()), rtol=1e-5, atol=1e-5)


KERAS: dict[str, tuple[Callable[..., keras.Model], int, str]] = {
    "vgg16": (keras.applications.VGG16, 64, ".h5"),
    "resnet50": (keras.applications.ResNet50, 64, ".keras"),
    "resnet50_v2": (keras.applications.ResNet50V2, 64, ".weights.h5"),
    "densenet121": (keras.applications.DenseNet121, 64, ".h5"),
    "inception_v3": (keras.applications.InceptionV3, 75, ".weights.h5"),
    "inception_resnet_v2": (keras.applications.InceptionResNetV2, 75, ".keras"),
}
NEEDED = {
    "resnet50": {"pool_padding": 1},
    "resnet50_v2": {"stem": "keras", "stride_in_last_unit": True, "conv_bias": True},
}


LARGE = "inception_resnet_v2"  # as large as all others together, and named by the same rules


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == LARGE else ()) for name in KERAS]
)
def test_keras_applications_files_give_the_same_logits(name: str, tmp_path: Path) -> None:
    """Conv biases, epsilons of 1.001e-5 and 1e-3, no scale, automatic names: as keras.applications has them."""
    builder, side, suffix = KERAS[name]
    keras.layers.Conv2D(1, 1), keras.layers.BatchNormalization()  # so that automatic names do not start at zero
    theirs = randomize(builder(weights=None, input_shape=(side, side, 3), classifier_activation=None))
    path = tmp_path / f"theirs{suffix}"
    (theirs.save_weights if suffix == ".weights.h5" else theirs.save)(path)
    ours = kerascnn.create_model(
        name, weights=path, input_shape=(side, side, 3), classifier_activation=None, **NEEDED.get(name, {})
    )
    expected = np.asarray(theirs(images((side, side, 3)), training=False))
    found = np.asarray(ours(images((side, side, 3)), training=False))
    assert np.abs(found - expected).max() / np.abs(expected).max() <= 1e-4


def test_by_order_takes_other_names(tmp_path: Path) -> None:
    """Files of other packages name layers as they like; by_order says to trust their order."""
    theirs = build()
    renamed = keras.models.clone_model(
        theirs, clone_function=lambda layer: type(layer).from_config(layer.get_config() | {"name": f"a_{layer.name}"})
    )
    randomize(renamed).save(tmp_path / "renamed.h5")
    ours = build()
    assert "holds no layer of the model" in refusal(ours, tmp_path / "renamed.h5")
    weights.load(ours, tmp_path / "renamed.h5", by_order=True)
    np.testing.assert_allclose(ours(images()), renamed(images()), rtol=1e-4, atol=1e-5)
    keras.Sequential([keras.Input(SHAPE), keras.layers.Conv2D(64, 3)]).save(tmp_path / "short.h5")
    assert "as many layers" in refusal(ours, tmp_path / "short.h5", by_order=True)


# torch's layout


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_torch_checkpoints(state: Arrays, file: Path, tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    """The ways in which people save a state dict all load, and as the same network as the safetensors file."""
    torch = pytest.importorskip("torch")
    content: Any = {prefix + key: torch.from_numpy(array.copy()) for key, array in state.items()}
    torch.save(content if wrapper is None else {wrapper: content, "epoch": 3}, tmp_path / "checkpoint.pt")
    loaded, expected = build(weights=tmp_path / "checkpoint.pt"), build(weights=file)
    for ours, theirs in zip(loaded.get_weights(), expected.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.data
def test_published_checkpoint_is_read(data: Path) -> None:
    """A real file: the suffix .th, a state dict beside other entries, `module.` before every key."""
    pytest.importorskip("torch")
    checkpoint = reading.read(data / "resnet20_cifar10.th")
    assert checkpoint.layers["linear"]["weight"].shape == (10, 64)
    assert set(checkpoint.layers["layer3.2.bn2"]) == {"weight", "bias", "running_mean", "running_var"}


def test_missing_torch_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch is an extra; the error says how to get it."""
    (tmp_path / "some.pth").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ImportError, match=r"kerascnn\[torch\]"):
        build(weights=tmp_path / "some.pth")


class _Bomb:
    def __reduce__(self) -> Any:
        return exec, (f"import pathlib; pathlib.Path({str(self.target)!r}).touch()",)

    def __init__(self, target: Path):
        self.target = target


def test_code_in_a_checkpoint_does_not_run(tmp_path: Path) -> None:
    """A pickle can hold anything; opening a downloaded one must not execute it."""
    torch = pytest.importorskip("torch")
    target = tmp_path / "owned"
    torch.save({"state_dict": {"features.0.weight": _Bomb(target)}}, tmp_path / "zip.pth")
    (tmp_path / "plain.th").write_bytes(pickle.dumps(_Bomb(target), protocol=2))
    model = build()
    for name in ("zip.pth", "plain.th"):
        assert "can run code" in refusal(model, tmp_path / name)
    assert not target.exists()


def test_conv_bias_and_epsilon_are_folded(tmp_path: Path) -> None:
    """A bias before a normalisation, and another epsilon, change the output exactly as in the network they are from."""
    shape = (64, 64, 3)
    model = applications.googlenet_bn(input_shape=shape, classifier_activation=None)
    names = googlenet.torchvision([layer.name for layer in model.layers if layer.weights])
    plain = seeding.state_dict(seeding.shapes(model, names))
    save_file(plain, tmp_path / "plain.safetensors")
    weights.load(model, tmp_path / "plain.safetensors")
    expected = np.asarray(model(images(shape)))
    biased = dict(plain)
    for key in seeding.shapes(model, names, conv_biases=True).keys() - plain.keys():
        bias = seeding.values(key, plain[key.replace("conv.bias", "bn.bias")].shape)
        biased[key] = bias
        biased[key.replace("conv.bias", "bn.running_mean")] = plain[key.replace("conv.bias", "bn.running_mean")] + bias
    assert len(biased) > len(plain)
    save_file(biased, tmp_path / "biased.safetensors")
    weights.load(model, tmp_path / "biased.safetensors")
    np.testing.assert_allclose(model(images(shape)), expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


@pytest.mark.parametrize("theirs", [1e-5, 1e-3, 0.5])
def test_other_epsilons_are_exact(theirs: float) -> None:
    """Also where their epsilon is so much smaller than ours that the variance would become negative."""
    from kerascnn.weights.fitting import Matching, fit
    from kerascnn.weights.reading import Checkpoint

    inputs = keras.Input((1, 1, 8))
    layer = keras.layers.BatchNormalization(epsilon=1e-2, name="bn")
    model = keras.Model(inputs, layer(inputs))
    stream = np.random.default_rng(0)
    gamma, beta, mean = (stream.normal(size=8).astype("float32") for _ in range(3))
    variance = np.geomspace(1e-9, 1, 8).astype("float32")
    fields = {"weight": gamma, "bias": beta, "running_mean": mean, "running_var": variance}
    fitted = fit(model, [layer], Checkpoint(Path("x"), "torch", {"b": fields}), Matching({"bn": "b"}, theirs))
    layer.set_weights(fitted.arrays["bn"])
    x = stream.normal(size=(4, 1, 1, 8)).astype("float32")
    expected = (x - mean) / np.sqrt(variance.astype("float64") + theirs) * gamma + beta
    np.testing.assert_allclose(model(x), expected, rtol=1e-5, atol=1e-5)


# what does not fit


def test_other_architecture(file: Path) -> None:
    """The error says what does not fit by name; nothing is loaded even where most layers would fit."""
    message = refusal(applications.squeezenet(input_shape=SHAPE), file)
    assert "features.0.weight is (64, 3, 3, 3), conv1 needs (96, 3, 7, 7)" in message
    assert "Nothing was loaded" in message
    message = refusal(applications.resnet18(input_shape=SHAPE), file)
    assert "holds no layer of the model 'resnet18'" in message


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s.pop("features.4.squeeze.bias"), "1 missing: features.4.squeeze.bias"),
        (lambda s: s.update({"extra.weight": np.ones(3, "float32")}), "1 unexpected: extra.weight"),
        (
            lambda s: s.update(
                {"features.4.expand3x3.weight": s["features.4.expand3x3.weight"].transpose(1, 0, 2, 3).copy()}
            ),
            "features.4.expand3x3.weight is (16, 64, 3, 3), fire3_expand3x3 needs (64, 16, 3, 3)",
        ),
        (lambda s: s.update({"features.0.bias": np.full(64, np.nan, "float32")}), "1 not finite: conv1"),
    ],
    ids=["missing", "extra", "transposed", "nan"],
)
def test_one_wrong_tensor(state: Arrays, tmp_path: Path, change: Callable[[Arrays], Any], expected: str) -> None:
    """One tensor that does not fit refuses the file, whatever fits besides."""
    state = dict(state)
    change(state)
    save_file(state, tmp_path / "wrong.safetensors")
    assert expected in refusal(build(), tmp_path / "wrong.safetensors")


@pytest.mark.parametrize("suffix", [".safetensors", ".h5", ".weights.h5", ".keras", ".pth"])
@pytest.mark.parametrize("damage", ["truncated", "text", "empty"])
def test_damaged_files(file: Path, state: Arrays, tmp_path: Path, suffix: str, damage: str) -> None:
    """Cut downloads and renamed web pages are refused as what they are."""
    path = tmp_path / f"damaged{suffix}"
    if suffix == ".pth":
        torch = pytest.importorskip("torch")
        torch.save({key: torch.from_numpy(array.copy()) for key, array in state.items()}, path)
    elif suffix == ".safetensors":
        path.write_bytes(file.read_bytes())
    else:
        model = build()
        (model.save_weights if suffix == ".weights.h5" else model.save)(path)
    content = {
        "truncated": path.read_bytes()[: path.stat().st_size // 2],
        "text": b"<html>404</html>\n" * 99,
        "empty": b"",
    }
    path.write_bytes(content[damage])
    message = refusal(build(), path)
    assert "damaged" in message or "can run code" in message, message


def test_unknown_names_and_kinds(tmp_path: Path) -> None:
    """Names list what there is; a path that is not there and a suffix that nobody reads say so."""
    with pytest.raises(ValueError, match="no weights named 'imagnet'.*torchvision_v1"):
        build(weights="imagnet")
    with pytest.raises(FileNotFoundError, match=r"no weights file .*gone\.h5"):
        build(weights=tmp_path / "gone.h5")
    (tmp_path / "model.ckpt").write_bytes(b"x")
    with pytest.raises(WeightsError, match=r"weights files end in .*\.safetensors"):
        build(weights=tmp_path / "model.ckpt")


# heads, features, channels


def test_new_head(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Other classes load the body only when asked to, and say that the head is new."""
    with pytest.raises(WeightsError, match='head="new"'):
        build(weights=file, classes=7)
    with caplog.at_level(logging.WARNING):
        model = build(weights=file, classes=7, head="new")
    assert "conv10" in caplog.text
    assert model.output_shape == (None, 7)
    whole = build(weights=file)
    for name in ("conv1", "fire9_expand3x3"):
        np.testing.assert_array_equal(model.get_layer(name).get_weights()[0], whole.get_layer(name).get_weights()[0])
    with pytest.raises(ValueError, match='head must be None or "new"'):
        build(weights=file, head="keep")


def test_without_top_and_features(file: Path) -> None:
    """A model without its classifier, or that ends early, takes the weights of the layers that it has."""
    whole = build(weights=file)
    x = images()
    expected = keras.Model(whole.input, whole.get_layer("fire9_concat").output)(x)
    np.testing.assert_allclose(build(weights=file, include_top=False)(x), expected, rtol=1e-5, atol=1e-5)
    stages = build(weights=file, features=["stage1"])(x)
    expected = keras.Model(whole.input, whole.get_layer("fire3_concat").output)(x)
    np.testing.assert_allclose(stages["stage1"], expected, rtol=1e-5, atol=1e-5)


def test_input_channels(file: Path) -> None:
    """One channel gives what gray RGB gave; a fourth changes nothing until it is trained; both only on request."""
    x = images()
    whole = build(weights=file)
    with pytest.raises(WeightsError, match='input_channels="adapt"'):
        build(weights=file, input_shape=(64, 64, 1))
    gray = build(weights=file, input_shape=(64, 64, 1), input_channels="adapt")
    one = x[..., :1]
    np.testing.assert_allclose(gray(one), whole(np.repeat(one, 3, -1)), rtol=1e-3, atol=1e-4)
    four = build(weights=file, input_shape=(64, 64, 4), input_channels="adapt")
    np.testing.assert_allclose(four(np.concatenate([x, one], -1)), whole(x), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="not to 2"):
        adapt_channels(np.zeros((3, 3, 3, 8)), 2)


def test_options_that_weights_need() -> None:
    """Weights of another form of the network are refused before anything is fetched."""
    with pytest.raises(ValueError, match="stride_in_1x1=False.*stride_in_1x1=True"):
        applications.resnet50(weights="torchvision_v1", stride_in_1x1=True)
    model = applications.resnet50(input_shape=(32, 32, 3))
    with pytest.raises(WeightsError, match="stride_in_1x1"):
        weights.load(model, "torchvision_v1")


def test_sources_table() -> None:
    """Every record belongs to a variant, can be checked or says that it cannot, and names options that exist."""
    records = weights.list_weights()
    assert {record.variant for record in records} <= set(kerascnn.list_models())
    for record in records:
        assert record.packaged or all(url.startswith("https://") for url in record.addresses), record
        assert record.sha256 or record.sha1 or record.md5 or record.source.startswith("timm"), record
        assert [len(digest) for digest in (record.md5, record.sha1)] in ([0, 0], [32, 0], [0, 40])
        assert len(record.sha256) in (0, 8, 64)
        assert "/master/" not in record.url, "a branch moves"
        assert record.preprocessing["crop"], record
        assert record.options.keys() <= inspect.signature(builders()[record.variant]).parameters.keys(), record
        if record.format in ("torch", "safetensors", "onnx"):
            assert family(kerascnn.variant(record.variant).family).candidates("torch"), record
    fetched = [record for record in records if not record.packaged]
    assert len(records) - len(fetched) == 3
    first = sum(len(record.sha256) == 8 for record in fetched)
    none = sum(not (record.sha256 or record.sha1 or record.md5) for record in fetched)
    archives = sum(bool(record.sha1) for record in fetched)
    page = " ".join((Path(__file__).parents[3] / "docs/models.md").read_text().split())
    assert (
        f"Of {len(kerascnn.list_models())} networks {len({record.variant for record in records})} have weights on "
        f"record. Three sets come with kerascnn; {len(fetched)} files are elsewhere, "
        f"{len(fetched) - first - none - archives} of them with a full SHA-256 or MD5, {archives} with pytorchcv's "
        f"SHA-1 of what its archives hold, {first} with the first digits of a SHA-256 that torch puts "
        f"into file names, and {none} with none"
    ) in page
    files = [record.file for record in records]
    assert len(set(files)) == len(files), "two records would share one file of the cache"
    assert {record.name for record in weights.list_weights("resnet50")} >= {"keras", "torchvision_v1", "timm_a1"}
    with pytest.raises(ValueError, match="no model named"):
        weights.list_weights("resnet5O")
