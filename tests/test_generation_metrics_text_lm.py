"""Language models that judge generated texts: n-grams, ARPA, and Hugging Face's against their library."""

import math
import sys
from pathlib import Path

import pytest
import torch
from generated_texts import WORDS, write
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Model, PreTrainedTokenizerFast

from textless.errors import UserError
from units.arpa import write_arpa
from units.kneser_ney import NgramModel
from zerospeech_eval.generation import judge
from zerospeech_eval.text_lm import NgramTextLM, load_text_lm


def test_an_ngram_model_is_a_distribution_with_room_for_unknown_words(tmp_path: Path) -> None:
    model = NgramTextLM.fit(["a b a c", "b b"], 2)
    # Everything that can follow "a": three words, any other word, the end (a text of one more token minus it).
    following = [model.score([f"a {word}"])[0].log_prob for word in ("a", "b", "c", "unknown")]
    first = model.ngrams.log_probs([[0]])[0]
    with_end = [math.exp(log - model.ngrams.log_probs([row])[0][-1]) for log, row in zip(following, ROWS, strict=True)]
    assert sum(with_end) + math.exp(first.sum()) == pytest.approx(math.exp(first[0]), abs=1e-6)  # tables are float32
    assert model.score(["a b"])[0].tokens == 3  # the end counts
    model.save(tmp_path / "lm")
    assert load_text_lm(tmp_path / "lm").score(["a b c"]) == model.score(["a b c"])
    write_arpa(tmp_path / "lm.arpa", model.ngrams, model.symbols)
    from_arpa = load_text_lm(f"arpa:{tmp_path / 'lm.arpa'}").score(["a x b"])[0]
    assert from_arpa.log_prob == pytest.approx(model.score(["a x b"])[0].log_prob, abs=1e-5)  # seven digits of log10
    write_arpa(tmp_path / "closed.arpa", NgramModel.fit([[0, 1]], 2, 2), ["a", "b"])
    with pytest.raises(UserError, match="1 of 3 words are unknown to arpa"):
        load_text_lm(f"arpa:{tmp_path / 'closed.arpa'}").score(["a x b"])
    with pytest.raises(UserError, match="2 of 3 words are unknown to n-gram: 'x', 'y'; train"):
        model.score(["x y a"])
    with pytest.raises(UserError, match="no text to learn from"):
        NgramTextLM.fit(["", " "], 2)
    with pytest.raises(UserError, match="text language model not found"):
        load_text_lm(tmp_path / "nothing")


ROWS = ([0, 0], [0, 1], [0, 2], [0, 3])


def test_characters_and_the_spaces_between_words() -> None:
    model = NgramTextLM.fit(["ab  ba"], 2, "characters")
    assert model.symbols == [" ", "a", "b", "<unk>"]
    assert model.score(["a b"])[0].tokens == 4


def causal_folder(folder: Path, *, begin: bool = True) -> Path:
    """GPT-2 of random weights, over whole words."""
    torch.manual_seed(0)
    vocabulary = {"<unk>": 0, "<s>": 1} | {word: index for index, word in enumerate(WORDS, 2)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"bos_token": "<s>"} if begin else {}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", **special).save_pretrained(folder)
    config = GPT2Config(vocab_size=len(vocabulary), n_embd=16, n_layer=2, n_head=2, n_positions=20)
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("begin", [True, False])
def test_a_causal_model_of_hugging_face(tmp_path: Path, begin: bool) -> None:
    judged = load_text_lm(f"hf:{causal_folder(tmp_path, begin=begin)}", "cpu")
    texts = [write(0.3, seed, n) for seed, n in enumerate((12, 3, 7, 2, 12))]
    network, tokenizer = GPT2LMHeadModel.from_pretrained(tmp_path), PreTrainedTokenizerFast.from_pretrained(tmp_path)
    for text, found in zip(texts, judged.score(texts), strict=True):
        ids = torch.tensor([([1] if begin else []) + tokenizer(text).input_ids])
        assert found.tokens == ids.shape[1] - 1
        # The library's loss is the mean over predicted tokens; float32 sums of at most 12 of them.
        assert found.log_prob == pytest.approx(-network(ids, labels=ids).loss.item() * found.tokens, rel=1e-5)
        alone = judged.score([text])[0]
        assert alone.log_prob == pytest.approx(found.log_prob, rel=1e-5)  # padding changes nothing
    assert judged.score(["", "cat"])[0].tokens == 0
    with pytest.raises(UserError, match="more than the 20 that"):
        judged.score([write(0.3, 0, 30)])
    if not begin:
        with pytest.raises(UserError, match="predicts no token of 'b'"):
            judge({"a": ["the", "cat"], "b": ["cat"]}, ["the cat", "cat"], judged, (2,))


def test_damaged_language_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="Hugging Face model not found"):
        load_text_lm(f"hf:{tmp_path}", "cpu")
    folder = causal_folder(tmp_path / "lm")
    config = GPT2Config(vocab_size=17, n_embd=16, n_layer=2, n_head=2, tie_word_embeddings=False)
    GPT2Model(config).save_pretrained(folder)
    with pytest.raises(UserError, match=r"lacks 1 weights of a GPT2LMHeadModel, first lm_head.weight"):
        load_text_lm(f"hf:{folder}", "cpu")
    (folder / "config.json").write_text('{"model_type": "no such model"}')
    with pytest.raises(UserError, match="no causal language model that transformers can load"):
        load_text_lm(f"hf:{folder}", "cpu")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UserError, match=r"pip install 'textless\[hf\]'"):
        load_text_lm(f"hf:{folder}", "cpu")
