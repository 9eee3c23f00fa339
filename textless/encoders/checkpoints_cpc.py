"""Files of Libri-Light's CPC: `{"weights": ..., "config": ...}`, or `{"gEncoder": ..., ...}` as its training has them.

Sizes and the number of levels are those of the weights; a configuration that goes with them need not be read.
GSLM's layer n is our layer n.
"""

import re

from textless.encoders.cpc import Cpc, CpcConfig
from textless.encoders.foreign import Foreign, Layout, State, build
from textless.errors import UserError

_CONTEXT = r"gAR\.baseNet\.(weight|bias)_(ih|hh)_l(\d+)"
LIBRILIGHT = Layout(
    name="Libri-Light CPC",
    signature="gEncoder.conv0.weight",
    renames=(
        (r"gEncoder\.conv(\d+)\.", r"convs.\1."),
        (r"gEncoder\.batchNorm(\d+)\.", r"norms.\1."),
        (_CONTEXT, r"levels.\3.\1_\2_l0"),
    ),
    heads="cpcCriterion|wPrediction",
)


def load_cpc(state: State, source: str) -> Foreign:
    """CPC with a context that is an LSTM.

    Raises:
        UserError: its context is something else, or weights are missing.
    """
    weights, ignored = LIBRILIGHT.translate(state)
    levels = len({match[1] for name in weights if (match := re.match(r"levels\.(\d+)\.", name))})
    if "levels.0.weight_hh_l0" not in weights:
        raise UserError(f"{source}: this CPC has no recurrent context (gAR.baseNet), which is the only kind supported")
    gates, dim = weights["levels.0.weight_hh_l0"].shape
    if gates != 4 * dim:
        raise UserError(f"{source}: the context of this CPC is no LSTM (GRU?), which is the only kind supported")
    for name in [name for name in weights if name.startswith("norms.")]:
        weights[name] = weights[name].flatten()  # (1, C, 1) -> (C,)
    config = CpcConfig(conv_dim=weights["convs.0.weight"].shape[0], dim=dim, levels=levels)
    return Foreign(build(Cpc, config, weights, source), LIBRILIGHT.name, ignored)
