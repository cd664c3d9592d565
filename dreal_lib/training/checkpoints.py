"""Checkpoints as safetensors: tensors, and facts as JSON in the same file's header.

One file holds everything, is written whole or not at all, and carries a hash of its own content,
so a truncated or altered checkpoint is refused. Nothing is unpickled.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from dreal_lib.errors import UserError
from dreal_lib.runtime.atomic import write_bytes_atomic


def save_checkpoint(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> str:
    """Writes a checkpoint; returns the SHA-256 of the file.

    Args:
        path: Where to; an older file is replaced when the new one is complete.
        tensors: By name.
        facts: Anything that JSON can hold.
    """
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    text = json.dumps(facts, sort_keys=True)
    header = {"facts": text, "content_sha256": _content_hash(tensors, text)}
    return write_bytes_atomic(path, _sorted_header(save(tensors, metadata=header)))


def load_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads a checkpoint back: tensors (on the CPU) and facts.

    Raises:
        UserError: The file is absent, truncated, altered, or no checkpoint of this library.
    """
    remedy = "remove it to start again, or restore it"
    if not path.exists():
        raise UserError(f"no checkpoint {path}; train first, or give the path of one")
    if path.is_dir():
        raise UserError(f"{path} is a folder; give the path of a file in it, *.safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"checkpoint {path} is damaged ({reason}); {remedy}") from None
    if "facts" not in header:
        raise UserError(f"{path} holds weights but is no checkpoint of this library; {remedy}")
    if _content_hash(tensors, header["facts"]) != header.get("content_sha256"):
        raise UserError(f"checkpoint {path} was altered (its hash does not match); {remedy}")
    try:
        facts = json.loads(header["facts"])
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict):
        raise UserError(f"checkpoint {path} holds no facts of a run; {remedy}")
    return tensors, facts


def load_weights(model: nn.Module, tensors: dict[str, Tensor], source: Path | str) -> None:
    """Puts weights into a network.

    Raises:
        UserError: They belong to another architecture (names the first difference), or are not
            finite.
    """
    own = model.state_dict()
    for name in sorted(own.keys() ^ tensors.keys()):
        side = "lacks" if name in own else "has an unknown"
        raise UserError(
            f"{source} {side} {name!r}: it belongs to another architecture; "
            f"give the recipe and profile it was trained with"
        )
    for name, value in own.items():
        if value.shape != tensors[name].shape:
            raise UserError(
                f"{source} has {name!r} of shape {tuple(tensors[name].shape)}, the network wants "
                f"{tuple(value.shape)}; give the recipe and profile it was trained with"
            )
        if value.is_floating_point() != tensors[name].is_floating_point():
            raise UserError(
                f"{source} has {name!r} as {tensors[name].dtype}, the network wants {value.dtype}; "
                f"give weights as they were trained"
            )
        if not bool(torch.isfinite(tensors[name]).all()):
            raise UserError(
                f"{source} has values in {name!r} that are not finite; train again, or give other "
                f"weights"
            )
    model.load_state_dict(tensors)


def _sorted_header(content: bytes) -> bytes:
    # safetensors writes the metadata in random order; equal runs shall leave equal files.
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    return len(header).to_bytes(8, "little") + header + content[8 + size :]


def _content_hash(tensors: dict[str, Tensor], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(save({name: tensors[name]}))
    return digest.hexdigest()
