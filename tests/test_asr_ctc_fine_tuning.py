"""CTC students that train their encoder along: the model directory, the schedule, the example configurations."""

import math
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from planted_students import configured

from textless.encoders.directory import save_encoder
from textless.encoders.encoder import load_encoder
from textless.encoders.logmel_front_end import LogMelConfig
from textless.encoders.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from textless.encoders.transformer import TransformerConfig
from textless.training.schedule import ScheduleConfig, multiplier
from unsup_asr.ctc.config import StudentConfig
from unsup_asr.ctc.train import train
from unsup_asr.ctc.tuned_encoder import open_tuned
from unsup_asr.recognizers import load_recognizer
from unsup_asr.transcripts import write_transcripts

EXAMPLES = Path(__file__).parents[1] / "examples/configs"


def test_an_encoder_is_trained_along_and_travels_with_the_model(tmp_path: Path) -> None:
    torch.manual_seed(1)
    shape = TransformerConfig(dim=16, layers=3, heads=2, ffn_dim=32, position="alibi", norm_first=True)
    encoder = SpeechTransformer(SpeechTransformerConfig(front_end=LogMelConfig(), transformer=shape)).eval()
    save_encoder(tmp_path / "encoder", encoder)
    random = np.random.default_rng(0)
    lines, transcripts = ["#root\t.", "path\tn_samples"], {}
    for index in range(6):
        n = 8000 + 700 * index
        soundfile.write(tmp_path / f"{index}.wav", 0.1 * random.standard_normal(n), 16_000)
        lines.append(f"{index}.wav\t{n}")
        transcripts[str(index)] = ["a", "b"]
    (tmp_path / "manifest.tsv").write_text("\n".join(lines) + "\n")
    write_transcripts(tmp_path / "phones.tsv", transcripts)
    spec = f"{tmp_path / 'encoder'}:2"
    config = configured(
        tmp_path,
        StudentConfig,
        data={"speech": tmp_path / "manifest.tsv", "transcripts": tmp_path / "phones.tsv"},
        network={"dim": 16, "heads": 2, "strides": (), "blocks": 0},
        encoder={"finetune": True, "spec": spec, "freeze_steps": 4, "layer_drop": 0.0},
        steps=8,
    )
    tuned = open_tuned(config.encoder, config.mask).eval()
    waveforms, lengths = torch.randn(2, 6000), torch.tensor([6000, 5000])
    given, frames = encoder(waveforms, lengths, 2)
    mine, counts = tuned(waveforms, lengths)
    assert torch.equal(frames, counts)
    assert torch.allclose(given, mine, atol=1e-6)  # two blocks of the three
    train(config.of_round(config.data.transcripts), tmp_path / "run")
    recognizer = load_recognizer(tmp_path / "run")
    layer = load_encoder(recognizer.source.encoder)
    assert layer.sha256 == recognizer.source.encoder_sha256
    assert isinstance(layer.encoder, SpeechTransformer)
    moved = layer.encoder.state_dict()
    for name, value in encoder.state_dict().items():
        if name.startswith("front_end."):
            assert torch.equal(value, moved[name])
    assert not torch.equal(encoder.transformer.blocks[0].qkv.weight, moved["transformer.blocks.0.qkv.weight"])
    features = layer.encode([torch.randn(6000)])[0].numpy()
    assert recognizer.posteriors([features])[0].log_probs.shape == (len(features), 3)
    still = configured(tmp_path, **{**config.of_round(config.data.transcripts).model_dump(), "steps": 4})
    train(still, tmp_path / "still")
    unmoved = load_encoder(load_recognizer(tmp_path / "still").source.encoder).encoder
    assert isinstance(unmoved, SpeechTransformer)
    assert torch.equal(encoder.transformer.blocks[0].qkv.weight, unmoved.transformer.blocks[0].qkv.weight)


def test_the_three_stages_of_fine_tuning() -> None:
    schedule = ScheduleConfig(name="exponential", warmup_steps=10, plateau=0.5, final=0.05)
    assert [multiplier(schedule, step, 100) for step in (9, 30, 50)] == [1, 1, 1]
    assert multiplier(schedule, 75, 100) == pytest.approx(math.sqrt(0.05))
    assert multiplier(schedule, 100, 100) == pytest.approx(0.05)


@pytest.mark.parametrize("name", ["asr-student", "asr-student-hybrid", "asr-student-wav2vec2"])
def test_examples_load(name: str) -> None:
    config = StudentConfig.load(EXAMPLES / f"{name}.toml")
    assert config.data.transcripts == EXAMPLES / "phones.tsv"
    if config.encoder.finetune:  # wav2vec-U's second self-training
        assert (config.steps, config.optimizer.lr) == (80_000, 3e-5)
        assert config.optimizer.schedule == ScheduleConfig(
            name="exponential", warmup_steps=8000, plateau=0.5, final=0.05
        )
        assert (config.mask.time, config.mask.channel, config.mask.channel_span) == (0.25, 0.1, 64)
        assert config.encoder.layer_drop == 0.1
