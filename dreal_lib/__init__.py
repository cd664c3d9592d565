"""Deep Reinforced Attention Learning (Li & Chen, 2020): attention trained by recurrent critics."""

from dreal_lib.backbones import create_model
from dreal_lib.reinforce import reinforce

__all__ = ["create_model", "reinforce"]
__version__ = "0.1.0"
