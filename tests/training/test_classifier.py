"""Classifiers that training writes: probabilities equal those of torch on the trained layers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from making import RECORDS, SENTENCES, recipe
from safetensors.torch import load_file

from semsearch import Encoder
from semsearch.errors import ModelError
from semsearch.training import Classifier, train

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("classifier")
    return train(
        recipe(folder, "classify", steps=120, eval_every=120, learning_rate=5e-3, mlp="keep"), folder / "out"
    ).folder


def test_probabilities_are_those_of_the_trained_layers(trained):
    found = Classifier.load(trained, device="cpu", runtime="torch")
    encoder = Encoder.load(str(trained), normalize=False, device="cpu", runtime="torch")
    head = torch.nn.Linear(32, 12)
    head.load_state_dict(load_file(trained / "classifier" / "model.safetensors"))
    with torch.no_grad():
        expected = torch.softmax(head(torch.from_numpy(encoder.encode_documents(SENTENCES))), 1).numpy()
    np.testing.assert_allclose(found.probabilities(SENTENCES), expected, atol=1e-6)
    right = [record["label"] for record in RECORDS["classify"]]
    assert np.mean([one == other for one, other in zip(found.predict(SENTENCES), right, strict=True)]) > 0.9
    assert found.classes == tuple(sorted({*right}))
    assert found.probabilities([]).shape == (0, 12)
    assert found.predict([]) == []


def test_a_folder_without_a_classifier_is_refused(tmp_path):
    folder = train(recipe(tmp_path), tmp_path / "out").folder
    with pytest.raises(ModelError, match="holds no classifier; train one with objective 'classify'"):
        Classifier.load(folder)


@pytest.mark.parametrize("config", [{"classes": ["a", "b"]}, {"classes": 3}, {}])
def test_a_damaged_classifier_is_refused(trained, config):
    file = trained / "classifier" / "config.json"
    before = file.read_text("utf-8")
    file.write_text(json.dumps(config), encoding="utf-8")
    try:
        with pytest.raises(ModelError, match="is damaged; train it again"):
            Classifier.load(trained, device="cpu", runtime="torch")
    finally:
        file.write_text(before, encoding="utf-8")
