"""Causal language models of text in folders of Hugging Face (extra `hf`).

The first token is predicted from the model's begin of sentence, which is put there if the tokenizer does not; a model
that has none (Qwen) does not predict the first token. The end is not predicted, as in slamkit.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from textless.audio.batches import bucket, mask, pad
from textless.errors import UserError
from zerospeech_eval.huggingface import load_local
from zerospeech_eval.text_lm import Likelihood

BATCH_TOKENS = 2_048  # times a vocabulary of 50,000 these are 400 MB of logits


class HuggingFaceTextLM:
    """A folder with config.json, weights and tokenizer; in float32."""

    def __init__(self, directory: Path, device: torch.device) -> None:
        self.name, self.device = f"hf:{directory}", device
        self.model, self.tokenizer = _load(directory, device)
        self.context = getattr(self.model.config, "max_position_embeddings", None)

    @torch.inference_mode()
    def score(self, texts: Sequence[str]) -> list[Likelihood]:
        """See `TextLM`.

        Raises:
            UserError: a text is longer than the model can read.
        """
        rows = [self._encode(text) for text in texts]
        scores: dict[int, Likelihood] = {}
        for batch in bucket([len(row) for row in rows], BATCH_TOKENS):
            tokens, lengths = pad([rows[index] for index in batch])
            inside = mask(lengths, tokens.shape[1])
            if tokens.shape[1] < 2:  # nothing to predict
                scores |= dict.fromkeys(batch, Likelihood(0.0, 0))
                continue
            logits = self.model(tokens.to(self.device), attention_mask=inside.long().to(self.device)).logits[:, :-1]
            loss = F.cross_entropy(logits.float().transpose(1, 2), tokens[:, 1:].to(self.device), reduction="none")
            sums = (loss.double().cpu() * inside[:, 1:]).sum(dim=1).tolist()
            for index, total, length in zip(batch, sums, lengths.tolist(), strict=True):
                scores[index] = Likelihood(-total, max(length - 1, 0))
        return [scores[index] for index in range(len(rows))]

    def _encode(self, text: str) -> torch.Tensor:
        tokens = list(self.tokenizer(text).input_ids)
        begin = self.tokenizer.bos_token_id
        if begin is not None and tokens[:1] != [begin]:
            tokens = [begin, *tokens]
        if self.context is not None and len(tokens) > self.context:
            raise UserError(
                f"{len(tokens)} tokens are more than the {self.context} that {self.name} reads, {text[:40]!r}: "
                "take shorter continuations or a model with a longer context"
            )
        return torch.tensor(tokens, dtype=torch.long)


def _load(directory: Path, device: torch.device) -> tuple[Any, Any]:
    """Network and tokenizer."""
    model, tokenizer = load_local(directory, "AutoModelForCausalLM", "AutoTokenizer", "causal language model")
    return model.to(device), tokenizer
