"""Every variant has exactly the counts, the stages and the smallest input size of the table of facts."""

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn.analysis import count_macs, count_parameters, profile
from kerascnn.factory import builders
from kerascnn.registry import variants
from tests.networks import structure, without_values


def some(names):
    """Every variant, those that are not among `names` with `-m slow` alone."""
    return [pytest.param(name, marks=() if name in names else pytest.mark.slow) for name in variants()]


def test_every_row_has_a_builder_and_every_builder_a_row():
    assert set(builders()) == set(variants())
    assert set(builders()) == set(kerascnn.applications.__all__) - {"ensemble"}  # which joins other models


@pytest.mark.parametrize("name", variants())
def test_counts(name):
    row = variants()[name]
    assert row.input_shape[0] in row.macs
    for side, macs in row.macs.items():
        model = structure(name, input_shape=(side, side, row.input_shape[2]))
        counted = count_parameters(model)
        assert (counted.trained, counted.statistics) == (row.parameters, row.statistics)
        assert count_macs(model) == macs
        table = profile(model)
        assert (table.parameters, table.macs, table.unknown) == (row.parameters, macs, ())
        assert table.peak.optimal
        assert all(layer.field for layer in table.layers if len(layer.output) == 3)


@pytest.mark.parametrize(
    ("name", "counts"), [(row.name, counts) for row in variants().values() for counts in row.also], ids=str
)
def test_counts_under_other_options(name, counts):
    model = structure(name, **counts.options)
    assert count_parameters(model).trained == counts.parameters
    if counts.gmacs is not None:
        assert round(count_macs(model) / 1e9, 4) == counts.gmacs


# Networks of one family whose records name the same stages have them from the same lines.
STAGES = {(row.family, row.input_shape, str(row.stages)): row.name for row in reversed(variants().values())}.values()


@pytest.mark.parametrize("name", some(STAGES))
def test_stages_are_those_of_the_record(name):
    row = variants()[name]
    side, *_, channels = row.input_shape
    output = structure(name, features=True).output
    assert {stage: tensor.shape[-1] for stage, tensor in output.items()} == {
        stage: channels for stage, (channels, _) in row.stages.items()
    }
    # Unpadded convolutions lose a few pixels at the edge, so the stride is the nearest power of two.
    sides = {stage: output[stage].shape[1] for stage in row.stages}
    strides = {stage: stride for stage, (_, stride) in row.stages.items()}
    assert all(sides[stage] <= side / strides[stage] + 1 for stage in sides)
    unsure = [stage for stage in sides if sides[stage] < side / strides[stage] * 0.7]
    if unsure:  # much of a small image: see how the map grows
        more = 8 * max(strides[stage] for stage in unsure)
        wider = structure(name, features=True, input_shape=(side + more, side, channels)).output
        assert {stage: wider[stage].shape[1] - sides[stage] for stage in unsure} == {
            stage: more // strides[stage] for stage in unsure
        }


# Networks of one family that have the same smallest size have it for the same reason.
SMALLEST = {(row.family, row.min_size): row.name for row in reversed(variants().values())}.values()


@pytest.mark.parametrize("name", some(SMALLEST))
def test_the_smallest_size(name, monkeypatch):
    """It works, one pixel less is refused, and that it must be: there, the architecture itself fails."""
    row = variants()[name]
    side, channels = row.min_size, row.input_shape[2]
    model = kerascnn.create_model(name, input_shape=(side, side, channels), classes=3)
    image = np.random.default_rng(0).normal(size=(1, side, side, channels)).astype("float32")
    assert np.isfinite(keras.ops.convert_to_numpy(model(image))).all()
    if side == 1:
        return
    with pytest.raises(ValueError, match=f"smallest that works is {side}x{side}"):
        kerascnn.create_model(name, input_shape=(side - 1, side, channels))
    monkeypatch.setattr("kerascnn.building.network.check_shape", lambda *_: None)
    with pytest.raises(Exception), without_values():  # noqa: B017  (Keras and TensorFlow each raise their own)
        kerascnn.create_model(name, input_shape=(side - 1, side - 1, channels))


@pytest.mark.parametrize(
    ("name", "published"),
    [
        ("resnet110_stochastic_cifar", (5.25, None)),
        ("wide_resnet50_2", (21.9, 6.03)),
        ("wide_resnet50_2", (21.9, 5.79)),
        ("nin", (40.64, None)),
        ("nin_cifar", (10.4, None)),
        ("densenet264", (22.1, None)),
        ("alexnet_owt_krizhevsky", (42.55, 19.81)),
        ("alexnet_owt_krizhevsky", (40.42, 18.15)),
        ("squeezenet", (39.62, 17.5)),
        ("se_bn_inception", (23.62, 7.04)),
    ],
)
def test_published_errors_are_the_authors(name, published):
    """As their own pages print them; the record names each page."""
    assert published in [(error.top1, error.top5) for error in variants()[name].errors]
