"""Every variant has exactly the parameters, statistics and multiply-accumulates of the table of facts."""

import keras
import pytest

import kerascnn
from kerascnn.analysis import count_macs, count_parameters, profile
from kerascnn.factory import builders
from kerascnn.registry import variants


@pytest.fixture(autouse=True)
def clear():
    yield
    keras.backend.clear_session()


def test_every_row_has_a_builder_and_every_builder_a_row():
    assert set(builders()) == set(variants())
    assert set(builders()) == set(kerascnn.applications.__all__) - {"ensemble"}  # which joins other models


@pytest.mark.parametrize("name", variants())
def test_counts(name):
    row = variants()[name]
    for side, macs in row.macs.items():
        model = kerascnn.create_model(name, input_shape=(side, side, row.input_shape[2]))
        counted = count_parameters(model)
        assert (counted.trained, counted.statistics) == (row.parameters, row.statistics)
        assert count_macs(model) == macs
        table = profile(model)
        assert (table.parameters, table.macs, table.unknown) == (row.parameters, macs, ())
    assert row.input_shape[0] in row.macs


@pytest.mark.parametrize(
    ("name", "counts"), [(row.name, counts) for row in variants().values() for counts in row.also], ids=str
)
def test_counts_under_other_options(name, counts):
    model = kerascnn.create_model(name, **counts.options)
    assert count_parameters(model).trained == counts.parameters
    if counts.gmacs is not None:
        assert round(count_macs(model) / 1e9, 4) == counts.gmacs


@pytest.mark.parametrize("name", variants())
def test_stages_are_those_of_the_record(name):
    row = variants()[name]
    model = kerascnn.create_model(name, features=True)
    side = row.input_shape[0]
    assert {stage: tensor.shape[-1] for stage, tensor in model.output.items()} == {
        stage: channels for stage, (channels, _) in row.stages.items()
    }
    for stage, (_, stride) in row.stages.items():
        # Unpadded convolutions lose a few pixels at the edge, so the stride is the nearest power of two.
        found = model.output[stage].shape[1]
        assert found <= side / stride + 1
        if found < side / stride * 0.7:  # much of a small image: see how the map grows
            wider = kerascnn.create_model(
                name, features=[stage], input_shape=(side + 8 * stride, side, row.input_shape[2])
            )
            assert wider.output[stage].shape[1] == found + 8
