"""Transcribers: equal to the libraries whose models they load, unmoved by padding, and clear about what is missing."""

import json
import sys
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import torchaudio
from torchaudio.models import wav2vec2_model
from transformers import (
    AutomaticSpeechRecognitionPipeline,
    HubertConfig,
    HubertForCTC,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Model,
    WavLMConfig,
    WavLMForCTC,
)

from textless.audio.manifest import Manifest, Utterance
from textless.errors import UserError
from zerospeech_eval.character_errors import transcribe
from zerospeech_eval.ctc import read_labels
from zerospeech_eval.recognizer import Recognizer, RecognizerConfig, save
from zerospeech_eval.texts import read_texts, read_transcripts, write_transcripts
from zerospeech_eval.transcribers import load_transcriber, transcribe_recordings

LETTERS = ["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFG"]
SHAPE = {
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (16,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "pad_token_id": 0,
}
MODELS = {
    "wav2vec2-base": (Wav2Vec2ForCTC, Wav2Vec2Config, {"feat_extract_norm": "group"}),
    "wav2vec2-large": (Wav2Vec2ForCTC, Wav2Vec2Config, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "hubert-large": (HubertForCTC, HubertConfig, {"feat_extract_norm": "layer", "do_stable_layer_norm": True}),
    "wavlm-base": (WavLMForCTC, WavLMConfig, {"feat_extract_norm": "group"}),
}


def ctc_folder(folder: Path, name: str = "wav2vec2-base", tokens: list[str] = LETTERS) -> Path:
    """A folder as Hugging Face publishes it, with random weights that make every output likely somewhere."""
    torch.manual_seed(0)
    model_class, config_class, options = MODELS[name]
    model = model_class(config_class(vocab_size=len(tokens), **SHAPE, **options)).eval()
    with torch.no_grad():
        model.lm_head.weight.normal_(0, 1)
        model.lm_head.bias.zero_()
        # Trained models do not write <s>, </s> and <unk>; the pipeline would show them, we drop them.
        model.lm_head.bias[1:4] = -100
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
    delimiter = "|" if "|" in tokens else None
    Wav2Vec2CTCTokenizer(str(folder / "vocab.json"), word_delimiter_token=delimiter).save_pretrained(folder)
    group = options["feat_extract_norm"] == "group"
    Wav2Vec2FeatureExtractor(return_attention_mask=not group).save_pretrained(folder)
    return folder


def waveforms() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(length, generator=generator).cumsum(0) * 0.01 for length in (16_000, 9_000, 24_320, 12_345)]


@pytest.mark.parametrize("name", MODELS)
def test_equals_the_pipeline_of_transformers(tmp_path: Path, name: str) -> None:
    transcriber = load_transcriber(f"hf:{ctc_folder(tmp_path, name)}", "cpu")
    pipeline = AutomaticSpeechRecognitionPipeline(
        model=MODELS[name][0].from_pretrained(tmp_path),
        tokenizer=Wav2Vec2CTCTokenizer.from_pretrained(tmp_path),
        feature_extractor=Wav2Vec2FeatureExtractor.from_pretrained(tmp_path),
    )
    speech = waveforms()
    expected = [pipeline(waveform.numpy())["text"].split() for waveform in speech]
    assert sum(map(len, expected)) > 4
    assert transcriber.kind == "words"
    assert transcriber.symbols is None
    # In one call, and alone: the company of others changes nothing.
    assert transcriber.transcribe(speech) == expected
    assert [transcriber.transcribe([waveform])[0] for waveform in speech] == expected


def test_models_of_phones_and_very_short_recordings(tmp_path: Path) -> None:
    tokens = ["<pad>", "<s>", "</s>", "<unk>", "tʃ", "a", "b", "ŋ"]
    transcriber = load_transcriber(f"hf:{ctc_folder(tmp_path, tokens=tokens)}", "cpu")
    assert transcriber.kind == "phones"
    assert transcriber.symbols == {"tʃ", "a", "b", "ŋ"}
    heard = transcriber.transcribe(waveforms())
    assert set().union(*heard) == transcriber.symbols
    assert len(transcriber.transcribe([torch.zeros(10)])[0]) <= 1  # one frame


def test_decoding_by_hand() -> None:
    words = read_labels(["-", "|", "A", "B"], blank="-", silent=(), delimiter="|")
    # A A - A | | B -: repeats merge, a blank keeps equal neighbours apart, spaces do not add up.
    assert words.decode(torch.tensor([2, 2, 0, 2, 1, 1, 0, 1, 3, 0])) == ["AA", "B"]
    assert words.decode(torch.tensor([0, 1, 0])) == []
    letters = read_labels(["-", "<s>", "你", "好"], blank="-", silent=["<s>"], delimiter="|")
    assert letters.kind == "characters"
    assert letters.decode(torch.tensor([1, 2, 0, 2, 3])) == ["你", "你", "好"]


def test_damaged_folders_of_hugging_face(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Hugging Face model not found"):
        load_transcriber(f"hf:{tmp_path}", "cpu")
    pretrained = ctc_folder(tmp_path / "pretrained")
    Wav2Vec2Model(Wav2Vec2Config(**SHAPE)).save_pretrained(pretrained)
    with pytest.raises(UserError, match="lacks 2 weights of a Wav2Vec2ForCTC.*never fine-tuned"):
        load_transcriber(f"hf:{pretrained}", "cpu")
    small = ctc_folder(tmp_path / "small")
    for vocabulary, message in (
        ({"A": 0}, "no token for output 5 of the model.s 12"),
        (None, "vocabulary of the recogniser not found"),
    ):
        (small / "vocab.json").unlink()
        if vocabulary is not None:
            (small / "vocab.json").write_text(json.dumps(vocabulary))
        with pytest.raises(UserError, match=message):
            load_transcriber(f"hf:{small}", "cpu")
    rate = ctc_folder(tmp_path / "rate")
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(rate)
    with pytest.raises(UserError, match="8000 Hz"):
        load_transcriber(f"hf:{rate}", "cpu")
    (rate / "config.json").write_text("{")
    with pytest.raises(UserError, match="no CTC model that transformers can load"):
        load_transcriber(f"hf:{rate}", "cpu")


def test_without_transformers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'textless\[hf\]'"):
        load_transcriber(f"hf:{tmp_path}", "cpu")


def test_torchaudio_bundles(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    convolutions = [(16, 10, 5), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 2, 2), (16, 2, 2)]
    small = wav2vec2_model("group_norm", convolutions, False, 24, 0.0, 16, 2, 2, 2, 0.0, 32, 0.0, 0.0, False, 0.0, 29)
    torch.nn.init.normal_(small.aux.weight)
    monkeypatch.setattr(torchaudio.pipelines.Wav2Vec2ASRBundle, "get_model", lambda _: small)
    transcriber = load_transcriber("torchaudio:WAV2VEC2_ASR_BASE_960H", "cpu")
    heard = transcriber.transcribe([*waveforms(), torch.zeros(10)])
    labels = torchaudio.pipelines.WAV2VEC2_ASR_BASE_960H.get_labels()
    for waveform, words in zip(waveforms(), heard, strict=False):
        with torch.inference_mode():
            best = small(waveform[None])[0][0].argmax(dim=-1).tolist()
        merged = [output for place, output in enumerate(best) if place == 0 or output != best[place - 1]]
        assert "".join(labels[output] for output in merged if output).replace("|", " ").split() == words
    assert sum(map(len, heard)) > 4


def test_torchaudio_without_internet(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(_: object) -> None:
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(torchaudio.pipelines.Wav2Vec2ASRBundle, "get_model", offline)
    with pytest.raises(UserError, match=r"WAV2VEC2_ASR_BASE_960H are not in .*checkpoints and cannot be downloaded"):
        load_transcriber("torchaudio:WAV2VEC2_ASR_BASE_960H", "cpu")
    with pytest.raises(UserError, match="no recogniser 'WHISPER'; there are 'HUBERT_ASR_LARGE'"):
        load_transcriber("torchaudio:WHISPER", "cpu")


def test_the_projects_own(tmp_path: Path) -> None:
    torch.manual_seed(0)
    save(Recognizer(RecognizerConfig(phones=("a", "b"), dim=32, blocks=1)), tmp_path / "recognizer", {})
    transcriber = load_transcriber(tmp_path / "recognizer", "cpu")
    assert transcriber.kind == "phones"
    assert transcriber.symbols == {"a", "b"}
    speech = waveforms()
    assert transcriber.transcribe(speech) == [transcriber.transcribe([waveform])[0] for waveform in speech]


def test_recordings_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zerospeech_eval.transcribers.TOGETHER", 2_000)  # several groups
    lengths = {"b": 800, "a": 1_600, "d": 400, "c": 1_200}
    for name, length in lengths.items():
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(length, np.float32), 16_000)
    recordings = Manifest(tmp_path, tuple(Utterance(n, f"{n}.wav", length) for n, length in lengths.items()))
    heard = transcribe_recordings(recordings, load_transcriber("torch:numel", "cpu"))
    assert list(heard.items()) == [(name, [str(length)]) for name, length in lengths.items()]


def test_a_recogniser_of_your_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_ears.py").write_text("def count(waveform):\n    return f'{len(waveform)} samples'\nvalue = 3\n")
    monkeypatch.chdir(tmp_path)
    soundfile.write(tmp_path / "a.wav", np.zeros(800, np.float32), 16000)
    manifest = Manifest(tmp_path, (Utterance("a", "a.wav", 800),))
    assert transcribe(manifest, load_transcriber("my_ears:count")) == {"a": "800 samples"}
    for name, message in (
        ("my_ears", "recogniser not found: my_ears; give a folder .*module:function"),
        ("my_ears:gone", "no recogniser 'my_ears:gone'"),
        ("no_such_module:f", "no recogniser"),
        ("my_ears:value", "is no function but int"),
    ):
        with pytest.raises(UserError, match=message):
            load_transcriber(name)


def test_transcripts_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "heard.tsv"
    path.write_text("a\tthe cat\r\nb\t\r\n")
    assert read_transcripts(path) == {"a": "the cat", "b": ""}
    path.write_text("a\tthe cat\na\tthe dog\n")
    with pytest.raises(UserError, match=":2 should be id<TAB>text, each id once"):
        read_transcripts(path)
    write_transcripts(path, {"x": "the\ncat", "y": ""})
    assert read_transcripts(path) == {"x": "the cat", "y": ""}
    with pytest.raises(UserError, match="has a tab"):
        write_transcripts(path, {"x\t": "the"})


def test_texts_of_every_layout(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content, expected in (
        ("id\ttext\na\tthe cat\n", {"a": "the cat"}),
        ("a\tthe cat\nb\t\n", {"a": "the cat", "b": ""}),
        ("the cat\n\nthe dog\n", {"1": "the cat", "2": "", "3": "the dog"}),
        ("id\tstart_s\tend_s\tphone\na\t0\t1\tSIL\na\t1\t2\tdh\na\t2\t3\tə\n", {"a": "dh ə"}),
        ("#root\t.\nid\tpath\tn_samples\ttext\na\ta.wav\t3\tthe cat\n", {"a": "the cat"}),
    ):
        path.write_text(content, encoding="utf-8")
        assert read_texts(path) == expected
    for content, message in (
        ("", "is empty"),
        ("/somewhere\na.wav\t100\n", "has no text"),
        ("\xff\xfe", "UTF-8"),
    ):
        path.write_bytes(content.encode("latin-1"))
        with pytest.raises(UserError, match=message):
            read_texts(path)
