"""The data sets and configurations of the trainers' tests, for tests that need a GPU."""

from tests.trainers.conftest import (  # noqa: F401
    _no_programs,
    _one_thread,
    digits,
    few_digits,
    make_config,
    make_images,
)
