"""Which rows a classification is asked for, and what names them in the output."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from models.data.sources import make_missing
from promotion.config.family import load_config
from promotion.config.settings import REPOSITORY
from promotion.data.datasets import load_dataset, split_dataset
from promotion.prediction.inputs import FileRows, SampleRows


@pytest.mark.system
def test_an_identifier_goes_into_the_output_and_not_into_the_model(tmp_path: Path) -> None:
    """Patients are recognised by their number, which is no feature; a file without numbers is fine too."""
    config = load_config(REPOSITORY / "config", "alzheimer_classifier")
    make_missing(config, tmp_path)
    path = tmp_path / config.data.path
    rows = pd.read_csv(path)
    rows.drop(columns="PatientID").to_csv(tmp_path / "nameless.csv", index=False)

    (named,) = FileRows(config, path).chunks(None)
    (nameless,) = FileRows(config, tmp_path / "nameless.csv").chunks(None)

    assert ["row", "PatientID"] == list(named.shown.columns)
    assert [str(number) for number in rows["PatientID"]] == list(named.shown["PatientID"])
    assert list(range(len(rows))) == list(named.shown["row"])
    assert config.features == list(named.features.columns)
    assert ["row"] == list(nameless.shown.columns)
    pd.testing.assert_frame_equal(named.features, nameless.features)


@pytest.mark.system
def test_own_rows_are_the_test_split_with_its_classes(tmp_path: Path) -> None:
    """All of it, or as many as asked for; none of them was learned from."""
    config = load_config(REPOSITORY / "config", "heart-disease")
    parts = split_dataset(load_dataset(config, REPOSITORY), config)

    (whole,) = SampleRows(config, REPOSITORY, None).chunks(None)
    (few,) = SampleRows(config, REPOSITORY, 3).chunks(None)

    assert list(parts.test_features.index) == list(whole.shown["row"])
    assert whole.actual is not None
    assert few.actual is not None
    assert np.array_equal(parts.test_target, whole.actual)
    assert list(whole.actual[:3]) == list(few.actual)
