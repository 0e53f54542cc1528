"""What is special to the Inception networks: auxiliary classifiers, pools at the edge, normalisation's scale."""

from pathlib import Path

import keras
import numpy as np
import pytest

import kerascnn
from kerascnn import applications
from kerascnn.analysis import count_parameters
from kerascnn.build_info import build_info
from kerascnn.layers.auxiliary import AuxiliaryModel
from tests.networks import randomized, structure


def images(side, count=4, seed=0):
    return np.random.default_rng(seed).normal(size=(count, side, side, 3)).astype("float32")


@pytest.fixture
def trainable():
    model = applications.googlenet(aux_logits=True, input_shape=(79, 79, 3), classes=5)
    model.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_auxiliary_losses_are_weighted_in_training_only(trainable):
    # The user gives one loss and plain labels: forgetting the weights, or adding them in evaluation, would not show.
    x, labels = images(79), np.array([0, 1, 2, 4])
    for layer in trainable.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0.0
    outputs = trainable(x, training=True)
    assert set(outputs) == {"predictions", "aux1", "aux2"}
    each = {
        name: float(keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, output)))
        for name, output in outputs.items()
    }
    weighted = each["predictions"] + 0.3 * (each["aux1"] + each["aux2"])
    assert float(trainable.compute_loss(x, labels, outputs)) == pytest.approx(weighted, rel=1e-5)
    history = trainable.fit(x, labels, batch_size=4, verbose=0).history
    assert history["loss"][0] == pytest.approx(weighted, rel=1e-4)
    assert set(history) == {"loss", "accuracy"}
    assert trainable.evaluate(x, labels, verbose=0)[0] == pytest.approx(each["predictions"], rel=1e-4)


def test_weight_decay_counts_once(trainable):
    x, labels = images(79), np.array([0, 1, 2, 4])
    outputs = trainable(x, training=True)
    without = float(trainable.compute_loss(x, labels, outputs))
    dense = trainable.get_layer("predictions")
    dense.kernel.regularizer = keras.regularizers.L2(0.1)
    decay = 0.1 * float(keras.ops.sum(keras.ops.square(dense.kernel)))
    assert float(trainable.compute_loss(x, labels, outputs)) == pytest.approx(without + decay, rel=1e-5)


def test_every_classifier_is_trained(trainable):
    # A branch that is not connected, or whose loss is lost, leaves its own weights where they were.
    before = {weight.path: np.array(weight) for weight in trainable.trainable_weights}
    trainable.compile(keras.optimizers.SGD(1.0), "sparse_categorical_crossentropy", run_eagerly=True)
    trainable.train_on_batch(images(79), np.array([0, 1, 2, 4]))
    still = [weight.path for weight in trainable.trainable_weights if (np.array(weight) == before[weight.path]).all()]
    assert not still


def test_auxiliary_classifiers_vanish_at_inference():
    with_branches = applications.googlenet(aux_logits=True, input_shape=(79, 79, 3), classes=5)
    alone = kerascnn.inference_model(with_branches)
    plain = applications.googlenet(input_shape=(79, 79, 3), classes=5)
    assert [layer.name for layer in alone.layers] == [layer.name for layer in plain.layers]
    assert alone.count_params() == plain.count_params() < with_branches.count_params()
    assert build_info(alone).variant == "googlenet"
    x = images(79)
    assert with_branches(x).shape == (4, 5)
    np.testing.assert_array_equal(np.asarray(with_branches(x)), np.asarray(alone(x)))
    assert kerascnn.inference_model(plain) is plain


@pytest.mark.parametrize("copy", ["save", "clone"])
def test_auxiliary_model_round_trip(trainable, copy, tmp_path):
    if copy == "save":
        trainable.auxiliary_weight = 0.25
        trainable.save(tmp_path / "model.keras")
        again = keras.saving.load_model(tmp_path / "model.keras")
    else:
        again = keras.models.clone_model(trainable)
        again.set_weights(trainable.get_weights())
    assert isinstance(again, AuxiliaryModel)
    assert again.auxiliary_weight == trainable.auxiliary_weight
    x = images(79)
    assert set(again(x, training=True)) == {"predictions", "aux1", "aux2"}
    np.testing.assert_array_equal(np.asarray(again(x)), np.asarray(trainable(x)))


def test_auxiliary_heads_are_float32_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = applications.googlenet(aux_logits=True, input_shape=(79, 79, 3), classes=5)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {output.dtype for output in model.outputs} == {"float32"}
    assert np.asarray(model(images(79))).dtype == np.float32


@pytest.mark.parametrize("options", [{"include_top": False}, {"features": True}])
def test_auxiliary_without_classifier_is_refused(options):
    with pytest.raises(ValueError, match="aux_logits=True adds classifiers"):
        applications.googlenet(aux_logits=True, **options)


@pytest.mark.parametrize(
    ("name", "side", "smallest"),
    [("googlenet", 78, "79x79"), *((name, 298, "299x299") for name in ("inception_v3", "inception_v4"))],
)
def test_too_small_for_the_auxiliary_classifier(name, side, smallest):
    with pytest.raises(ValueError, match=f"smallest input that (they|it) works? with is {smallest}"):
        kerascnn.create_model(name, aux_logits=True, input_shape=(side, side, 3))


def test_auxiliary_model_cannot_be_a_layer(trainable):
    with pytest.raises(ValueError, match="inference_model"):
        trainable(keras.Input((79, 79, 3)))


def test_wrong_option_names_the_familys_own():
    with pytest.raises(TypeError, match=r"no option 'aux_logit'.*aux_logits"):
        applications.googlenet(aux_logit=True)


@pytest.mark.parametrize("name", ["bn_inception", "inception_v3"])
def test_average_pools_at_the_edge(name):
    # TensorFlow divides by the pixels within the map, Caffe and torch by all nine places. The two forms share all
    # weights and shapes, so only the values at the border tell them apart.
    side = 75
    within = structure(name, include_top=False, input_shape=(side, side, 3), pool_counts_padding=False)
    pool = next(layer for layer in within.layers if isinstance(layer, keras.layers.AveragePooling2D))
    assert pool.padding == "same"
    ones = np.ones((1, 5, 5, 1), "float32")
    np.testing.assert_allclose(np.asarray(pool(ones)), ones, rtol=1e-6)
    counting = structure(name, include_top=False, input_shape=(side, side, 3), pool_counts_padding=True)
    y = counting.get_layer(pool.name)(counting.get_layer(f"{pool.name}_pad")(ones))
    assert float(y[0, 0, 0, 0]) == pytest.approx(4 / 9, rel=1e-5)
    assert float(y[0, 2, 2, 0]) == pytest.approx(1, rel=1e-5)
    default = structure(name, include_top=False, input_shape=(side, side, 3))
    counts = any(layer.name == f"{pool.name}_pad" for layer in default.layers)
    assert counts == (name == "bn_inception")  # Caffe's network, and Google's


def test_inception_v2_is_tf_slims():
    """tf_slim/nets/inception_v2_test.py, line 134: 10,173,112 weights and statistics without the classifier."""
    model = structure("inception_v2", include_top=False)
    assert model.count_params() == 10_173_112
    assert [model.get_layer(f"inception_4{letter}_output").output.shape[-1] for letter in "cd"] == [576, 576]
    caffe = structure("bn_inception", include_top=False)
    assert [caffe.get_layer(f"inception_4{letter}_output").output.shape[-1] for letter in "cd"] == [608, 608]


def test_inception_resnet_v1_is_the_face_networks_without_what_is_for_faces():
    """pytorchcv's inceptionresnetv1 has 23,995,624 parameters and 29,600 statistics: a sixth C unit, an embedding."""
    model = structure("inception_resnet_v1")
    unit = [layer for layer in model.layers if layer.name.startswith("block8_5_")]
    one_more = sum(int(np.prod(weight.shape)) for layer in unit for weight in layer.trainable_weights)
    embedding = (1792 * 512 + 2 * 512 + 512 * 1000) - 1792 * 1000
    counts = count_parameters(model)
    assert counts.trained + one_more + embedding == 23_995_624
    assert counts.statistics + 2 * 4 * 192 + 2 * 512 == 29_600


def test_se_bn_inception_squeezes_after_each_module():
    """Widths of models/SE-BN-Inception.prototxt, inception_*_1x1_down."""
    model = structure("se_bn_inception", include_top=False)
    down = [layer.filters for layer in model.layers if layer.name.endswith("_se_down")]
    assert down == [16, 20, 36, 36, 36, 38, 38, 66, 64, 64]


@pytest.mark.parametrize(
    "name", ["inception_v2", "inception_v3", "inception_v4", "inception_resnet_v1", "inception_resnet_v2"]
)
def test_moving_statistics_are_googles(name):
    """inception_utils.py: decay 0.9997, epsilon 0.001; the option gives another."""

    def found(**options):
        model = structure(name, include_top=False, input_shape=(96, 96, 3), **options)
        norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
        return {(layer.momentum, layer.epsilon) for layer in norms}

    assert found() == {(0.9997, 1e-3)}
    assert found(bn_momentum=0.9) == {(0.9, 1e-3)}
    with pytest.raises(ValueError, match="bn_momentum must be at least 0 and below 1; it is 1"):
        kerascnn.create_model(name, bn_momentum=1)


def test_normalization_without_scale():
    # What keras.applications' weights have: 17,216 parameters fewer, and the same output where the scale is 1.
    scaled = applications.inception_v3(include_top=False, pooling="avg", input_shape=(75, 75, 3))
    model = applications.inception_v3(include_top=False, pooling="avg", input_shape=(75, 75, 3), bn_scale=False)
    assert scaled.count_params() - model.count_params() == 17_216
    randomized(model)
    for layer in model.layers:
        weights = layer.get_weights()
        if isinstance(layer, keras.layers.BatchNormalization):
            weights = [np.ones_like(weights[0]), *weights]
        scaled.get_layer(layer.name).set_weights(weights)
    x = images(75, count=2)
    np.testing.assert_allclose(np.asarray(scaled(x)), np.asarray(model(x)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("side", [97, 110])
def test_bn_inception_takes_odd_maps(side):
    # Its reductions join strided convolutions and a pool, which on odd maps differ by one pixel in Caffe's rounding.
    model = structure("bn_inception", include_top=False, input_shape=(side, side, 3))
    assert applications.bn_inception(include_top=False, input_shape=(None, None, 3))(images(side, 1)).shape == (
        1,
        *model.output_shape[1:],
    )


def light_googlenet(model):
    """The ONNX zoo's Inception v1 with the weights of `model`, and Caffe's rounding up, which its conversion lost."""
    onnx = pytest.importorskip("onnx", reason="the ONNX zoo's graphs come with the onnx package")
    file = Path(onnx.__file__).parent / "backend/test/data/light/light_inception_v1.onnx"
    graph = (light := onnx.load(file)).graph
    read = {name for node in graph.node for name in node.input if name.endswith(("_w_0", "_b_0"))}
    for found in [node for node in graph.node if node.output[0] in read]:
        graph.node.remove(found)  # constants in place of weights
    for found in [array for array in graph.initializer if array.name in read]:
        graph.initializer.remove(found)
    for name in read:
        layer = name[: -len("_w_0")].replace("/", "_")
        layer = model.get_layer("predictions" if layer == "loss3_classifier" else layer)
        array = np.array(layer.kernel if name.endswith("_w_0") else layer.bias)
        array = array.transpose(3, 2, 0, 1) if array.ndim == 4 else array.T
        graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
    for node in graph.node:
        attributes = {attribute.name: attribute for attribute in node.attribute}
        if node.op_type == "MaxPool" and attributes["strides"].ints[0] == 2:
            attributes["pads"].ints[:] = [0, 0, 1, 1]
        elif node.op_type == "AveragePool":
            attributes["pads"].ints[:] = [0, 0, 0, 0]
    graph.output.append(onnx.helper.make_empty_tensor_value_info("r143"))  # what the softmax takes
    return light.SerializeToString()


def test_googlenet_is_the_onnx_zoos():
    # No other package has the paper's GoogLeNet; this graph, converted from Caffe's, states it independently.
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    model = randomized(applications.googlenet(classifier_activation=None))
    session = runtime.InferenceSession(light_googlenet(model), options, providers=["CPUExecutionProvider"])
    x = images(224, count=1)
    (expected,) = session.run(["r143"], {"data_0": x.transpose(0, 3, 1, 2)})
    logits = np.asarray(model(x))
    assert np.abs(logits - expected).max() / np.abs(expected).max() < 1e-4
