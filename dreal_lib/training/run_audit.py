"""The audit of a run at several checkpoints (`diagnosis.critic_audit`), kept beside its record.

    audit_run(recipe, seed, data, folder, record)

writes `seed<k>.audit.npz` with the arrays of each checkpoint, named "<epoch>/<name>". Images are
test images, spread evenly over the set. The state of epoch 0 is made again from the seed.
"""

from pathlib import Path

import numpy as np
import torch

from dreal_lib.actor_critic.agent import Agent
from dreal_lib.diagnosis.critic_audit import critic_audit
from dreal_lib.errors import UserError
from dreal_lib.recipes import ClassificationRecipe
from dreal_lib.records import write_figure_data
from dreal_lib.records.audits import AUDITED, audit_path, weights_of
from dreal_lib.runtime.environment import build_folder
from dreal_lib.tasks.classification import create_learner, open_batches, open_data
from dreal_lib.training.checkpoints import load_checkpoint, load_weights
from dreal_lib.training.run_folder import CHECKPOINT, kept_checkpoints

IMAGES = 256


def audit_run(
    recipe: ClassificationRecipe,
    seed: int,
    data_root: Path,
    folder: Path,
    record: Path,
    *,
    images: int = IMAGES,
    cache: Path | None = None,
    device: torch.device | str = "cpu",
) -> Path:
    """Audits a finished run's initial state and its checkpoints, and writes what was found.

    Args:
        recipe: Of the run; a reinforced one.
        seed: Of the run.
        data_root: Its prepared images.
        folder: The run's own: its last checkpoint and those kept on the way (`--keep-epoch`);
            weights alone hold no critics.
        record: The run's record; the audit is written beside it.
        images: How many test images.
        cache: As for `dreal_lib.training.runs.run`.
        device: Where.

    Returns:
        The file's path; it loads without pickle.

    Raises:
        UserError: A baseline, a run that is not finished, or a checkpoint of another recipe, seed
            or epoch.
    """
    if recipe.method != "reinforced":
        raise UserError(
            f"a {recipe.method} has no critics to audit; give the recipe of a reinforced run"
        )
    device, folder = torch.device(device), Path(folder)
    checkpoints = kept_checkpoints(folder) | {recipe.epochs: folder / CHECKPOINT}
    listed, cached = open_data(recipe, data_root, cache or build_folder() / "cache").held
    _, val = open_batches(recipe, listed, cached, device, seed, 0)
    places = np.linspace(0, len(listed.val), images, endpoint=False).astype(np.int64)
    batches = list(val.chosen(np.unique(places)).epoch())
    pictures, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    arrays: dict[str, np.ndarray] = {AUDITED: np.array(weights_of(record))}
    for epoch in (0, *sorted(checkpoints)):
        agent = create_learner(recipe, len(listed.classes), device, seed)
        if epoch:
            _load(agent, checkpoints[epoch], recipe, seed, epoch)
        found = critic_audit(agent, pictures, labels).arrays()
        arrays |= {f"{epoch}/{name}": _single(array) for name, array in found.items()}
    path = audit_path(record)
    write_figure_data(path, arrays)
    return path


def _single(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _load(agent: Agent, path: Path, recipe: ClassificationRecipe, seed: int, epoch: int) -> None:
    """Puts the state of a checkpoint into a new agent, critics included."""
    tensors, facts = load_checkpoint(Path(path))
    wanted = {"recipe_hash": recipe.hash, "seed": seed, "epoch": epoch, "step": 0}
    for name, value in wanted.items():
        if facts.get(name) != value:
            raise UserError(
                f"{path} has the {name} {facts.get(name)!r} instead of {value!r}; give a "
                f"checkpoint that this run wrote at the end of that epoch"
            )
    prefix = "learner."
    own = {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
    load_weights(agent, own, path)
