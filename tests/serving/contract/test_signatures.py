"""What `export --saved-model` writes for a server: three signatures that agree, warm-up requests, known operators."""

from __future__ import annotations

import io
import random
import struct
import zipfile
import zlib
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps

import export
from export.formats import photos
from kerascnn.build_info import BuildInfo, build_info, set_build_info
from kerascnn.photos.preprocessing import Preprocessing
from serving.contract import BATCH_SIZES, operators
from serving.contract.warmup import answer, read_warmup
from tests.serving.small import CLASSES, SIDE, encoded, photo, small_model, small_preprocessing, write_model

TORCH = Preprocessing(256, (224, 224), "bilinear", "rgb", (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
PROFILES = {
    "torch": TORCH,
    "bicubic": replace(TORCH, resize=235, interpolation="bicubic"),
    "both sides, bgr": Preprocessing((256, 256), (227, 227), "bilinear", "bgr", (104.0, 117.0, 123.0)),
    "no crop": Preprocessing((48, 48), mean=(127.5,), std=(127.5,)),
    "crop beyond the photo": Preprocessing((28, 28), (33, 32), mean=(20.0,), std=(200.0,)),
    "gray": Preprocessing((28, 28), (32, 32), channel_order="gray", mean=(20.0,), std=(200.0,)),
}


def levels_apart(preprocessing: Preprocessing, image: Image.Image) -> np.ndarray:
    """How far the graph is from Python at each value of a prepared photo, in levels of 255."""
    gray = preprocessing.channel_order == "gray"
    pixels = np.asarray(image.convert("L" if gray else "RGB"))
    pixels = pixels[None, ..., None] if gray else pixels[None]
    found, expected = photos.prepare(tf.constant(pixels), preprocessing)[0].numpy(), preprocessing.load(image)
    assert found.shape == expected.shape
    return np.abs(found - expected) * np.asarray(preprocessing.std)


@pytest.fixture(scope="module")
def decode():
    return tf.function(photos.decode, input_signature=[tf.TensorSpec([], tf.string)], autograph=False)


@pytest.fixture(scope="module")
def prepare_files():
    """Photos of a few pixels, for tests with many files."""
    preprocessing = Preprocessing(20, (SIDE, SIDE))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def prepare(files):
        return photos.prepare_files(files, preprocessing, 3)

    return prepare


@pytest.fixture(scope="module")
def loaded(exported_folder):
    return tf.saved_model.load(str(exported_folder / "colours/saved_model/1"))


def call(loaded, name: str, value) -> dict[str, np.ndarray]:
    function = loaded.signatures[name]
    ((key, spec),) = function.structured_input_signature[1].items()
    return {key: tensor.numpy() for key, tensor in function(**{key: tf.constant(value, spec.dtype)}).items()}


class TestPreparedPhotos:
    """The graph prepares a photo as Python does; a user of one of them gets the answers of the other."""

    @pytest.mark.parametrize("name", PROFILES)
    @pytest.mark.parametrize("size", [(300, 420), (420, 300), (224, 224), (90, 61)])
    def test_as_python_does(self, name, size):
        apart = levels_apart(PROFILES[name], photo(*size))
        # These shapes have more black and white than photos have, where bicubic overshoots and is clipped.
        assert (apart > 1.001).mean() <= (0.005 if name == "bicubic" else 0)
        assert apart.mean() < 0.25

    @pytest.mark.data
    @pytest.mark.parametrize("name", ["torch", "bicubic"])
    def test_as_python_does_with_real_photos(self, name, data):
        """The figures in export/formats/photos.py."""
        with zipfile.ZipFile(data / "imagenet_sample_250.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg")))[::10]
            files = [Image.open(io.BytesIO(archive.read(name))) for name in names]
        apart = np.concatenate([levels_apart(PROFILES[name], image).ravel() for image in files])
        assert (apart > 1.001).mean() <= (0 if name == "torch" else 0.001)
        assert apart.mean() < 0.25

    @pytest.mark.parametrize("shape", [(1, 1, 10_000_000, 3), (1, 100_000, 2, 3), (2, 0, 0, 3)])
    def test_a_strip_is_refused_before_it_takes_memory(self, loaded, shape):
        """The first of these takes 30 MB, and 27 GB to resize."""
        with pytest.raises(tf.errors.InvalidArgumentError):
            call(loaded, "serving_uint8", np.zeros(shape, np.uint8))

    def test_a_panorama_is_not(self, loaded):
        assert call(loaded, "serving_uint8", np.zeros((1, 100, 2000, 3), np.uint8))["top_ids"].min() >= 0


class TestDecoding:
    """The same pixels as Pillow, to the bit: whatever telephones, cameras and screenshots write."""

    @pytest.mark.parametrize("endian", "<>")
    def test_photos_are_turned_upright(self, decode, endian):
        for orientation in range(10):  # 0 and 9 do not exist, and are passed over
            exif = Image.Exif()
            exif.endian = endian
            exif[0x010F] = "a maker"
            exif[0x0112] = orientation
            file = encoded(photo(), exif=exif.tobytes())
            expected = ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")
            np.testing.assert_array_equal(decode(file), np.asarray(expected), err_msg=str(orientation))

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
    def test_every_kind_of_png(self, decode, mode):
        file = encoded(photo().convert(mode), "PNG")
        np.testing.assert_array_equal(decode(file), np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))

    @pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
    @pytest.mark.parametrize("progressive", [False, True])
    def test_every_kind_of_jpeg(self, decode, mode, progressive):
        file = encoded(photo().convert(mode), progressive=progressive)
        np.testing.assert_array_equal(decode(file), np.asarray(Image.open(io.BytesIO(file)).convert("RGB")))

    @pytest.mark.parametrize("size", [(100, 100), (1030, 1030)])  # at once, and row by row
    def test_gray_as_pillow_weighs_it(self, size):
        image = photo(*size)
        np.testing.assert_array_equal(photos.to_gray(np.asarray(image))[..., 0], np.asarray(image.convert("L")))


class TestBadFiles:
    """One caller's bad file costs no other caller an answer, and no file costs the server its memory."""

    def test_damaged_files_leave_the_others_alone(self, prepare_files):
        """400 damaged files, header and EXIF included, among 200 good ones."""
        chance = random.Random(0)
        exif = Image.Exif()
        exif[0x0112] = 6
        good = encoded(photo(), "PNG")
        originals = (good, encoded(photo(), exif=exif.tobytes()))
        files = []
        for _ in range(600):
            file = bytearray(chance.choice(originals))
            for _ in range(chance.choice((1, 3, 10))):
                file[chance.randrange(min(len(file), chance.choice((30, 200, len(file)))))] = chance.randrange(256)
            files.append(bytes(file[: chance.randrange(len(file)) if chance.random() < 0.3 else None]))
        files[::3] = [good] * 200
        (expected,), _ = prepare_files([good])
        pixels, readable = (tensor.numpy() for tensor in prepare_files(files))
        assert readable[::3].all()
        assert (pixels[::3] == expected.numpy()).all()
        assert 100 < (~readable).sum() < 400
        assert not pixels[~readable].any()

    @pytest.mark.parametrize("file", [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"no image at all"])
    def test_what_is_no_photo(self, prepare_files, file):
        assert prepare_files([file])[1].numpy().tolist() == [False]

    def test_other_formats_are_refused(self, prepare_files):
        """The decoder could read GIF too, of which only the first picture would count."""
        assert prepare_files([encoded(photo(), "GIF"), encoded(photo(), "BMP")])[1].numpy().tolist() == [False, False]

    def test_bombs_are_not_decoded(self, prepare_files):
        """236 kB that would take 243 MB; what the header says decides."""
        good = encoded(photo())
        bombs = [png_of_zeros(9000, 9000), png_of_zeros(1, 1_000_000)]
        assert prepare_files([*bombs, good])[1].numpy().tolist() == [False, False, True]

    def test_a_lying_header_is_refused(self, prepare_files):
        file = bytearray(png_of_zeros(100, 100))
        file[16:24] = struct.pack(">II", 10, 2**31 - 1)
        assert prepare_files([bytes(file)])[1].numpy().tolist() == [False]

    def test_in_the_answer(self, loaded):
        good = encoded(photo())
        answer = call(loaded, "serving_bytes", [b"", good, good[:200]])
        assert answer["top_ids"][[0, 2]].tolist() == [[-1] * 5] * 2
        assert answer["top_scores"][[0, 2]].tolist() == [[0.0] * 5] * 2
        assert answer["top_labels"][[0, 2]].tolist() == [[b""] * 5] * 2
        np.testing.assert_allclose(
            answer["top_scores"][1], call(loaded, "serving_bytes", [good])["top_scores"][0], rtol=1e-5
        )


def png_of_zeros(width: int, height: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(bytes((1 + 3 * width) * height), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class TestTheThreeAgree:
    """With each other, with the Keras model, and with the Python preprocessing, on the same photos."""

    @pytest.mark.parametrize("kind", ["JPEG", "PNG"])
    def test_on_the_same_photo(self, loaded, kind):
        images = [photo(41, 60, seed) for seed in range(4)]
        files = [encoded(image, kind) for image in images]
        opened = [Image.open(io.BytesIO(file)) for file in files]
        from_bytes = call(loaded, "serving_bytes", files)
        from_uint8 = call(loaded, "serving_uint8", np.stack([np.asarray(image) for image in opened]))
        for key in ("top_ids", "top_labels"):
            np.testing.assert_array_equal(from_bytes[key], from_uint8[key])
        np.testing.assert_allclose(from_bytes["top_scores"], from_uint8["top_scores"], rtol=1e-5)
        inputs = np.stack([small_preprocessing().load(image) for image in opened])
        probabilities = call(loaded, "serving_default", inputs)["probabilities"]
        np.testing.assert_allclose(small_model()(inputs), probabilities, atol=1e-6)
        for row, ids in enumerate(from_bytes["top_ids"]):
            np.testing.assert_allclose(probabilities[row][ids], from_bytes["top_scores"][row], atol=0.005)
            assert from_bytes["top_scores"][row][0] == pytest.approx(probabilities[row].max(), abs=0.005)
            assert [label.decode() for label in from_bytes["top_labels"][row]] == [CLASSES[i] for i in ids]

    def test_in_a_session_as_a_server_runs_it(self, exported_folder, loaded):
        """A server calls SavedModels through the older Session interface."""
        good = encoded(photo())
        with tf.compat.v1.Session(graph=tf.Graph()) as session:
            folder = str(exported_folder / "colours/saved_model/1")
            signature = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def["serving_bytes"]
            outputs = {key: tensor.name for key, tensor in signature.outputs.items()}
            feed = {signature.inputs["image_bytes"].name: np.array([good, b"bad"], object)}
            answer = session.run(outputs, feed)
        assert answer["top_ids"][1].tolist() == [-1] * 5
        np.testing.assert_allclose(
            answer["top_scores"][0], call(loaded, "serving_bytes", [good])["top_scores"][0], rtol=1e-5
        )

    def test_photos_are_read_on_the_cpu(self, loaded):
        """On a GPU, TensorFlow would copy what only the CPU can compute back and forth, or fail."""
        for function in (loaded.prepare_uint8, loaded.prepare_bytes):
            graph = function.concrete_functions[0].graph
            devices = {
                op.device
                for op in graph.get_operations()
                if op.type not in ("Placeholder", "Identity", "StatefulPartitionedCall", "PartitionedCall", "NoOp")
            }
            assert devices
            assert all(device.endswith("CPU:0") for device in devices), devices

    @pytest.mark.data
    def test_on_a_real_network(self, filled_cache, data, tmp_path):
        """SqueezeNet and 20 photos: the same best class, except where two are as good as equal."""
        import kerascnn

        model = kerascnn.create_model("squeezenet", weights="imagenet")
        loaded = write_model(tmp_path, model, build_info(model).preprocessing)
        with zipfile.ZipFile(data / "imagenet_sample_250.zip") as archive:
            names = sorted(name for name in archive.namelist() if name.lower().endswith((".jpg", ".jpeg")))[::12][:20]
            files = [archive.read(name) for name in names]
        inputs = np.stack([build_info(model).preprocessing.load(Image.open(io.BytesIO(file))) for file in files])
        expected = model.predict(inputs, verbose=0)
        answer = call(loaded, "serving_bytes", files)
        best = np.take_along_axis(expected, answer["top_ids"], axis=1)
        np.testing.assert_allclose(answer["top_scores"], best, atol=0.03)
        assert np.median(np.abs(answer["top_scores"] - best)) < 0.002
        assert (answer["top_scores"][:, 0] > expected.max(axis=1) - 0.03).all()
        assert (answer["top_ids"][:, 0] == expected.argmax(axis=1)).mean() >= 0.95


class TestOtherNetworks:
    """Only the signatures that make sense are written."""

    def test_gray(self, tmp_path):
        loaded = write_model(tmp_path, small_model(channels=1), small_preprocessing(1), CLASSES)
        file = encoded(photo())
        gray = np.asarray(Image.open(io.BytesIO(file)).convert("L"))[None, ..., None]
        answers = call(loaded, "serving_uint8", gray), call(loaded, "serving_bytes", [file])
        np.testing.assert_allclose(answers[0]["top_scores"], answers[1]["top_scores"], rtol=1e-5)

    def test_without_softmax_the_scores_are_the_outputs(self, tmp_path):
        loaded = write_model(tmp_path, small_model(activation=None), small_preprocessing(), output_name="scores")
        file = encoded(photo())
        answer = call(loaded, "serving_bytes", [file])
        inputs = small_preprocessing().load(Image.open(io.BytesIO(file)))[None]
        scores = call(loaded, "serving_default", inputs)["scores"][0]
        np.testing.assert_allclose(answer["top_scores"][0], np.sort(scores)[::-1][:5], atol=0.02)
        assert set(answer) == {"top_ids", "top_scores"}  # and no labels, of which it has none

    def test_with_the_normalisation_inside(self, tmp_path):
        """It must not be done twice."""
        export.export(
            small_model(),
            tmp_path / "model",
            formats=["saved_model"],
            preprocessing=small_preprocessing(),
            include_preprocessing=True,
        )
        loaded = tf.saved_model.load(str(tmp_path / "model/saved_model/1"))
        file = encoded(photo())
        inputs = small_preprocessing().load(Image.open(io.BytesIO(file)))[None]
        expected = np.sort(small_model()(inputs).numpy()[0])[::-1][:5]
        np.testing.assert_allclose(call(loaded, "serving_bytes", [file])["top_scores"][0], expected, atol=0.005)

    @pytest.mark.parametrize(
        ("model", "preprocessing"),
        [
            ({}, None),
            ({"channels": 5}, Preprocessing((SIDE, SIDE))),
            ({"top": False}, small_preprocessing()),
            ({}, replace(small_preprocessing(), crop=None)),
            ({}, replace(small_preprocessing(), interpolation="nearest")),
        ],
        ids=["not known how to prepare", "five channels", "no classes", "no one size", "another interpolation"],
    )
    def test_where_no_photo_can_be_taken(self, tmp_path, model, preprocessing):
        loaded = write_model(tmp_path, small_model(**model), preprocessing)
        assert set(loaded.signatures) == {"serving_default"}
        assert {request.signature for request in read_warmup(tmp_path)} == {"serving_default"}

    def test_photos_are_brought_to_the_size_that_the_model_was_built_for(self):
        """And not to that of the variant, which a model carries with it."""
        from kerascnn.photos.preprocessing import known_preprocessing

        model = small_model()
        set_build_info(model, BuildInfo(preprocessing=TORCH))
        found = known_preprocessing(model)
        assert (found.resize, found.crop) == (round(256 / 224 * SIDE), (SIDE, SIDE))


class TestFailClosed:
    """A SavedModel whose signatures answer wrongly is not published."""

    @pytest.mark.parametrize(
        "wrong",
        [{"channel_order": "rgb"}, {"resize": 30}, {"mean": (104.0, 117.0, 121.0)}],
        ids=["channel order", "size", "mean"],
    )
    def test_wrong_preparation(self, tmp_path, monkeypatch, wrong):
        right = photos.prepare
        monkeypatch.setattr(photos, "prepare", lambda images, known: right(images, replace(known, **wrong)))
        with pytest.raises(export.ExportError, match="prepares the photo otherwise"):
            write_model(tmp_path, small_model(), small_preprocessing())

    def test_nothing_is_published(self, tmp_path, monkeypatch):
        from export.formats import signatures

        right = signatures._best
        monkeypatch.setattr(signatures, "_best", lambda outputs, labels, ok: right(outputs, labels[::-1], ok))
        with pytest.raises(export.ExportError, match="labeled"):
            export.export(
                small_model(),
                tmp_path / "model",
                formats=["saved_model"],
                preprocessing=small_preprocessing(),
                labels=CLASSES,
            )
        assert not (tmp_path / "model").exists()


class TestWarmup:
    """A server does not serve a version one of whose warm-up requests fails."""

    def test_every_request_is_answered(self, exported_folder, loaded):
        requests = read_warmup(exported_folder / "colours/saved_model/1")
        names = ("serving_bytes", "serving_default", "serving_uint8")
        assert sorted((request.signature, request.batch) for request in requests) == [
            (name, size) for name in names for size in BATCH_SIZES
        ]
        for request in requests:
            answered = answer(loaded, request)
            assert {len(value) for value in answered.values()} == {request.batch}
            if request.signature == "serving_bytes":
                assert (answered["top_ids"].numpy() >= 0).all(), "the photo of the request cannot be read"

    def test_it_is_small(self, exported_folder):
        """63 images of each signature are written as one value each, not as megabytes of zeros."""
        path = exported_folder / "colours/saved_model/1/assets.extra/tf_serving_warmup_requests"
        assert path.stat().st_size < 30_000

    def test_labels_lie_beside_it(self, exported_folder):
        path = exported_folder / "colours/saved_model/1/assets.extra/labels.txt"
        assert tuple(path.read_text().splitlines()) == CLASSES


class TestOperators:
    """An export of TensorFlow 2.21 must load in the server, whose TensorFlow is 2.20."""

    def test_export_needs_nothing_newer(self, exported_folder):
        assert operators.problems(exported_folder / "colours/saved_model/1") == []

    def test_the_list_is_that_of_the_server(self):
        known = operators.known_operators()
        assert known.attributes["Conv2D"] >= {"strides", "padding", "dilations"}
        assert len(known.attributes) > 1500
        assert "DecodeJxl" not in known.attributes  # came with 2.21

    @pytest.mark.parametrize(
        ("plant", "message"),
        [
            (lambda graph: graph.node.add(name="new", op="DecodeJxl"), "does not know the operator DecodeJxl"),
            (lambda graph: graph.library.function[0].node_def.add(op="DecodeJxl"), "operator DecodeJxl"),
            (lambda graph: add_attribute(graph), "attribute Tshape of the operator TensorListGetItem"),
            (lambda graph: setattr(graph.versions, "min_consumer", 2400), "graph version 2400"),
            (lambda graph: set_jit(graph), "XLA"),
        ],
        ids=["operator", "operator in a function", "attribute", "graph version", "jit_compile"],
    )
    def test_what_is_newer_is_found(self, exported_folder, tmp_path, plant, message):
        graph_message = operators.read_saved_model(exported_folder / "colours/saved_model/1")
        plant(graph_message.meta_graphs[0].graph_def)
        (tmp_path / "saved_model.pb").write_bytes(graph_message.SerializeToString())
        (problem,) = operators.problems(tmp_path)
        assert message in problem


def add_attribute(graph) -> None:
    graph.node.add(name="new", op="TensorListGetItem").attr["Tshape"].type = 3


def set_jit(graph) -> None:
    graph.library.function[0].attr["_XlaMustCompile"].b = True
