"""From clips to batches of coordinates: sample frames, augment, collate; and from a batch to what the network eats.

A batch holds coordinates only, {keypoints (N, T, V, 2) px at `train_size` or `test_size`, scores (N, T, V), label (N,),
index (N,)}; heatmaps are drawn from it on the device (`represent`). For graph networks they are the clip's own, in 2D or 3D,
and everything else happens on the device. A video model's batch holds kept pixels and a view each, see `video.views.RgbDataset`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from migstudy import augment
from migstudy.clips import Clip, ClipSet
from migstudy.config.gesture import GestureConfig
from migstudy.graphs.augment import GraphAugment
from migstudy.graphs.data import graph_channels, graph_input
from migstudy.heatmaps import JointPatches, joint_patches, render_views
from migstudy.temporal import SAMPLERS
from migstudy.topology import Topology
from migstudy.video.rgb import RgbClips
from migstudy.video.views import RgbDataset, as_model_input


class GestureDataset(Dataset):
    """Clips as sampled and augmented coordinates; every draw follows from (seed, epoch, position) alone."""

    def __init__(self, clips: ClipSet, config: GestureConfig, train: bool, views: int = 1) -> None:
        self.clips, self.config, self.train, self.views, self.epoch = clips, config.resolved(), train, views, 0
        self.sample = SAMPLERS[self.config.sampling]
        self.labels = training_labels(clips, self.config) if train else clips.labels

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> dict[str, np.ndarray]:
        clip, config = self.clips[i], self.config
        rng = np.random.default_rng([config.seed, self.epoch, i]) if self.train else None
        keypoints, scores = self.sample(clip.keypoints, clip.scores, config.clip_len, self.views, rng)
        if config.on_graph:
            pass
        elif self.clips.dimensions == 3:
            keypoints, scores = self._flat(keypoints, scores, rng)
        else:
            keypoints, scores = self._coordinates(keypoints, scores, clip, rng, config.flip)
        return {"keypoints": keypoints, "scores": scores, "label": self.labels[i], "index": np.int64(i)}

    def _coordinates(self, keypoints, scores, clip: Clip, rng, flip: float):
        if rng is None:
            return augment.eval_coordinates(keypoints, scores, clip.image_size, self.config.test_size)
        size, mirror = self.config.train_size, self.clips.topology.mirror
        return augment.train_coordinates(
            keypoints, scores, clip.image_size, mirror, rng, size, _resize_before_crop(size), (self.config.crop_area, 1.0),
            flip,
        )  # fmt: skip

    def _flat(self, keypoints, scores, rng):
        """3D: mirrored in space, then one image a plane, the planes' joints side by side as (T, planes * V, 2)."""
        mirrored = self.mirrored_in_space(keypoints, scores)
        if rng is None:
            copies = [(keypoints, scores)] + [mirrored] * (self.config.test_mirror and self.views > 1)
        else:
            copies = [mirrored if rng.random() < self.config.flip else (keypoints, scores)]
        drawn = []
        for points, weights in copies:
            planes = []
            for plane in self.config.projection.split("+"):
                flat, image_size = augment.project(points, weights, plane)
                clip = Clip("", flat, weights, image_size=image_size)
                planes.append(self._coordinates(flat, weights, clip, rng, 0.0))
            drawn.append([np.concatenate(part, axis=1) for part in zip(*planes, strict=True)])
        return tuple(np.concatenate(part, axis=0) for part in zip(*drawn, strict=True))

    def mirrored_in_space(self, keypoints, scores):
        mirror = list(self.clips.topology.mirror)
        return keypoints[:, mirror] * np.array([-1, 1, 1], np.float32), scores[:, mirror]


def training_labels(clips: ClipSet, config: GestureConfig) -> np.ndarray:
    """The clips' labels, or the control's: the same in another order."""
    return np.random.default_rng([config.seed, 7]).permutation(clips.labels) if config.shuffle_labels else clips.labels


def make_dataset(clips: ClipSet, config: GestureConfig, train: bool, views: int = 1, pixels: RgbClips | None = None) -> Dataset:
    """The clips as the configured model wants them; pixels: of a video model, `GestureData.pixels`."""
    config = config.resolved()
    if not config.on_rgb:
        return GestureDataset(clips, config, train, views)
    dataset = RgbDataset(
        clips, pixels, config.clip_len, train, config.seed, views, mirror=config.flip, least_area=config.crop_area,
        colour=config.colour,
    )  # fmt: skip
    if train:
        dataset.labels = training_labels(clips, config)
    return dataset


def _resize_before_crop(size: int) -> int:
    """PYSKL resizes to 64 before it crops to 56; other sizes keep that ratio."""
    return round(size * 64 / 56)


def train_loader(clips: ClipSet, config: GestureConfig, pixels: RgbClips | None = None) -> DataLoader:
    """Shuffled batches of one random view a clip; `fit.start_epoch` sets each epoch's draws."""
    config = config.resolved()
    dataset = make_dataset(clips, config, train=True, pixels=pixels)
    generator = torch.Generator()
    return DataLoader(
        dataset, config.batch_size, shuffle=True, generator=generator, num_workers=config.workers,
        drop_last=len(dataset) > config.batch_size, pin_memory=torch.cuda.is_available(),
    )  # fmt: skip


def eval_loader(clips: ClipSet, config: GestureConfig, views: int = 1, pixels: RgbClips | None = None) -> DataLoader:
    """Clips in order, `views` test clips each, joined along time."""
    config = config.resolved()
    dataset = make_dataset(clips, config, train=False, views=views, pixels=pixels)
    batch = max(1, config.batch_size // views)
    return DataLoader(dataset, batch, num_workers=config.workers, pin_memory=torch.cuda.is_available())


def channels(topology: Topology, config: GestureConfig, dimensions: int = 2) -> int:
    """Input channels of a model: joints or limbs, once for each plane drawn; coordinates and score of a graph's joints; RGB."""
    config = config.resolved()
    if config.on_rgb:
        return 3
    if config.on_graph:
        return graph_channels(dimensions)
    planes = len(config.projection.split("+")) if dimensions == 3 else 1
    return planes * (topology.num_joints if config.stream == "joint" else len(topology.edges))


def represent(
    batch: dict, topology: Topology, config: GestureConfig, size: int, mirror: bool = False, train: bool = False,
    generator: torch.Generator | None = None, sparse: bool = False,
) -> torch.Tensor | JointPatches:  # fmt: skip
    """A batch as the network's input, made on its device, (N * views, ...): heatmaps (C, clip_len, size, size) of joints or
    limbs, coordinates (C, clip_len, V, 1) of a graph, or normalised pictures (3, clip_len, size, size).

    The views stand along time in the batch; `mirror` adds the mirror images of all. train: random views of coordinates, drawn
    from `generator`, torch's global one by default; heatmaps were augmented as coordinates, pictures by their own views, clip by clip.
    sparse: joints as patches, which PoseC3D convolves without drawing them, where that pays: on a CPU.
    """
    config = config.resolved()
    if config.on_rgb:
        pictures = as_model_input(batch, config.clip_len, size)
        return torch.stack([pictures, pictures.flip(-1)], 1).flatten(0, 1) if mirror else pictures
    if config.on_graph:
        how = GraphAugment(config.flip, config.rotation, config.shear, config.zoom, config.time_crop, config.joint_dropout)
        each_frame = {"auto": None, "frame": True, "clip": False}[config.center]
        return graph_input(
            batch, topology, config.clip_len, config.stream, each_frame=each_frame, augmentation=how if train else None,
            generator=generator, mirror=mirror,
        )  # fmt: skip
    return _heatmaps(batch, topology, config, size, mirror, sparse and batch["keypoints"].device.type == "cpu")


def _heatmaps(
    batch: dict, topology: Topology, config: GestureConfig, size: int, mirror: bool, sparse: bool
) -> torch.Tensor | JointPatches:  # fmt: skip
    keypoints, scores = batch["keypoints"], batch["scores"]
    views, planes = scores.shape[1] // config.clip_len, scores.shape[2] // topology.num_joints
    edges, permutation = None, topology.mirror
    if config.stream == "limb":
        v = topology.num_joints
        edges = [(a + plane * v, b + plane * v) for plane in range(planes) for a, b in topology.edges]
        permutation = topology.limb_mirror
    permutation = [channel + plane * len(permutation) for plane in range(planes) for channel in permutation]
    how = dict(num_clips=views, permutation=permutation if mirror else None)
    if sparse and edges is None:
        return joint_patches(keypoints, scores, size, config.sigma, **how)
    volume = render_views(keypoints, scores, size, config.sigma, edges=edges, **how)
    return volume.flatten(0, 1)


def with_labels(clips: ClipSet) -> ClipSet:
    """The clips whose label is known; a challenge's test set may have none."""
    return replace(clips, index=clips.index[clips.labels >= 0].reset_index(drop=True))
