"""A card says of a model what was measured and what its own training knows, and nothing of any other model."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

import kwsrt
from tests.models import make_model
from tools import card

pytest.importorskip("matplotlib", reason="cards have pictures")

ABOUT = Path(card.__file__).parent / "train" / "about" / "commands12.toml"
FOREIGN = (
    "CC BY",
    "Warden",
    "Speech Commands",
    "LibriSpeech",
    "Mycroft",
    "Ten command words",
    "Homophone",
    "attribution",
    "licence",
    "other_words",
    "unpack.py",
    "training data",
    "None",
    "tools/train",
)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for word in ("yes", "no"):
        (folder / word).mkdir()
        for number in range(2):
            samples = np.random.default_rng(number).normal(0, 3000, 16000).astype(np.int16)
            wavfile.write(folder / word / f"s{number}_nohash_0.wav", 16000, samples)
    return folder


def made(tmp_path: Path, clips: Path, *options: object, **manifest: object) -> str:
    model, report = tmp_path / "mine.kws", tmp_path / "report.txt"
    model.write_bytes(make_model(name="mine", manifest=manifest))
    report.write_text("layer by layer")
    arguments = [model, clips, "--report", report, "--negatives", clips / "no" / "s0_nohash_0.wav", *options]
    assert card.main([str(argument) for argument in arguments]) == 0
    return model.with_suffix(".md").read_text()


@pytest.mark.parametrize("training", [{}, {"dataset": "", "licence": ""}, None, "my own"], ids=str)
def test_what_is_unknown_is_left_out(tmp_path: Path, clips: Path, training: object) -> None:
    text = made(tmp_path, clips, training=training, licence=None, threshold={"yes": 0.5, "no": 0.25})
    assert not [word for word in FOREIGN if word in text]
    assert "on 4 clips:" in text
    assert "0.25 to 0.5, by keyword" in text
    assert "layer by layer" in text


def test_what_training_knows_is_said(tmp_path: Path, clips: Path) -> None:
    text = made(
        tmp_path,
        clips,
        licence=None,
        training={
            "dataset": "my garage",
            "licence": "CC0",
            "seed": 7,
            "purpose": "Opens the garage.",
            "weaknesses": "- Rain.",
            "model_licence": "MIT",
            "attribution": "Grandma",
            "history": ["binary"],
            "recipe": {"teachers": ["big"]},
        },
    )
    for row in (
        "| training data | my garage |",
        "| data licence | CC0 |",
        "| model licence | MIT |",
        "- Rain.",
        "| attribution | Grandma |",
        "Opens the garage.",
        "stages: binary; logits distilled from big; seed 7",
    ):
        assert row in text
    assert "CC BY" not in text


def test_a_file_can_say_more(tmp_path: Path, clips: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = made(tmp_path, clips, "--about", ABOUT)
    for said in card.read_about(ABOUT).values():
        assert all(line.strip() in text for line in (said if isinstance(said, list) else [said]))
    wrong = tmp_path / "wrong.toml"
    for content in ("purpose = 5", "colour = 'red'", "purpose ="):
        wrong.write_text(content)
        with pytest.raises(kwsrt.KwsrtError, match=r"wrong\.toml"):
            card.read_about(wrong)


def test_the_bundled_card_says_what_the_file_about_it_says() -> None:
    shipped = (ABOUT.parents[3] / "models" / "commands12.md").read_text()
    for said in card.read_about(ABOUT).values():
        assert all(line.strip() in shipped for line in (said if isinstance(said, list) else [said]))
