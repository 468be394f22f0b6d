"""What tests of trials without Ray share."""

from dataclasses import replace
from pathlib import Path

import pytest

from trainers.config import DataConfig
from trainers.data.dataset import Dataset, load_data
from trainers.data.subset import Split


@pytest.fixture(scope="module")
def few() -> Dataset:
    """A few of the digits, for trials that last a second."""
    whole = load_data(DataConfig(name="digits"), Path("unused"))
    parts = {}
    for name, count in (("train", 100), ("validation", 40), ("test", 30)):
        split = getattr(whole, name)
        parts[name] = Split(images=split.images[:count], labels=split.labels[:count])
    return replace(whole, **parts)
