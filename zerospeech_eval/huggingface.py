"""Models in local folders of Hugging Face (extra `hf`), whole or refused."""

from pathlib import Path
from typing import Any

import torch

from textless.errors import UserError
from textless.files import require


def load_local(directory: Path, model_class: str, companion_class: str, what: str, hint: str = "") -> tuple[Any, Any]:
    """A network in float32 and what prepares its input.

    Args:
        directory: with `config.json` and weights.
        model_class: name of a class of transformers, such as "AutoModelForCTC".
        companion_class: of its tokenizer or feature extractor.
        what: the kind of model, for messages: "CTC model".
        hint: why weights may be missing, for messages.

    Raises:
        UserError: transformers is not installed, or the folder holds no such model or not all of its weights.
    """
    try:
        import transformers
    except ImportError as error:
        raise UserError(f"a Hugging Face {what} needs transformers: pip install 'textless[hf]'") from error
    require(directory / "config.json", "Hugging Face model")
    try:
        model, report = getattr(transformers, model_class).from_pretrained(
            directory, local_files_only=True, dtype=torch.float32, output_loading_info=True
        )
        companion = getattr(transformers, companion_class).from_pretrained(directory, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(f"{directory} is no {what} that transformers can load: {reason}") from error
    if missing := sorted(report["missing_keys"]):
        raise UserError(
            f"{directory} lacks {len(missing)} weights of a {type(model).__name__}, first {missing[0]}{hint}"
        )
    return model.eval(), companion
