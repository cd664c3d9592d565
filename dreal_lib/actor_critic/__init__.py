"""The method: critics judge attention maps, and one step trains all three (Algorithm 1)."""

from dreal_lib.actor_critic.agent import Agent, Step, reinforce
from dreal_lib.actor_critic.critic import RecurrentCritic

__all__ = ["Agent", "RecurrentCritic", "Step", "reinforce"]
