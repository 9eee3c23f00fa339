"""fairseq's `transformer_lm`: the checkpoints of GSLM's unit LMs, and the dictionary that orders their symbols.

The settings are a pickled `Namespace` (`args`) or groups of an OmegaConf (`cfg`), read without either library. Symbols
0 to 3 are `<s>`, `<pad>`, `</s>` and `<unk>`; then come the lines of `dict.txt` in the order of the file, which is that
of frequency, so unit u may be any of them; `madeupword`s at the end fill up. Utterances begin and end with `</s>`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from textless.errors import UserError
from textless.files import require
from textless.pickles import plain, read_torch
from ulm.config import ModelConfig
from ulm.foreign import EMBEDDING, HEAD, ForeignModel, Renames, Symbols, keep_vocabulary, refuse_settings, rename

DICTIONARY_NAME = "dict.txt"
SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
BOUNDARY = SPECIALS.index("</s>")
POSITION_OFFSET = 2  # the first position is the padding index plus one
# fairseq's own, for settings that old checkpoints do not hold
DEFAULTS: dict[str, Any] = {
    "decoder_embed_dim": 512,
    "decoder_ffn_embed_dim": 2048,
    "decoder_layers": 6,
    "decoder_attention_heads": 8,
    "activation_fn": "relu",
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "decoder_learned_pos": False,
    "no_scale_embedding": False,
    "share_decoder_input_output_embed": False,
    "tokens_per_sample": 1024,
}
SUPPORTED = {
    "activation_fn": ("relu", "gelu"),
    "adaptive_input": (False,),
    "adaptive_softmax_cutoff": (None, ""),
    "character_embeddings": (False,),
    "layernorm_embedding": (False,),
    "no_token_positional_embeddings": (False,),
}
_LAYER = r"decoder\.layers\.(\d+)\."
RENAMES: Renames = (
    (r"decoder\.embed_tokens\.", "embedding."),
    (r"decoder\.embed_positions\.weight", "position.weight"),
    (r"decoder\.project_in_dim\.", "project_in."),
    (r"decoder\.project_out_dim\.", "project_out."),
    (_LAYER + r"self_attn\.([qkv])_proj\.", r"trunk.\1.attention.\2."),
    (_LAYER + r"self_attn\.in_proj_", r"trunk.\1.attention.queries_keys_values."),  # before 2019
    (_LAYER + r"self_attn\.out_proj\.", r"trunk.\1.attention.project."),
    (_LAYER + r"(?:self_attn_layer_norm|layer_norms\.0)\.", r"trunk.\1.attention_norm."),
    (_LAYER + r"fc1\.", r"trunk.\1.ffn.widen."),
    (_LAYER + r"fc2\.", r"trunk.\1.ffn.shrink."),
    (_LAYER + r"(?:final_layer_norm|layer_norms\.2)\.", r"trunk.\1.ffn_norm."),
    (r"decoder\.layer_norm\.", "norm."),
    (r"decoder\.output_projection\.", "head."),
    (r"decoder\.embed_out$", HEAD),
)
SIGNATURE = r"decoder\.layers\.0\.self_attn\.(?:q_proj\.|in_proj_)weight"
IGNORED = r"^decoder\.version$|embed_positions\._float_tensor$"


def load_fairseq(path: Path) -> ForeignModel:
    """The language model in a checkpoint file.

    Raises:
        UserError: it is damaged, wants to run something, or holds another kind of model.
    """
    content = read_torch(path)
    source = str(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("model"), Mapping):
        raise UserError(f"{source} is no checkpoint of fairseq: it holds no weights under `model`")
    weights = rename(content["model"], SIGNATURE, RENAMES, IGNORED, source)
    settings = _settings(content, source)
    refuse_settings(settings, SUPPORTED, source)
    tied = bool(settings["share_decoder_input_output_embed"])
    keep_vocabulary(weights, source, tied=tied)
    context = settings.get("max_target_positions") or settings["tokens_per_sample"]
    dim, width = settings["decoder_embed_dim"], weights[EMBEDDING].shape[1]
    if "position.weight" in weights:
        weights["position.weight"] = weights["position.weight"][POSITION_OFFSET:]
    config = ModelConfig.parse(
        {
            "dim": dim,
            "layers": settings["decoder_layers"],
            "heads": settings["decoder_attention_heads"],
            "ffn": settings["decoder_ffn_embed_dim"],
            "activation": settings["activation_fn"],
            "final_norm": "norm.weight" in weights,  # the settings that decide it changed their names
            "bias": "all",
            "positions": "learned" if settings["decoder_learned_pos"] else "sinusoidal",
            "max_positions": context if settings["decoder_learned_pos"] else 0,
            "embedding_dim": 0 if width == dim else width,
            "embedding_scale": not settings["no_scale_embedding"],
            "lookback": 0,
            "ngram_rows": 0,
            "noise": 0.0,
            "dropout": settings["dropout"],
            "attention_dropout": settings["attention_dropout"],
            "tied": tied,
        },
        source,
    )
    return ForeignModel(config, weights, context, f"fairseq: {settings.get('arch') or 'transformer_lm'}")


def _settings(content: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Settings of the model, with those of the task that bear on it."""
    args = content.get("args")
    values = plain(args if args is not None else content.get("cfg"))
    if not isinstance(values, dict):
        raise UserError(f"{source} holds weights in fairseq's layout, but no args or cfg that say of what model")
    given = values
    if isinstance(values.get("model"), dict):
        task = values.get("task")
        given = (task if isinstance(task, dict) else {}) | values["model"]
    return DEFAULTS | {name: value for name, value in given.items() if value is not None}


def find_symbols(dictionary: Path, size: int, k: int) -> Symbols:
    """Which symbols are units and the boundary, as a `dict.txt` (`symbol count` a line) orders them.

    Raises:
        UserError: it is not the dictionary of a model with `size` symbols, or does not hold exactly units 0..K-1.
    """
    require(dictionary, "dictionary of the language model")
    try:
        lines = dictionary.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{dictionary} is not a text file: {error}") from error
    symbols = [*SPECIALS, *(line.split(" ")[0] for line in lines if line.strip())]
    if len(symbols) != size:
        raise UserError(
            f"{dictionary} makes {len(symbols)} symbols (4 of them fairseq's own), but the model has {size}: give "
            "the dictionary of this model with --dictionary"
        )
    number = {int(symbol): place for place, symbol in enumerate(symbols) if symbol.isascii() and symbol.isdecimal()}
    missing, beyond = [unit for unit in range(k) if unit not in number], [unit for unit in number if unit >= k]
    if missing or beyond:
        found = f"lacks unit {missing[0]}" if missing else f"holds unit {max(beyond)}"
        raise UserError(
            f"{dictionary} {found} ({len(number)} units in all), but the quantizer has K = {k}: give the quantizer of "
            "this model"
        )
    return Symbols([number[unit] for unit in range(k)], BOUNDARY, BOUNDARY)
