"""FractalNet: the fractal against the paper's recursion, drop-path, and one column alone."""

import itertools

import keras
import numpy as np
import pytest

from kerascnn import applications
from kerascnn.layers.drop_path import FractalJoin, GlobalDropPath
from kerascnn.surgery.parts import single_column
from tests.networks import randomized


@pytest.fixture(autouse=True)
def seeded():
    keras.utils.set_random_seed(0)


def images(count=2, shape=(32, 32, 3)):
    return np.random.default_rng(0).normal(size=(count, *shape)).astype("float32")


@pytest.fixture(scope="module")
def network():
    """With frozen batch normalisation, so that nothing but drop-path differs between training and inference."""
    keras.utils.set_random_seed(0)
    model = randomized(applications.fractalnet20_cifar(dropout=False))
    model.trainable = False
    return model


def recursion(model, block, x, columns, count):
    """f_1(z) = conv(z), f_{C+1}(z) = join(f_C(f_C(z)), conv(z)): the columns of f_C before their join (section 2).

    Joins that meet are one mean over all their columns. `count` numbers the convolutions of each column.
    """
    count[columns] = count.get(columns, 0) + 1
    # The fractal of 1 column is the deepest of the block.
    name = f"{block}_col{model.kerascnn_columns - columns + 1}_{count[columns]}"
    y = x
    for kind in ("conv", "bn", "relu"):
        y = model.get_layer(f"{name}_{kind}")(y)
    if columns == 1:
        return [y]
    inner = recursion(model, block, x, columns - 1, count)
    joined = sum(inner[1:], inner[0]) / len(inner)
    return [y, *recursion(model, block, joined, columns - 1, count)]


def pooled(x):
    n, side = x.shape[0], x.shape[1] // 2
    return x[:, : 2 * side, : 2 * side].reshape(n, side, 2, side, 2, -1).max((2, 4))


@pytest.mark.parametrize("before", [True, False])
def test_inference_is_the_papers_recursion(before, network):
    model = applications.fractalnet20_cifar(pool_before_join=before)
    model.set_weights(network.get_weights())
    model.kerascnn_columns = 3
    x = images()
    for block in range(1, 6):
        maps = [np.asarray(y) for y in recursion(model, f"block{block}", x, 3, {})]
        assert len(maps) == 3
        x = np.mean([pooled(y) for y in maps], axis=0) if before else pooled(np.mean(maps, axis=0))
    kernel, bias = (np.asarray(weight) for weight in model.get_layer("predictions").weights)
    logits = x.reshape(2, -1) @ kernel + bias
    scores = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(model(images()), scores / scores.sum(1, keepdims=True), rtol=1e-4, atol=1e-6)


def test_the_deepest_column_alone(network):
    """20 convolutions in a row, stated here by their names; it shares the weights, and trains."""
    single = single_column(network)
    x = images()
    for block in range(1, 6):
        for number in range(1, 5):
            for kind in ("conv", "bn", "relu"):
                x = network.get_layer(f"block{block}_col3_{number}_{kind}")(x)
        x = pooled(np.asarray(x))
    expected = network.get_layer("predictions")(x.reshape(2, -1))
    np.testing.assert_allclose(single(images()), expected, rtol=1e-5, atol=1e-6)
    assert not any(isinstance(layer, (FractalJoin, GlobalDropPath)) for layer in single.layers)
    assert all(any(weight is other for other in network.weights) for weight in single.weights)
    depths = [
        sum(isinstance(layer, keras.layers.Conv2D) for layer in single_column(network, column).layers)
        for column in (1, 2, 3)
    ]
    assert depths == [5, 10, 20]
    with pytest.raises(ValueError, match="columns 1 to 3"):
        single_column(network, 4)
    with pytest.raises(ValueError, match="not a fractal network"):
        single_column(applications.squeezenet(input_shape=(64, 64, 3)))


def test_global_drop_path_leaves_one_column(network):
    model = applications.fractalnet20_cifar(dropout=False, global_drop_path=1.0)
    model.set_weights(network.get_weights())
    model.trainable = False
    x = images()
    alone = [np.asarray(single_column(model, column)(x)) for column in (1, 2, 3)]
    found = []
    for _ in range(12):
        output = np.asarray(model(x, training=True))
        errors = [np.abs(output - column).max() for column in alone]
        assert min(errors) < 1e-6
        found.append(int(np.argmin(errors)))
    assert set(found) == {0, 1, 2}
    # by what it uses: zeros in the other columns change nothing
    state = model.get_layer("global_drop_path").seed_generator.state
    before = np.array(state)
    output = np.asarray(model(x, training=True))
    chosen = int(np.argmin([np.abs(output - column).max() for column in alone]))
    for layer in model.layers:
        if "_col" in layer.name and f"_col{chosen + 1}_" not in layer.name:
            for weight in layer.weights:
                weight.assign(np.zeros(weight.shape))
    state.assign(before)
    np.testing.assert_array_equal(model(x, training=True), output)


def test_half_of_the_steps_are_global_and_columns_are_equally_likely():
    choices = np.asarray(GlobalDropPath(3, 0.5, "row", seed=0)(np.zeros((6000, 1)), training=True))
    assert set(np.unique(choices)) == {0, 1}
    assert set(choices.sum(1)) == {0, 1}
    np.testing.assert_allclose(choices.mean(0), 1 / 6, atol=0.02)  # four standard errors
    assert np.asarray(GlobalDropPath(3, 0.5, seed=0)(np.zeros((8, 1)), training=True)).shape == (1, 3)
    for rate, total in ((0.0, 0), (1.0, 1)):
        choices = np.asarray(GlobalDropPath(4, rate, "row", seed=0)(np.zeros((500, 1)), training=True))
        assert (choices.sum(1) == total).all()
    assert not np.asarray(GlobalDropPath(3, 1.0)(np.zeros((2, 1)))).any()  # inference


@pytest.mark.parametrize("rate", [0.15, 0.8])
def test_local_drop_path_drops_each_input_and_never_all(rate):
    draws = np.asarray(FractalJoin(rate, "row", seed=0).survivors(np.zeros((20000, 3), "float32"), 3))
    assert (draws.sum(1) >= 1).all()
    for pattern in itertools.product((0, 1), repeat=3):
        alive = sum(pattern)
        expected = rate ** (3 - alive) * (1 - rate) ** alive + (rate**3 / 3 if alive == 1 else 0)
        found = (draws == pattern).all(1).mean()
        assert found == pytest.approx(expected if alive else 0, abs=4.5 * np.sqrt(0.25 / 20000)), pattern


def test_a_join_is_the_mean_of_its_survivors_and_on_average_of_all():
    maps = [np.full((4000, 1, 1, 1), value, "float32") for value in (1.0, 2.0, 6.0)]
    join = FractalJoin(0.15, "row", seed=0)
    local, single = np.zeros((1, 3), "float32"), np.array([[0, 1, 0]], "float32")
    rows = np.zeros((4000, 3), "float32")
    assert float(np.asarray(join([*maps, local]))[0, 0, 0, 0]) == 3
    passes = np.asarray(join([*maps, rows], training=True)).ravel()
    means = {np.mean(kept) for n in (1, 2, 3) for kept in itertools.combinations((1, 2, 6), n)}
    assert set(passes) <= {np.float32(mean) for mean in means}
    assert passes.mean() == pytest.approx(3, abs=4.5 * passes.std() / np.sqrt(4000))
    assert (np.asarray(join([*maps, single], training=True)) == 2).all()
    assert (np.asarray(join([*maps[1:], single], training=True)) == 2).all()  # of columns 2 and 3
    elsewhere = np.array([[1, 0, 0]], "float32")  # column 1 does not reach the join of columns 2 and 3
    assert (np.asarray(join([*maps[1:], elsewhere], training=True)) == 4).all()
    whole = FractalJoin(0.15, seed=0)([*maps, local], training=True)
    assert len(np.unique(np.asarray(whole))) == 1  # the whole batch alike


def test_draws_follow_the_seed():
    def passes(seed):
        keras.utils.set_random_seed(seed)
        join = FractalJoin(0.5, "row")
        choice = GlobalDropPath(2, mode="row")
        maps = [np.full((64, 1, 1, 1), value, "float32") for value in (1.0, 2.0)]
        return [np.asarray(join([*maps, choice(maps[0], training=True)], training=True)) for _ in range(3)]

    np.testing.assert_array_equal(passes(1), passes(1))
    assert not np.array_equal(passes(1), passes(2))


def test_what_is_dropped_where():
    model = applications.fractalnet20_cifar()
    rates = {layer.name: layer.rate for layer in model.layers if isinstance(layer, keras.layers.Dropout)}
    assert {rates[f"block{block}_col3_1_dropout"] for block in range(2, 6)} == {0.1, 0.2, 0.3, 0.4}
    assert len(rates) == 4 * 7
    names = [layer.name for layer in model.layers]
    assert names.index("block3_col1_1_conv") < names.index("block3_col1_1_dropout") < names.index("block3_col1_1_bn")
    joins = {layer.name: len(layer.input) - 1 for layer in model.layers if isinstance(layer, FractalJoin)}
    assert joins == {f"block{block}_join{row}": row // 2 + 1 for block in range(1, 6) for row in (2, 4)}
    assert {layer.rate for layer in model.layers if isinstance(layer, FractalJoin)} == {0.15}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"drop_path": 1.0}, "less than 1"),
        ({"drop_path": -0.1}, "drop_path is a share"),
        ({"global_drop_path": 1.5}, "at most 1"),
        ({"drop_path_mode": "sample"}, '"batch".*"row"'),
        ({"dropout": 0.5}, "True or False"),
        ({"pool_before_join": "yes"}, "True, False"),
    ],
    ids=str,
)
def test_wrong_options(options, says):
    with pytest.raises(ValueError, match=says):
        applications.fractalnet20_cifar(**options)


def test_saved_models_load_and_have_columns(network, tmp_path):
    network.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    x = images()
    np.testing.assert_array_equal(loaded(x), network(x))
    np.testing.assert_array_equal(single_column(loaded, 2)(x), single_column(network, 2)(x))


def test_exports_hold_the_full_network_and_no_random_numbers(network):
    from export.tracing.graph import trace

    operations = [node.op for node in trace(network).frozen.graph_def.node]
    assert operations.count("Conv2D") == 35
    allowed = {"Placeholder", "Const", "Identity", "Conv2D", "BiasAdd", "Relu", "MaxPool", "MatMul", "Mean", "Softmax"}
    arithmetic = {"FusedBatchNormV3", "AddV2", "Mul", "Sub", "Rsqrt", "RealDiv", "Cast", "NoOp"}
    assert set(operations) <= allowed | arithmetic


@pytest.mark.slow
def test_training_on_real_images_lowers_the_loss(data):
    from tests.kerascnn.layers.test_stochastic_depth import cifar

    x, y = cifar(data, 16)
    model = applications.fractalnet20_cifar(drop_path_mode="row")
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "sparse_categorical_crossentropy", run_eagerly=True)
    before = [np.array(weight) for weight in model.weights]
    losses = model.fit(x, y, batch_size=16, epochs=8, verbose=0).history["loss"]
    assert np.isfinite(losses).all()
    assert min(losses[-3:]) < losses[0]
    assert all((np.array(weight) != old).any() for weight, old in zip(model.weights, before, strict=True))
