"""A precision for each layer: what the search chooses, what the file then holds, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import pytest

keras = pytest.importorskip("keras")
pytest.importorskip("tensorflow")
pytest.importorskip("ai_edge_litert")

from export import ExportError, RequestError  # noqa: E402
from export.context import Outcome, Passed  # noqa: E402
from export.formats import onnx as onnx_format  # noqa: E402
from export.formats.format import Source  # noqa: E402
from export.formats.precision import PRECISIONS  # noqa: E402
from export.formats.tflite import write_tflite  # noqa: E402
from export.formats.tflite_kernels import cost  # noqa: E402
from export.formats.tflite_runtime import open_tflite  # noqa: E402
from export.images import ImageSource  # noqa: E402
from export.manifest import Artifact  # noqa: E402
from export.quantization import searching, sequence  # noqa: E402
from export.quantization.goal import Goal  # noqa: E402
from export.quantization.network import Network  # noqa: E402
from export.quantization.steps import INT4, INT8, nibbles, steps_of  # noqa: E402
from export.request import Compression, Request  # noqa: E402
from export.scoring import judge_drops  # noqa: E402
from export.tracing.graph import trace  # noqa: E402
from kerascnn.statistics import compare  # noqa: E402

pytestmark = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export runs on TensorFlow")
layers = keras.layers


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers this small are told by fewer samples."""
    monkeypatch.setattr(sequence, "SAMPLES", 1024)
    monkeypatch.setattr(sequence, "VIEWS", 1)
    monkeypatch.setattr(sequence, "SHRUNK", (1.0, 0.8))


@pytest.fixture(scope="module")
def traced() -> Any:
    keras.utils.set_random_seed(3)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(24, 3, activation="relu", bias_initializer="uniform", name="first")(image)
    x = layers.Conv2D(32, 3, activation="relu", groups=2, name="grouped")(x)
    x = layers.Conv2D(32, 3, activation="relu", name="pruned")(layers.DepthwiseConv2D(3, name="depthwise")(x))
    model = keras.Model(image, layers.Dense(10, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    kernel, bias = model.get_layer("pruned").get_weights()
    model.get_layer("pruned").set_weights([kernel * (np.abs(kernel) > np.quantile(np.abs(kernel), 0.9)), bias])
    return trace(model)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    random = np.random.default_rng(0)
    smooth = random.normal(size=(16, 16, 16, 1)).cumsum(axis=1).cumsum(axis=2) / 8
    return (smooth + random.normal(0, 0.3, (16, 16, 16, 3))).astype(np.float32)


def test_later_layers_make_up_for_what_earlier_ones_lost(traced: Any, images: np.ndarray) -> None:
    network = Network(traced.frozen, traced.input_name)
    four = sequence.all_in_four_bits(traced.frozen)
    reference = searching.answers(network, images[::2], {})
    lost = [
        compare(reference, searching.answers(network, images[::2], changed))[0]
        for changed in (sequence.nearest(network, four), sequence.quantize(network, images[1::2], four))
    ]
    assert lost[1] < 0.5 * lost[0]


def test_zeros_stay_zero_in_eight_bits(traced: Any, images: np.ndarray) -> None:
    network = Network(traced.frozen, traced.input_name)
    changed = sequence.quantize(network, images, dict.fromkeys(network.layers, INT8))
    for name in network.layers:
        assert not changed[name][traced.frozen.kernels[name] == 0].any()


def test_int4_takes_eight_bits_where_they_are_worth_it(traced: Any, images: np.ndarray, tmp_path: Path) -> None:
    """A tenth of the weights in two bytes each, against all in half a byte; and a layer with 2 % of all weights."""
    levels = sequence.mostly_four_bits(traced.frozen, cost)
    assert {name: number == INT4 for name, number in levels.items()} == {
        name: "first" in name or "grouped" in name for name in traced.frozen.kernels
    }
    write_tflite(traced, tmp_path / "int4.tflite", "int4", images)
    four = sequence.all_in_four_bits(traced.frozen)
    network = Network(traced.frozen, traced.input_name)
    with mock.patch.object(sequence, "mostly_four_bits", return_value=four):
        write_tflite(traced, tmp_path / "all.tflite", "int4", images)
    smaller, larger = (tmp_path / f"{name}.tflite" for name in ("int4", "all"))
    assert smaller.stat().st_size < larger.stat().st_size
    reference = searching.answers(network, images, {})
    lost = [
        np.square(open_tflite(path).predict_with_logits(images).logits - reference).mean() for path in (smaller, larger)
    ]
    assert lost[0] < lost[1]


def test_what_matters_more_gets_more_bits(traced: Any) -> None:
    network = Network(traced.frozen, traced.input_name)
    nats = dict.fromkeys(network.layers, 1e-9)
    dear = max(nats, key=lambda name: traced.frozen.kernels[name].size if "grouped" in name else 0)
    nats[dear] = 10.0
    found = searching.plans(network, nats, cost)
    sizes = [plan.bytes for plan in found]
    assert sizes == sorted(sizes)
    sparse = next(name for name in nats if "pruned" in name)
    assert found[0].levels[sparse] == INT8  # a tenth of the weights in two bytes each, against all in half a byte
    with_dear = next(plan for plan in found if plan.levels[dear] > INT4)
    assert sum(levels > INT4 for name, levels in with_dear.levels.items() if name in nats) <= 2


def test_a_file_keeps_to_its_bytes_and_answers(traced: Any, images: np.ndarray, tmp_path: Path) -> None:
    for name in ("float32", "dynamic", "int4"):
        write_tflite(traced, tmp_path / f"{name}.tflite", name, images)
    least, most = ((tmp_path / f"{name}.tflite").stat().st_size for name in ("int4", "dynamic"))
    target = (least + most) // 2
    write_tflite(traced, tmp_path / "auto.tflite", "auto", images, goal=Goal(None, target))
    assert (tmp_path / "auto.tflite").stat().st_size <= target
    found = {path.stem: open_tflite(path).predict_with_logits(images).logits for path in tmp_path.glob("*.tflite")}
    noise = {name: float(np.square(values - found["float32"]).mean()) for name, values in found.items()}
    assert noise["auto"] < 0.7 * noise["int4"]
    path = tmp_path / "small.tflite"
    with pytest.raises(ExportError, match=r"smallest mixture of precisions has [\d,]+ bytes; 1,000 were asked for"):
        write_tflite(traced, path, "auto", images, goal=Goal(None, 1000))
    assert not path.exists()


def test_the_smallest_plan_that_is_expected_to_lose_little_enough_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seven plans that lose 6, 5, … 0 points; half of what is allowed is what a plan may be expected to lose."""
    candidates = [searching.Plan({"kernel": number}, number) for number in range(7)]
    monkeypatch.setattr(sequence, "quantize", lambda network, images, levels: levels)
    monkeypatch.setattr(searching, "answers", lambda network, images, changed: changed.get("kernel", 6))
    monkeypatch.setattr(searching, "expected_drop", lambda reference, found: reference - found)
    network: Any = None
    photos = (np.zeros(1), np.zeros(1))
    found = [searching._within_drop(network, photos, candidates, drop) for drop in (0.1, 4.0, 100.0)]
    assert [plan.bytes for plan in found] == [6, 4, 0]


def test_an_onnx_file_has_the_same_mixture_and_answers(traced: Any, images: np.ndarray, tmp_path: Path) -> None:
    """Four, eight and sixteen bits in one file, which ONNX Runtime computes in float32."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    network = Network(traced.frozen, traced.input_name)
    bits = [INT4, INT8, searching.HALF]
    levels = dict(zip(network.layers, [*bits, INT4], strict=False))
    changed = sequence.nearest(network, levels)
    with mock.patch.object(searching, "search", lambda network, *_: network.with_values(changed)):
        onnx_format.Onnx().write(Source(traced, images), tmp_path / "auto.onnx", PRECISIONS["auto"])
    kinds = {tensor.data_type for tensor in onnx.load(tmp_path / "auto.onnx").graph.initializer}
    assert {onnx.TensorProto.INT4, onnx.TensorProto.INT8, onnx.TensorProto.FLOAT16} <= kinds
    found = onnx_format.Onnx().open(tmp_path / "auto.onnx").predict(images)
    expected = np.exp(searching.answers(network, images, changed))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)  # it rounds what a dense layer reads


def test_steps_are_found_only_where_they_hold_every_weight() -> None:
    numbers = np.random.default_rng(0).integers(-5, 6, (3, 40)).astype(np.int8)
    numbers[:, 0] = 5  # not all seven are used
    steps = np.array([0.1, 3.0, 1e-4], np.float32)
    kernel = numbers * steps[:, None]
    np.testing.assert_allclose(np.asarray(steps_of(kernel, 0, INT4)), steps, rtol=1e-5)
    kernel[1, 7] += 1.0
    assert steps_of(kernel, 0, INT4) is None


def test_two_numbers_a_byte_the_first_in_the_low_half() -> None:
    assert nibbles(np.array([1, -1, 7, -7, 3], np.int8)) == bytes([0xF1, 0x97, 0x03])


def test_what_loses_more_than_it_may_is_not_published(tmp_path: Path) -> None:
    """Judged on the photos that calibration did not use; an artifact of another precision stays."""
    photos = ImageSource(tmp_path, tuple(f"{number:03}.jpg" for number in range(150)))
    hits = np.ones(150)
    worse = hits.copy()
    worse[:53] = 0  # three of those held back
    notes: list[str] = []

    def judge(drop: float) -> Outcome:
        (tmp_path / "auto.tflite").touch()
        names = {"auto.tflite": "auto", "other.tflite": "int4"}
        passed = [
            Passed(Artifact(path, "tflite", name, *[None] * 7), None, None, {})  # type: ignore[arg-type]
            for path, name in names.items()
        ]
        outcome = Outcome(passed=passed)
        scores: Any = SimpleNamespace(
            hits={"keras": hits, "auto.tflite": worse, "other.tflite": worse}, photos=photos.names
        )
        request = Request(
            formats=["tflite"],
            precisions=["auto"],
            calibration=ImageSource(tmp_path, photos.names[:50]),
            evaluation=photos,
            goal=Goal(drop),
        )
        job = SimpleNamespace(request=request, evaluation=photos)
        context: Any = SimpleNamespace(job=job, folder=tmp_path, progress=SimpleNamespace(note=notes.append))
        judge_drops(context, outcome, scores)
        return outcome

    outcome = judge(3.1)
    assert not outcome.rejected
    assert [one.artifact.drop and one.artifact.drop.photos for one in outcome.passed] == [100, None]
    assert "loses 3.00 points of top-1 on 100 photos held back" in notes[0]
    outcome = judge(2.9)
    assert [one.artifact.path for one in outcome.passed] == ["other.tflite"]
    assert "--max-drop allows 2.9" in outcome.rejected[0].reason
    assert not (tmp_path / "auto.tflite").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"goal": Goal(2.0)}, "Ask for that too"),
        ({"precisions": ["auto"]}, "--evaluate"),
        ({"precisions": ["auto"], "goal": Goal(0.0)}, "more than 0"),
        ({"precisions": ["auto"], "goal": Goal(None, -1)}, "cannot have -1 bytes"),
        ({"precisions": ["auto"], "goal": Goal(None, None)}, "nothing to reach"),
        ({"precisions": ["auto"], "goal": Goal(None, 9), "compression": Compression()}, "not for both"),
    ],
)
def test_goals_that_cannot_be_are_refused_at_once(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError, match=message):
        Request(formats=["tflite"], calibration=np.zeros((9, 4, 4, 3), np.float32), **options)


def test_a_drop_that_too_few_photos_could_prove_is_refused_at_once(tmp_path: Path) -> None:
    """Of 129 photos every one but 29 is calibrated on, also where a folder within theirs is evaluated on."""
    names = tuple(f"cat/{number:03}.jpg" for number in range(129))
    (tmp_path / "cat").mkdir()
    within = ImageSource(tmp_path / "cat", tuple(name.removeprefix("cat/") for name in names))
    calibration = ImageSource(tmp_path, names)
    for evaluation in (calibration, within):
        with pytest.raises(RequestError, match="^29 photos of --evaluate are not used to choose precisions, and 30"):
            Request(formats=["tflite"], precisions=["auto"], calibration=calibration, evaluation=evaluation)
    for evaluation, goal in ((ImageSource(tmp_path / "others", names), None), (within, Goal(None, 9))):
        Request(formats=["tflite"], precisions=["auto"], calibration=calibration, evaluation=evaluation, goal=goal)


def test_four_bits_are_rounded_with_more_photos_than_ranges_are_taken_from(tmp_path: Path) -> None:
    """Unless the same photos score the artifacts: then the others have to stay unseen."""
    names = tuple(f"cat/{number:03}.jpg" for number in range(300))
    photos, others = ImageSource(tmp_path / "photos", names), ImageSource(tmp_path / "others", names)

    def read(precision: str, evaluation: ImageSource | None) -> tuple[int, int]:
        request = Request(formats=["tflite"], precisions=[precision], calibration=photos, evaluation=evaluation)
        return request.calibration_photos, len(request.held_back)

    assert read("int4", None) == (256, 0)
    assert read("int8", None) == (100, 0)
    assert read("auto", others) == read("int4", others) == (256, 300)
    assert read("auto", photos) == read("int4", photos) == (100, 200)
    assert read("int8", photos) == (100, 200)


def test_of_more_photos_than_are_read_as_many_are_taken(
    traced: Any, images: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One photo more than the limit does not halve them."""
    network = Network(traced.frozen, traced.input_name)
    four = sequence.all_in_four_bits(traced.frozen)
    monkeypatch.setattr(sequence, "ROUNDING_PHOTOS", 8)
    nine, eight = (sequence.quantize(network, images[:count], four) for count in (9, 8))
    for name, value in eight.items():
        np.testing.assert_array_equal(nine[name], value)
