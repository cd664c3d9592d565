"""Deep Reinforced Attention Learning (Li & Chen, 2020): attention trained by recurrent critics."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dreal_lib.actor_critic.declared_gates import Gate
    from dreal_lib.actor_critic.gates import find_gates
    from dreal_lib.actor_critic.reinforcement import reinforce
    from dreal_lib.networks.backbones import create_model

__all__ = ["Gate", "create_model", "find_gates", "reinforce"]
__version__ = "0.1.0"

_HOMES = {
    "Gate": "dreal_lib.actor_critic.declared_gates",
    "create_model": "dreal_lib.networks.backbones",
    "find_gates": "dreal_lib.actor_critic.gates",
    "reinforce": "dreal_lib.actor_critic.reinforcement",
}


def __getattr__(name: str) -> object:
    # Not imported above: torch takes seconds to load, and a command's help needs none of it.
    if name not in _HOMES:
        raise AttributeError(f"module 'dreal_lib' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
