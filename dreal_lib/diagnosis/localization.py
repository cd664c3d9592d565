"""Where a network looks, and whether that is where the object is (appendix B.2).

Maps are Grad-CAM (Selvaraju et al., 2017) and its relatives, computed by pytorch-grad-cam for the
true class's logit, at the layer's own resolution. The library would subtract each map's minimum
and scale it up; here a map is only rectified and divided by its maximum, as its paper has it.

Scores (`dreal_lib.diagnosis.map_scores`) compare a map with the object's region, laid over what the
network saw with each cell at the centre of its receptive field (`dreal_lib.diagnosis.cells`). CAM
libraries resize the map over the whole image instead, which shifts it.

Letters: N images (B of a batch), H, W the network's input, h, w the layer's output.
"""

import importlib.util
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from dreal_lib.data.boxes import rectangles
from dreal_lib.diagnosis.cells import Cells
from dreal_lib.diagnosis.map_scores import (
    THRESHOLD,
    area,
    area_under,
    completeness,
    defined,
    energy,
    iou,
    perturbation_curve,
    pointing,
)
from dreal_lib.diagnosis.receptive_fields import cells_of_layer
from dreal_lib.errors import UserError, unknown_choice
from dreal_lib.records.arrays import (
    BOX_SHARE,
    BOXES,
    HEAT_MAPS,
    HEAT_SETTINGS,
    OBJECT_SHARE,
    SCORE,
)
from dreal_lib.runtime.modes import evaluation_mode

METHODS = {
    "gradcam": "GradCAM",
    "gradcam++": "GradCAMPlusPlus",
    "layercam": "LayerCAM",
    "hirescam": "HiResCAM",
    "eigencam": "EigenCAM",  # the sign of a principal component is arbitrary, and so is the map's
}
LAYER = "layer4[-1]"  # the last block of the last stage

Batches = Iterable[tuple[Tensor, Tensor]]
Explain = Callable[[Tensor, Tensor], Tensor]


class Regions(Protocol):
    """The objects of B images as the network sees them; see `dreal_lib.data.boxes.Regions`."""

    box: Tensor  # (B, H, W) bool, all False where no object is known
    shape: Tensor  # the mask where there is one, else the box
    masked: Tensor  # (B,) bool


class Objects(Protocol):
    """Where regions come from; see `dreal_lib.data.boxes.Objects`."""

    def regions(self, start: int, count: int) -> Regions: ...


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """A module by its name, "layer4.2", or by its place in a stage, "layer4[-1]".

    Raises:
        UserError: There is none; lists those of the two upper levels.
    """
    match = re.fullmatch(r"(.+)\[(-?\d+)\]", name)
    try:
        module = model.get_submodule(match[1] if match else name) if name else None
        found = module[int(match[2])] if match else module
    except (AttributeError, IndexError, TypeError):
        found = None
    if found is None:
        known = [n for n, _ in model.named_modules() if n and n.count(".") <= 1]
        raise unknown_choice("layer", name, known)
    return found


class _RawMaps:
    """Mixed into a method of pytorch-grad-cam: its maps as they are, from the tapped layer."""

    tapped: Tensor

    def compute_cam_per_layer(self, input_tensor, targets, eigen_smooth):
        gradients = self.tapped.grad
        return self.get_cam_image(
            input_tensor,
            self.target_layers[0],
            targets,
            self.tapped.detach().float().cpu().numpy(),  # numpy has no bfloat16
            None if gradients is None else gradients.float().cpu().numpy(),
            eigen_smooth,
        )

    def aggregate_multi_layers(self, maps):
        return maps


def can_explain() -> bool:
    """Whether pytorch-grad-cam is installed; a machine that only trains need not have it."""
    return importlib.util.find_spec("pytorch_grad_cam") is not None


@contextmanager
def explaining(model: nn.Module, layer: str = LAYER, method: str = "gradcam") -> Iterator[Explain]:
    """A function from images (B, 3, H, W) and labels (B,) to maps (B, h, w), each of maximum 1.

    Within the context the network is in evaluation mode and its parameters need no gradient: the
    backward pass ends at the layer. Modes, `requires_grad` and gradients are restored.

    Args:
        model: The network.
        layer: See `find_layer`.
        method: A key of `METHODS`.

    Raises:
        UserError: Unknown layer or method, or pytorch-grad-cam is missing.
    """
    if method not in METHODS:
        raise unknown_choice("CAM method", method, METHODS)
    module = find_layer(model, layer)
    if not can_explain():
        raise UserError("Grad-CAM needs pytorch-grad-cam; try pip install 'dreal-companion[book]'")
    import pytorch_grad_cam
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    explainer_class = type(method, (_RawMaps, getattr(pytorch_grad_cam, METHODS[method])), {})
    explainer = None

    def tap(_: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor) or output.dim() != 4:
            raise UserError(f"layer {layer!r} puts out no feature map (B, C, h, w); try {LAYER}")
        explainer.tapped = output.detach().requires_grad_()
        return explainer.tapped * 1  # a ReLU in place would else change what was tapped

    @torch.enable_grad()
    def explain(images: Tensor, labels: Tensor) -> Tensor:
        targets = [ClassifierOutputTarget(label) for label in labels.tolist()]
        maps = torch.from_numpy(np.asarray(explainer(images, targets))).to(images.device)
        return _normalised(maps.float())

    parameters = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    hook = module.register_forward_hook(tap)  # before the library's own
    try:
        with evaluation_mode(model):
            explainer = explainer_class(model, [module])
            model.requires_grad_(False)
            yield explain
    finally:
        hook.remove()
        if explainer is not None:
            explainer.activations_and_grads.release()
        for parameter, needs_gradient, gradient in parameters:
            parameter.requires_grad_(needs_gradient)
            parameter.grad = gradient


def _normalised(maps: Tensor) -> Tensor:
    """Rectified, each divided by its maximum; a map without a positive value stays zero."""
    maps = maps.nan_to_num(0.0).clamp(min=0)
    highest = maps.amax((1, 2), keepdim=True)
    return torch.where(highest > 0, maps / highest, 0.0)


def laid(maps: Tensor, cells: Cells) -> Tensor:
    """Maps (N, h, w) over the image, (N, H, W); see `dreal_lib.diagnosis.cells`."""
    rows, columns = (torch.from_numpy(w).to(maps.device, maps.dtype) for w in cells.weights())
    return rows @ maps @ columns.T


@dataclass
class Localization:
    """What `localize` found, image by image.

    Attributes:
        settings: How: layer, method, threshold, steps, image_size, masks (number of images whose
            region is a mask), objects (number with a known object), and where cells lie
            (`Cells.settings`).
        cam: Maps of maximum 1, or zero everywhere, (N, h, w) float16.
        scores: By name, (N,), NaN where undefined.
        boxes: Rectangle around the object, x_min, y_min, x_max, y_max in pixels of the network's
            input, half open, (N, 4) int16; -1 where unknown.
        box_share, object_share: Share of the image in the box and in the object's region, (N,); the
            former is what a map of one value everywhere would get of pointing and energy.
    """

    settings: dict[str, object]
    cam: np.ndarray
    boxes: np.ndarray
    box_share: np.ndarray
    object_share: np.ndarray
    scores: dict[str, np.ndarray] = field(default_factory=dict)

    def arrays(self) -> dict[str, np.ndarray]:
        """By name; what is known of objects if there are any."""
        named = {HEAT_MAPS: self.cam, HEAT_SETTINGS: np.array(json.dumps(self.settings))}
        if self.settings["objects"]:
            named[BOXES] = self.boxes
            named[BOX_SHARE] = self.box_share.astype(np.float16)
            named[OBJECT_SHARE] = self.object_share.astype(np.float16)
        scores = {SCORE.of(k): v.astype(np.float16) for k, v in self.scores.items()}
        return named | scores


def localize(
    model: nn.Module,
    batches: Batches,
    objects: Objects | None = None,
    *,
    layer: str = LAYER,
    method: str = "gradcam",
    threshold: float = THRESHOLD,
    steps: int | None = None,
) -> Localization:
    """Maps of a labelled set for the true classes, and their scores.

    Pointing and energy are measured in the object's box; iou and completeness on its mask, or its
    box where there is no mask.

    Args:
        model: The network, on the batches' device.
        batches: Images (B, 3, H, W) and labels (B,).
        objects: Where the objects are, in the batches' order; None leaves these scores out.
        layer: See `find_layer`.
        method: A key of `METHODS`.
        threshold: From this share of its maximum on, a map counts as attended.
        steps: Of deletion and insertion, which cost 2 (steps + 1) forward passes; None: neither.

    Raises:
        UserError: Bad layer, method, threshold or steps, or no image.
    """
    if not 0 < threshold <= 1:
        raise UserError(
            f"threshold must be above 0 and at most 1; got {threshold}; try {THRESHOLD}"
        )
    if steps is not None and steps < 1:
        raise UserError(f"steps must be at least 1; got {steps}; try 16, or None for no deletion")
    rows: list[dict[str, Tensor]] = []
    seen, cells = 0, None
    with explaining(model, layer, method) as explain:
        for images, labels in batches:
            regions = objects.regions(seen, len(labels)) if objects else None
            maps = explain(images, labels)
            if cells is None or cells.size != tuple(images.shape[-2:]):
                cells = cells_of_layer(model, find_layer(model, layer), images)
            large = laid(maps, cells)
            row = {"cam": maps.half(), "area": area(large, threshold)}
            row |= _object_scores(large, regions, threshold) if regions else {}
            for kind in ("deletion", "insertion") if steps else ():
                curve = perturbation_curve(model, images, labels, large, kind, steps)
                row[kind] = defined(area_under(curve), large)
            rows.append({name: value.cpu() for name, value in row.items()})
            seen += len(labels)
    if not seen:
        raise UserError("there is no image to localize on; give batches of a labelled set")
    found = {name: torch.cat([row[name] for row in rows]).numpy() for name in rows[0]}
    settings = {"layer": layer, "method": method, "threshold": threshold, "steps": steps}
    return _collected(found, settings | {"image_size": cells.size[1]} | cells.settings())


def _collected(found: dict[str, np.ndarray], settings: dict[str, object]) -> Localization:
    count = len(found["cam"])
    nothing = np.full(count, np.nan, dtype=np.float32)
    boxes = found.pop("boxes", np.full((count, 4), -1, dtype=np.int16))
    masks = int(found.pop("masked", np.zeros(1)).sum())
    return Localization(
        settings=settings | {"objects": int((boxes[:, 0] >= 0).sum()), "masks": masks},
        cam=found.pop("cam"),
        boxes=boxes,
        box_share=found.pop("box_share", nothing),
        object_share=found.pop("object_share", nothing),
        scores=found,
    )


def _object_scores(maps: Tensor, regions: Regions, threshold: float) -> dict[str, Tensor]:
    box, shape = regions.box.to(maps.device), regions.shape.to(maps.device)
    if box.shape != maps.shape:
        raise UserError(
            f"objects are given for images {tuple(box.shape)} and the network saw "
            f"{tuple(maps.shape)}; open both with the same crops and split"
        )
    known = box.any(2).any(1)
    return {
        "pointing": pointing(maps, box),
        "energy": energy(maps, box),
        "iou": iou(maps, shape, threshold),
        "completeness": completeness(maps, shape, threshold),
        "boxes": rectangles(box),
        "box_share": torch.where(known, box.float().mean((1, 2)), torch.nan),
        "object_share": torch.where(known, shape.float().mean((1, 2)), torch.nan),
        "masked": regions.masked,
    }
