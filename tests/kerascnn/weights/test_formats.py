"""Files of other packages in the forms in which they are published: ONNX, checkpoints in a .zip, files on the hub."""

from __future__ import annotations

import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from export.errors import ExportError
from export.opening import build
from kerascnn import applications, weights
from kerascnn.weights import WeightsError, WeightsUnavailable
from kerascnn.weights.naming import alexnet, googlenet, squeezenet
from tests.networks import structure
from tests.parity import seeding

onnx = pytest.importorskip("onnx", reason="onnx comes with the extra `export`")

SHAPE = (64, 64, 3)


def zoo(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of a network of the ONNX zoo, whose graph comes with onnx, without values."""
    folder = Path(onnx.__file__).parent / "backend/test/data/light"
    graph = onnx.load(folder / f"light_{name}.onnx").graph
    held = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    found = {name: array.shape for name, array in held.items() if array.dtype == np.float32}
    made = {node.output[0]: held[node.input[0]] for node in graph.node if node.op_type == "ConstantOfShape"}
    return found | {name: tuple(int(side) for side in shape) for name, shape in made.items()}


def as_torch(name: str) -> str:
    return f"{name[:-4]}.{'weight' if name.endswith('_w_0') else 'bias'}"


def write_onnx(path: Path, arrays: dict[str, np.ndarray]) -> Path:
    tensors = [onnx.numpy_helper.from_array(array, name) for name, array in arrays.items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "zoo", [], [], tensors)), path)
    return path


def test_googlenet_of_the_onnx_zoo(tmp_path: Path) -> None:
    """The zoo's names and shapes, the classifier's as Caffe used to keep it; auxiliary heads are left out."""
    names = zoo("inception_v1")
    assert names["loss3/classifier_w_0"] == (1, 1, 1000, 1024)
    values = {name: seeding.values(as_torch(name), shape) for name, shape in names.items()}
    file = write_onnx(tmp_path / "googlenet.onnx", values | {"loss1/conv_w_0": np.ones((128, 512, 1, 1), "float32")})
    model = applications.googlenet(input_shape=SHAPE, weights=file)
    kernel, bias = model.get_layer("inception_4a_5x5_reduce").get_weights()
    np.testing.assert_array_equal(kernel, values["inception_4a/5x5_reduce_w_0"].transpose(2, 3, 1, 0))
    np.testing.assert_array_equal(bias, values["inception_4a/5x5_reduce_b_0"])
    np.testing.assert_array_equal(
        model.get_layer("predictions").get_weights()[0], values["loss3/classifier_w_0"][0, 0].T
    )


def test_alexnet_of_the_onnx_zoo() -> None:
    """All of the zoo's arrays, of our layers' sizes."""
    model = structure("alexnet")
    wanted = seeding.shapes(model, alexnet.caffe([layer.name for layer in model.layers if layer.weights]))
    assert {as_torch(name): shape for name, shape in zoo("bvlc_alexnet").items()} == wanted


def test_weights_of_the_zoo_need_its_normalization(tmp_path: Path) -> None:
    """Caffe's network has other constants than the paper's; a file of its names is refused by the paper's network."""
    file = write_onnx(tmp_path / "alexnet.onnx", {"conv1_w_0": np.zeros((96, 3, 11, 11), "float32")})
    with pytest.raises(WeightsError, match="lrn_average=True"):
        weights.load(structure("alexnet"), file)


@pytest.mark.parametrize("damage", ["truncated", "text", "external", "too large"])
def test_damaged_onnx_files(tmp_path: Path, damage: str) -> None:
    file = write_onnx(tmp_path / "some.onnx", {"conv1.weight": np.ones((64, 3, 3, 3), "float32")})
    model = onnx.load(file)
    if damage == "external":
        model.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    if damage == "too large":
        model.graph.initializer[0].dims[0] = 1 << 40
    content = {"truncated": file.read_bytes()[:-40], "text": b"<html>404</html>\n" * 99}
    file.write_bytes(content.get(damage, model.SerializeToString()))
    with pytest.raises(WeightsError, match=r"damaged|another file|cannot hold"):
        applications.squeezenet1_1(input_shape=SHAPE, weights=file)


def squeezenet_state() -> dict[str, np.ndarray]:
    model = applications.squeezenet1_1(input_shape=SHAPE)
    names = squeezenet.pytorchcv1_1([layer.name for layer in model.layers if layer.weights])
    return seeding.state_dict(seeding.shapes(model, names))


def test_pytorchcvs_archives(tmp_path: Path) -> None:
    """A .pth alone in a .zip, as its releases are; other archives are refused."""
    torch = pytest.importorskip("torch")
    state = squeezenet_state()
    torch.save({key: torch.from_numpy(array) for key, array in state.items()}, tmp_path / "some.pth")
    archive = tmp_path / "some.pth.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.write(tmp_path / "some.pth", "some.pth")
    model = applications.squeezenet1_1(input_shape=SHAPE, weights=archive)
    np.testing.assert_array_equal(model.get_layer("conv10").get_weights()[1], state["output.final_conv.bias"])
    with zipfile.ZipFile(archive, "a") as packed:
        packed.writestr("other.pth", b"")
    with pytest.raises(WeightsError, match="2 files instead of one"):
        weights.load(model, archive)


def test_a_file_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An address is fetched by huggingface_hub, and the manifest says which file it was."""
    asked: list[Any] = []
    save_file(squeezenet_state(), tmp_path / "model.safetensors")

    def download(repository: str, file: str, *, revision: str) -> str:
        asked.append((repository, file, revision))
        if revision == "gone":
            raise OSError("404 Client Error\nand more")
        return str(tmp_path / "model.safetensors")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(hf_hub_download=download))
    address = "hf://owner/some.name/folder/model.safetensors@0123abcd"
    model = applications.squeezenet1_1(input_shape=SHAPE, weights=address)
    assert asked[0] == ("owner/some.name", "folder/model.safetensors", "0123abcd")
    assert np.abs(model.get_layer("conv10").get_weights()[1]).min() > 0
    with pytest.raises(WeightsUnavailable, match=r"@gone could not be fetched: 404 Client Error$"):
        weights.load(model, "hf://owner/name/model.safetensors@gone")
    for wrong in ("hf://owner/name/model.safetensors", "hf://name/model.h5@main"):
        with pytest.raises(ValueError, match="OWNER/NAME/FILE@REVISION"):
            weights.load(model, wrong)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"kerascnn\[hub\]"):
        weights.load(model, address)


def test_an_export_names_the_file_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the manifest says of the weights: the file, its digest and where it is from."""
    file = tmp_path / "model.safetensors"
    save_file(squeezenet_state(), file)
    hub = types.SimpleNamespace(hf_hub_download=lambda *_, revision: str(file))
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    address = "hf://owner/name/model.safetensors@0123abcd"
    loaded = build("squeezenet1_1", weights=address, input_size=(64, 64), warn=pytest.fail)
    assert loaded.origin.weights == {"file": file.name, "sha256": weights.sources.sha256(file), "url": address}
    hub.hf_hub_download = lambda *_, revision: (_ for _ in ()).throw(OSError("no network"))
    with pytest.raises(ExportError, match="no network"):
        build("squeezenet1_1", weights=address, warn=pytest.fail)


def test_names_of_googlenets_auxiliary_heads() -> None:
    layers = ["aux1_conv", "aux1_fc", "aux1", "predictions", "conv1_7x7_s2", "conv2_3x3_reduce"]
    named = ["loss1/conv", "loss1/fc", "loss1/classifier", "loss3/classifier", "conv1/7x7_s2", "conv2/3x3_reduce"]
    assert googlenet.caffe(layers) == dict(zip(layers, named, strict=True))
