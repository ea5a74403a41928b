"""Whom the encoders of a run learned from: never a test person, and what it means where they are the people cross-validated.

Encoders are trained once, not once a fold. On a release that brings no other people they learn from the training part, so that a
fold's held-out person is not new to them although no result is ever told: cross-validation is then optimistic, the test is not.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd

from migstudy.config.gesture import GestureConfig
from migstudy.data import data_path, open_data
from migstudy.datasets.content_cache import key_of
from migstudy.datasets.release_layout import SIMULATION_FILE
from migstudy.emotion.data import EmotionData, cache_folder, one_at_a_time
from migstudy.emotion.protocols import ProtocolError


def people_known(own: GestureConfig, data: EmotionData, what: str) -> int:
    """How many of the people that are cross-validated an encoder with these parameters learns from, or is selected on.

    Names are compared where the encoder's videos are the protocol's, by place or by id. ProtocolError where it would learn from a
    test video or any video of a test person; `what` names the encoder there.
    """
    place = data_path(own.data, own.profile)
    if _other_people(place, data):
        return 0
    seen, table = open_data(own), data.videos.table
    known = pd.concat([part.index[["video", "subject"]] for part in (seen.train, seen.val)])
    mine = table["video"].isin(known["video"])
    people = set(table.loc[mine, "subject"])
    if mine.any() or place.resolve() == data.root.resolve():  # elsewhere a person's name says nothing
        people |= set(known["subject"])
    met, test = mine | table["subject"].isin(people - {""}), table["split"] == "test"
    if (met & test).any():
        videos, persons = (sorted(set(table.loc[m & test, c])) for m, c in ((mine, "video"), (met, "subject")))
        told = f"{len(videos)} test videos ({videos[0]} first)" if videos else f"{len(persons)} test people ({persons[0]} first)"
        raise ProtocolError(
            f"{what} learns from {told} of protocol {data.videos.protocol}; leave the parameter empty to have one trained on the"
            " protocol's training people, or give one whose training part holds none of them"
        )
    return table.loc[met, "subject"].nunique()


def _other_people(place: Path, data: EmotionData) -> bool:
    """Whether a simulated set has other people than the videos, whatever their numbers: other seeds do, and so does iMiGUE."""
    marker = place / SIMULATION_FILE
    if place.resolve() == data.root.resolve() or not marker.is_file():
        return False
    return f"-seed{json.loads(marker.read_text(encoding='utf-8'))['seed']}-" not in data.videos.protocol


def teaching_clips(data: EmotionData) -> Path:
    """A ClipSet folder of the release's labelled segments, divided as the win/lose protocol divides people; in the cache.

    test: the protocol's test videos. train, val: every other video of a known person who is in none of them, those that the
    protocol leaves out among them; val as in the protocol, else for the reader to hold out. Raises ValueError where nobody is
    left.
    """
    from migstudy.datasets.imigue import read_release

    clips = read_release(data.root, split_by="folders", cache=cache_folder()).clips
    table = data.videos.table
    test = table[table["split"] == "test"]
    split = clips.index["video"].map(table.set_index("video")["split"]).fillna("train").astype(str)
    tested, person = clips.index["video"].isin(test["video"]), clips.index["subject"].astype(str)
    kept = tested | (~person.isin(test["subject"]) & (person != ""))
    if not (kept & (split == "train")).any():
        raise ValueError(
            f"{data.root}: no labelled segment of a training person is left to teach an encoder; give a finished run as"
            " context_run or gesture_run"
        )
    source = f"{clips.source}, divided as protocol {data.videos.protocol}"
    whole = replace(clips, index=clips.index.assign(split=split if len(test) else ""), source=source)
    chosen = whole.select(kept.to_numpy())
    folder = cache_folder() / "teaching" / key_of(data.videos.protocol, chosen.fingerprint, chosen.index["split"].tolist())
    with one_at_a_time(folder.name):
        if not (folder / "clipset.json").is_file():
            folder.parent.mkdir(parents=True, exist_ok=True)
            chosen.save(folder)
    return folder


def encoder_note(saw: Mapping[str, int | None], people: int, part: str = "cross_validation") -> str:
    """What a reader of a part's numbers must know of the encoders. saw: modality -> how many of the `people` cross-validated
    taught its encoder, None where nobody can tell; "" without encoders."""
    if not saw:
        return ""
    unsure = [name for name, count in saw.items() if count is None]
    told = [f"Whom the given encoder of {' and '.join(unsure)} learned from is not known."] if unsure else []
    met = [f"{name} from {count} of these {people}" for name, count in saw.items() if count]
    if met and part == "cross_validation":
        whom = f"Encoders saw these people, not their results ({', '.join(met)})"
        told.insert(0, f"{whom}: cross-validation is optimistic, the test part is not.")
    elif len(unsure) < len(saw):
        told.insert(0, "Encoders learned from other people than these, and from no result.")
    return " ".join(told)


def encoder_facts(saw: Mapping[str, int | None], people: int, part: str) -> dict:
    """What a part's metrics say of the encoders: the note, and whether the part's numbers are optimistic for it."""
    return {"encoders": encoder_note(saw, people, part), "optimistic": part == "cross_validation" and any(saw.values())}
