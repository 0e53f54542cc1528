"""Importing and listing stay instant: nothing heavy is imported before it is needed."""

from tests import processes

HEAVY = ("keras", "tensorflow", "jax", "torch", "onnx", "tf2onnx", "onnxruntime", "matplotlib", "PIL")


def imported_by(code):
    check = f"import sys; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = processes.run("-c", f"{code}\n{check}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().splitlines()[-1]


def test_listing_imports_no_keras():
    assert imported_by("import kerascnn; kerascnn.list_models(); kerascnn.variant('resnet50')") == "[]"


def test_the_command_line_imports_nothing_heavy_for_help_lists_and_errors():
    for arguments in (["--help"], ["--list"], ["--model", "resnet5", "--tflite"], ["--model", "squeezenet"]):
        code = f"""
import sys
from export.cli import main
sys.argv = ["export", *{arguments!r}]
try:
    main()
except SystemExit:
    pass
"""
        assert imported_by(code) == "[]", arguments


def test_builders_do_not_import_tensorflow_under_another_backend():
    code = """
import os
os.environ["KERAS_BACKEND"] = "jax"
import kerascnn
kerascnn.applications.alexnet(include_top=False, input_shape=(67, 67, 3))
"""
    assert "tensorflow" not in imported_by(code)


def test_saved_models_load_after_importing_the_package(tmp_path):
    """In a fresh process, where nothing but the import can have registered the package's layers."""
    import kerascnn

    kerascnn.applications.alexnet(include_top=False, input_shape=(67, 67, 3)).save(tmp_path / "m.keras")
    code = "import keras, kerascnn; keras.saving.load_model('m.keras')"
    assert processes.run("-c", code, cwd=tmp_path).returncode == 0


def test_dir_lists_the_public_names_alone():
    import kerascnn

    assert {name for name in dir(kerascnn) if not name.startswith("__")} == set(kerascnn.__all__)
    assert all(hasattr(kerascnn, name) for name in kerascnn.__all__)
