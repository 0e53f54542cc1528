"""The small sets of images that the tests of training share."""

from tests.kerascnn.training.conftest import photos  # noqa: F401
