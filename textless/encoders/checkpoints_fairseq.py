"""Files of fairseq: HuBERT, wav2vec 2.0 and data2vec-audio, also fine-tuned; Spirit-LM's and WavLM's variants of them.

The settings are a pickled `Namespace` (`args`, which counts where both are there) or groups of an OmegaConf (`cfg`), or
Spirit-LM's `model_cfg` and `task_cfg`; none of those libraries is needed to read them. HuBERT's `output_layer=n` is our
layer n; the n-th layer of its wav2vec 2.0 is counted from 0 and is our layer n + 1.
"""

import ast
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from textless.encoders.foreign import BLOCK, Foreign, Layout, State, build
from textless.encoders.speech_transformer import SpeechTransformer, SpeechTransformerConfig
from textless.errors import UserError
from textless.pickles import plain

# fairseq's own, for settings that old files do not hold
DEFAULTS: dict[str, Any] = {
    "extractor_mode": "default",
    "conv_feature_layers": "[(512, 10, 5)] + [(512, 3, 2)] * 4 + [(512,2,2)] + [(512,2,2)]",
    "conv_bias": False,
    "encoder_layers": 12,
    "encoder_embed_dim": 768,
    "encoder_ffn_embed_dim": 3072,
    "encoder_attention_heads": 12,
    "activation_fn": "gelu",
    "layer_norm_first": False,
    "conv_pos": 128,
    "conv_pos_groups": 16,
    "pos_conv_depth": 1,
    "conv_pos_batch_norm": False,
    "layer_type": "transformer",
    "relative_position_embedding": False,
    "gru_rel_pos": True,
    "num_buckets": 320,
    "max_distance": 800,
}
NORMS = {"default": "group", "layer_norm": "layer"}
MAX_CONVOLUTIONS = 64
_LAYER = r"encoder\.layers\.(\d+)\."
_COMMON = (
    (r"feature_extractor\.conv_layers\.(\d+)\.0\.", r"front_end.convs.\1."),
    (r"feature_extractor\.conv_layers\.(\d+)\.2\.(?:1\.)?", r"front_end.norms.\1."),
    (r"layer_norm\.", "projection_norm."),
    (r"post_extract_proj\.", "projection."),
    (r"encoder\.layer_norm\.", "transformer.norm."),
    (_LAYER + r"self_attn\.([qkv])_proj\.", BLOCK + r"\2."),
    (_LAYER + r"self_attn\.out_proj\.", BLOCK + "out."),
    (_LAYER + r"self_attn\.grep_linear\.", BLOCK + "gate.project."),
    (_LAYER + r"self_attn\.grep_a", BLOCK + "gate.constant"),
    (r"encoder\.layers\.0\.self_attn\.relative_attention_bias\.", "transformer.relative.embedding."),
    (_LAYER + r"self_attn_layer_norm\.", BLOCK + "attention_norm."),
    (_LAYER + r"fc1\.", BLOCK + "up."),
    (_LAYER + r"fc2\.", BLOCK + "down."),
    (_LAYER + r"final_layer_norm\.", BLOCK + "ffn_norm."),
)
# The convolution of positions is a sequence of modules, whose numbers mean something else in every kind.
_POSITION = ((r"encoder\.pos_conv\.0\.", "transformer.position.conv."),)
_POSITION_STACK = ((r"encoder\.pos_conv\.(\d+)\.0\.", r"transformer.position.convs.\1."),)
_POSITION_BATCH_NORM = (
    (r"encoder\.pos_conv\.0\.", "transformer.position.norm."),
    (r"encoder\.pos_conv\.1\.", "transformer.position.conv."),
)
FAIRSEQ = Layout(
    name="fairseq",
    signature="encoder.layers.0.self_attn.q_proj.weight",
    renames=_COMMON + _POSITION,
    heads="mask_emb|quantizer|project_q|target_glu|final_proj|label_embs|_ema",
)


def load_fairseq(state: State, content: Mapping[str, Any], source: str) -> Foreign:
    """The encoder whose weights are `state`, described by the rest of a checkpoint's `content`.

    Raises:
        UserError: the settings are missing or ask for something that is no model of this family, or the weights are not
            those of that model.
    """
    model, task = _settings(content, source)
    config = read_config(model, source, normalises=bool(task.get("normalize", False)))
    layout = FAIRSEQ
    if config.transformer.position == "conv-stack":
        layout = replace(FAIRSEQ, renames=_COMMON + _POSITION_STACK)
    elif config.transformer.position_batch_norm:
        layout = replace(FAIRSEQ, renames=_COMMON + _POSITION_BATCH_NORM)
    weights, ignored = layout.translate(state)
    kind = str(model.get("_name") or model.get("arch") or "").strip()
    name = f"{FAIRSEQ.name}: {kind}" if kind else FAIRSEQ.name
    return Foreign(build(SpeechTransformer, config, weights, source), name, ignored)


def read_config(settings: Mapping[str, Any], source: str, *, normalises: bool) -> SpeechTransformerConfig:
    """Our configuration of a model's settings."""
    values = DEFAULTS | {name: value for name, value in settings.items() if value is not None}
    if values["layer_type"] != "transformer":
        raise UserError(f"{source}: layers of type {values['layer_type']!r} are not supported, only transformer")
    if values["extractor_mode"] not in NORMS:
        raise UserError(f"{source}: extractor_mode {values['extractor_mode']!r} is none of {', '.join(NORMS)}")
    depth = int(values["pos_conv_depth"])
    kernel = int(values["conv_pos"])
    relative = bool(values["relative_position_embedding"])
    if relative and not values["gru_rel_pos"]:
        raise UserError(f"{source}: a relative position bias without gate (gru_rel_pos=False) is not supported")
    ours = {
        "front_end": {
            "kind": "conv",
            "layers": read_convolutions(values["conv_feature_layers"], source),
            "norm": NORMS[values["extractor_mode"]],
            "bias": values["conv_bias"],
        },
        "normalise_waveform": normalises,
        "transformer": {
            "dim": values["encoder_embed_dim"],
            "layers": values["encoder_layers"],
            "heads": values["encoder_attention_heads"],
            "ffn_dim": values["encoder_ffn_embed_dim"],
            "norm_first": values["layer_norm_first"],
            "activation": values["activation_fn"],
            "position": "conv-stack" if depth > 1 else "conv",
            "position_kernel": max(3, kernel // depth) if depth > 1 else kernel,  # one reach, however deep the stack
            "position_groups": values["conv_pos_groups"],
            "position_depth": depth,
            "position_batch_norm": values["conv_pos_batch_norm"],
            "relative_buckets": values["num_buckets"] if relative else 0,
            "relative_distance": values["max_distance"],
        },
    }
    return SpeechTransformerConfig.parse(ours, source)


def read_convolutions(expression: object, source: str) -> list[tuple[int, int, int]]:
    """Channels, kernel and stride of every convolution, from a string such as `[(512, 10, 5)] + [(512, 3, 2)] * 4`.

    The string is a program in Python; only sums, multiples and literals of it are understood, and nothing is run.

    Raises:
        UserError: it is anything else.
    """
    try:
        layers: Any = expression
        if isinstance(expression, str):
            layers = _evaluate(ast.parse(expression, mode="eval").body)
        result = [(int(dim), int(kernel), int(stride)) for dim, kernel, stride in layers]
        if 0 < len(result) <= MAX_CONVOLUTIONS:
            return result
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        pass
    text = str(expression)[:80]
    raise UserError(f"{source}: conv_feature_layers {text!r} is not a list such as [(512, 10, 5)] + [(512, 3, 2)] * 4")


def _evaluate(node: ast.expr) -> Any:  # noqa: ANN401
    match node:
        case ast.Constant(value=int(value)):
            return value
        case ast.List(elts=items) | ast.Tuple(elts=items):
            return [_evaluate(item) for item in items]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _evaluate(left) + _evaluate(right)
        case ast.BinOp(left=left, op=ast.Mult(), right=ast.Constant(value=int(times))) if times <= MAX_CONVOLUTIONS:
            return _evaluate(left) * times
    raise ValueError(ast.dump(node))


def _settings(content: Mapping[str, Any], source: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Settings of the model and of the task that it was trained on."""
    if "model_cfg" in content:
        model, task = plain(content["model_cfg"]), plain(content.get("task_cfg") or {})
    else:
        args = content.get("args")
        values = plain(args if args is not None else content.get("cfg"))
        if not isinstance(values, dict):
            raise UserError(f"{source} holds weights in fairseq's layout, but no args or cfg that say of what model")
        model, task = values.get("model", values), values.get("task", values)
    if model.get("w2v_args"):  # fine-tuned: the settings of the encoder lie within
        return _settings({"cfg": model["w2v_args"]}, source)
    return model, task
