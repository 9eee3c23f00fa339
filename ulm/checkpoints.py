"""Unit LMs of other libraries as ours: the same probabilities, of our tokens."""

from pathlib import Path

from textless.errors import UserError
from textless.files import atomic_directory, refuse_overwrite, require
from ulm import checkpoints_fairseq, checkpoints_huggingface
from ulm.language_model import TransformerLanguageModel
from units.identity import QuantizerIdentity, require_same


def import_model(
    source: Path,
    output: Path,
    quantizer: QuantizerIdentity,
    *,
    dictionary: Path | None = None,
    offset: int | None = None,
    begin: int | None = None,
    end: int | None = None,
    context: int | None = None,
    force: bool = False,
) -> TransformerLanguageModel:
    """Write the model directory `output` from a checkpoint of fairseq (a file) or a folder of Hugging Face.

    Symbols that are neither units nor boundary stay in the softmax, so that log probabilities are those of the foreign
    model; they are never read or generated.

    Weights stay in the type they were stored in; `load_language_model` makes float32 of them.

    Args:
        source: the checkpoint.
        output: directory to write.
        quantizer: of the units that the model was trained on.
        dictionary: fairseq's `dict.txt`; by default the one beside the checkpoint.
        offset: number of unit 0 in a folder; by default what the folder says.
        begin: number of the symbol before the first unit, and
        end: of the one after the last, where a folder does not say.
        context: longest window, in tokens; by default what the checkpoint was made for.
        force: replace what is there.

    Raises:
        UserError: the checkpoint is damaged, wants to run something, is of another architecture, or of another K.
    """
    refuse_overwrite(output, force=force)
    if require(source, "checkpoint").is_dir():
        if dictionary is not None:
            raise UserError(f"--dictionary is for checkpoint files of fairseq; {source} is a folder")
        model, values = checkpoints_huggingface.load_huggingface(source)
        if "textless" in values:  # written by `textless ulm export`
            stated = QuantizerIdentity.parse(values["textless"]["quantizer"], str(source))
            require_same(stated, quantizer, str(source), "--quantizer")
        symbols = checkpoints_huggingface.find_symbols(
            values, model.size, quantizer.k, str(source), offset=offset, begin=begin, end=end
        )
    else:
        if offset is not None or begin is not None or end is not None:
            raise UserError(f"--offset, --bos and --eos are for folders of Hugging Face; {source} has its dictionary")
        model = checkpoints_fairseq.load_fairseq(source)
        beside = source.with_name(checkpoints_fairseq.DICTIONARY_NAME)
        symbols = checkpoints_fairseq.find_symbols(dictionary or beside, model.size, quantizer.k)
    longest = model.config.max_positions or model.context
    if context is not None and model.config.max_positions and context > longest:
        raise UserError(f"--context {context} is beyond the {longest} positions that {source} has learned")
    ours = model.with_vocabulary(symbols)
    inert = ours.size - quantizer.k - 1
    network = ours.network(inert, str(source))
    language_model = TransformerLanguageModel(network, quantizer, context or model.context, inert=inert)
    with atomic_directory(output) as temporary:
        language_model.save(temporary, imported_from=model.kind)
    return language_model
