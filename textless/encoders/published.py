"""Encoders by name: where their authors published them, and a cache of what was downloaded.

Files come from torchaudio's server, Hugging Face, fairseq's server and GitHub. Each is downloaded once, into
`$TEXTLESS_CACHE` (or `~/.cache/textless`), under a temporary name until it is whole. Whenever a file is read, its
SHA-256 must be the one that was published with it, as far as that is known, or else the one of its first download.
"""

import http.client
import os
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from textless.encoders.checkpoints import load_foreign
from textless.encoders.checkpoints_huggingface import CONFIG_NAME, WAVEFORM_NAMES, WEIGHTS_NAMES
from textless.encoders.directory import WeightedEncoder
from textless.encoders.foreign import Foreign
from textless.errors import UserError
from textless.files import atomic_write, sha256_file
from textless.progress import track

_TORCHAUDIO = "https://download.pytorch.org/torchaudio/models/"
_FAIRSEQ = "https://dl.fbaipublicfiles.com/hubert/"
_TEXTLESS = "https://dl.fbaipublicfiles.com/textless_nlp/"
_HUGGING_FACE = "https://huggingface.co/"
_BSHALL = "https://github.com/bshall/hubert/releases/download/v0.2/"
_REVISION = "/resolve/main/"  # between a repository of Hugging Face and the name of a file
CHUNK = 1 << 20  # bytes
TIMEOUT = 60.0  # seconds without an answer


@dataclass(frozen=True)
class Published:
    """A model that somebody published; what is None here is known once its files have been read."""

    url: str  # of the file, or of a repository of Hugging Face
    layers: int | None = 12
    dim: int = 768
    normalises: bool | None = False  # whether the waveform is normalised
    frame_rate: float = 50.0
    sha256: str = ""  # of the file, or its beginning

    @property
    def is_repository(self) -> bool:
        """Whether it is a folder of Hugging Face."""
        return self.url.startswith(_HUGGING_FACE)

    @property
    def source(self) -> str:
        """Where it comes from, for a table."""
        if self.is_repository:
            return f"Hugging Face {self.url.removeprefix(_HUGGING_FACE)}"
        hosts = {_TORCHAUDIO: "torchaudio", _BSHALL: "github.com/bshall/hubert"}
        host = next((name for start, name in hosts.items() if self.url.startswith(start)), "fairseq")
        return f"{host} {self.url.rpartition('/')[2]}"


def _torchaudio(file: str, layers: int = 12, dim: int = 768, *, normalises: bool = False) -> Published:
    return Published(_TORCHAUDIO + file, layers, dim, normalises)


MODELS = {
    "hubert-base": _torchaudio("hubert_fairseq_base_ls960.pth"),
    "hubert-large": _torchaudio("hubert_fairseq_large_ll60k.pth", 24, 1024, normalises=True),
    "hubert-xlarge": _torchaudio("hubert_fairseq_xlarge_ll60k.pth", 48, 1280, normalises=True),
    "hubert-base-fairseq": Published(_FAIRSEQ + "hubert_base_ls960.pt", sha256="1703cf8d"),
    "mhubert-vp-en-es-fr": Published(
        _FAIRSEQ + "mhubert_base_vp_en_es_fr_it3.pt",
        sha256="23527cd6311a6617bfa199f574e2eed478cd6a58a634f4007165c10ec0019832",
    ),
    "mhubert-8lang": Published(
        _FAIRSEQ + "mhubert_base_vp_mls_cv_8lang_it3.pt",
        sha256="fa82eaccb557465f4732662e3a744c30c953059147ac6a4c92f1f3e0daeda61e",
    ),
    "mhubert-25hz": Published(
        _TEXTLESS + "twist/speech_tokenizer/mhubert_base_25hz_cp_mls_cv_sp_fisher.pt",
        normalises=None,
        frame_rate=25.0,
        sha256="edf0f5be2581a568a236aeb2781a5607c5af25806e12f40f7f2391e861fe3cf0",
    ),
    "mhubert-147": Published(_HUGGING_FACE + "utter-project/mHuBERT-147", normalises=None),
    "distilhubert": Published(_HUGGING_FACE + "ntu-spml/distilhubert", layers=2, normalises=None),
    "hubert-discrete": Published(_BSHALL + "hubert-discrete-96b248c5.pt", sha256="96b248c5"),
    "hubert-soft": Published(_BSHALL + "hubert-soft-35d9f29f.pt", sha256="35d9f29f"),
    "wav2vec2-base": _torchaudio("wav2vec2_fairseq_base_ls960.pth"),
    "wav2vec2-large": _torchaudio("wav2vec2_fairseq_large_ls960.pth", 24, 1024),
    "wav2vec2-large-lv60k": _torchaudio("wav2vec2_fairseq_large_lv60k.pth", 24, 1024, normalises=True),
    "wav2vec2-xlsr-53": _torchaudio("wav2vec2_fairseq_large_xlsr53.pth", 24, 1024, normalises=True),
    "xls-r-300m": _torchaudio("wav2vec2_xlsr_300m.pth", 24, 1024, normalises=True),
    "xls-r-1b": _torchaudio("wav2vec2_xlsr_1b.pth", 48, 1280, normalises=True),
    "xls-r-2b": _torchaudio("wav2vec2_xlsr_2b.pth", 48, 1920, normalises=True),
    "wavlm-base": _torchaudio("wavlm_base.pth"),
    "wavlm-base-plus": _torchaudio("wavlm_base_plus.pth"),
    "wavlm-large": _torchaudio("wavlm_large.pth", 24, 1024, normalises=True),
    "data2vec-audio-base": Published(_HUGGING_FACE + "facebook/data2vec-audio-base", normalises=True),
    "data2vec-audio-large": Published(_HUGGING_FACE + "facebook/data2vec-audio-large", 24, 1024, normalises=True),
    "cpc-big": Published(
        _TEXTLESS + "gslm/cpc/cpc_big_ll6kh_top_ctc.pt",
        None,
        256,
        frame_rate=100.0,
        sha256="73155dad5d7c986fe7b7f548050060a8e9cc9a0ffd111a22932f38c3e617c5b8",
    ),
    "cpc-ll60k": Published(
        "https://dl.fbaipublicfiles.com/librilight/CPC_checkpoints/60k_epoch4-d0f474de.pt",
        None,
        256,
        frame_rate=100.0,
        sha256="d0f474de968c7243c20f43dee1626681618f2f150d3e638e82b79e22563b17f1",
    ),
}


def cache_folder() -> Path:
    """Where downloads are kept."""
    return Path(os.environ.get("TEXTLESS_CACHE") or "~/.cache/textless").expanduser()


def cached_path(name: str) -> Path:
    """Where the file or the folder of a model lies once it has been downloaded."""
    model = MODELS[name]
    folder = cache_folder() / "encoders" / name
    return folder if model.is_repository else folder / model.url.rpartition("/")[2]


def is_cached(name: str) -> bool:
    """Whether a model can be loaded without a network."""
    path = cached_path(name)
    return any((path / weights).is_file() for weights in WEIGHTS_NAMES) if path.is_dir() else path.is_file()


def load(name: str) -> Foreign:
    """The encoder of a name in `MODELS`, downloaded if it is not in the cache.

    Raises:
        UserError: it cannot be reached, or what was downloaded is not what was published.
    """
    model = MODELS[name]
    path = cached_path(name)
    if not model.is_repository:
        _fetch(name, model.url, path, known=model.sha256)
    else:
        _fetch_folder(name, model.url, path)
    foreign = load_foreign(path)
    _compare(name, model, foreign.encoder)
    return foreign


def _compare(name: str, model: Published, encoder: WeightedEncoder) -> None:
    wanted = {"layers": model.layers, "dim": model.dim, "frame_rate": model.frame_rate}
    dim = encoder.layer_dim(encoder.num_layers)
    found = {"layers": encoder.num_layers, "dim": dim, "frame_rate": encoder.frame_rate}
    if any(value is not None and value != found[what] for what, value in wanted.items()):
        raise UserError(f"{cached_path(name)} has {found}, but {name} has {wanted}: remove it, and it is fetched again")


def _fetch_folder(name: str, url: str, folder: Path) -> None:
    """What is needed of a repository of Hugging Face; the weights come last and mark it as whole."""
    if is_cached(name):
        for file in (CONFIG_NAME, *WAVEFORM_NAMES, *WEIGHTS_NAMES):
            if (folder / file).is_file():
                _verify(folder / file)
        return
    _fetch(name, url + _REVISION + CONFIG_NAME, folder / CONFIG_NAME)
    for file in WAVEFORM_NAMES:
        _fetch(name, url + _REVISION + file, folder / file, optional=True)
    if not any(_fetch(name, url + _REVISION + file, folder / file, optional=True) for file in WEIGHTS_NAMES):
        raise UserError(f"{name}: {url} holds neither {' nor '.join(WEIGHTS_NAMES)}")


def _fetch(name: str, url: str, path: Path, *, known: str = "", optional: bool = False) -> bool:
    """Have a file in the cache and verify it; only an `optional` one may not exist, which the result tells."""
    if not path.is_file():
        try:
            _download(url, path)
        except (OSError, http.client.HTTPException) as error:
            if optional and isinstance(error, urllib.error.HTTPError) and error.code == 404:
                return False
            raise UserError(
                f"{name} is not in the cache and {url} cannot be fetched ({error}); fetch it where there is a network "
                f"and put it at {path}, or run `textless encoder import FILE OUT` and use OUT:LAYER"
            ) from error
    _verify(path, known)
    return True


def _download(url: str, path: Path) -> None:
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response:  # noqa: S310 - https, from the table above
        size = int(response.headers.get("Content-Length") or 0)
        chunks = iter(lambda: response.read(CHUNK), b"")
        with atomic_write(path, "wb") as file:
            for chunk in track(chunks, f"{path.name} (MiB)", -(-size // CHUNK) or None):
                file.write(chunk)
            if size and file.tell() != size:
                raise OSError(f"the connection broke after {file.tell()} of {size} bytes")


def _verify(path: Path, known: str = "") -> None:
    """Compare the hash of a file with what is known of it, or with that of its first download, which is kept."""
    digest, record = sha256_file(path), path.with_name(f"{path.name}.sha256")
    expected = known or (record.read_text(encoding="utf-8").strip() if record.is_file() else digest)
    if not digest.startswith(expected):
        path.unlink()
        raise UserError(
            f"{path} was removed: its SHA-256 is {digest}, but {expected} is expected, so it was damaged or is not the "
            "file that was published; run the command again to fetch it again"
        )
    if not record.is_file():
        with atomic_write(record) as file:
            file.write(digest + "\n")
