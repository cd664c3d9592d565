"""Networks with attention."""

from dreal_lib.networks.backbones import ResNet, create_model
from dreal_lib.networks.embedding import EmbeddingNet, create_embedding

__all__ = ["EmbeddingNet", "ResNet", "create_embedding", "create_model"]
