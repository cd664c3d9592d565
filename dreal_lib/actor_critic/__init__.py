"""The method: critics judge attention maps, and one step trains all three (Algorithm 1)."""

from dreal_lib.actor_critic.agent import Agent, Step
from dreal_lib.actor_critic.critic import RecurrentCritic
from dreal_lib.actor_critic.reinforcement import reinforce

__all__ = ["Agent", "RecurrentCritic", "Step", "reinforce"]
