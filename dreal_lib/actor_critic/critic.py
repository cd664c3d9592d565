"""The recurrent critic (section 3.2): one LSTM with a scalar hidden state, shared by a stage.

Q_l = h_l, and h_l, c_l = LSTM(concat(F~_l, A_l), h_{l-1}, c_{l-1}), Eqs. 2 and 3, from zero states.
As h = o*tanh(c) and |c| grows by less than 1 a block, block l (from 1) has |Q| < tanh(l).

A larger critic (section 4.1 mentions some without details) has several cells, of which the hidden
state is a learned sum, still a scalar: h = w.(o*tanh(c)). Then |Q| < |w|_1 * tanh(l).

Letters: L blocks of a stage, B batch, S size of a map (C for channel maps, H*W for spatial ones),
N cells of the LSTM.
"""

import math

import torch
from torch import Tensor, nn


class RecurrentCritic(nn.Module):
    """Predicts the reward of each attention map of a stage.

    Args:
        map_size: S. The LSTM's input is 2S wide.
        init: "pytorch" (uniform in +-1/sqrt(N), for one cell +-1), or "fan_in" (+-1/sqrt(2S)).
        input_norm: "off", or "layer" (layer norm without parameters on the input).
        hidden: N; the paper's critic has one cell.
    """

    def __init__(
        self, map_size: int, init: str = "pytorch", input_norm: str = "off", hidden: int = 1
    ):
        super().__init__()
        projection = 1 if hidden > 1 else 0  # 0: none
        self.lstm = nn.LSTM(2 * map_size, hidden, proj_size=projection)
        self.norm = nn.LayerNorm(2 * map_size, elementwise_affine=False)
        self.normalises = input_norm == "layer"
        if init == "fan_in":
            bound = 1 / math.sqrt(2 * map_size)
            for parameter in self.lstm.parameters():
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, states: Tensor, maps: Tensor) -> Tensor:
        """Critiques Q of the blocks of one stage.

        Args:
            states: F~ of each block, (L, B, S).
            maps: A of each block, (L, B, S).

        Returns:
            (L, B).
        """
        critiques, _ = self.lstm(self._inputs(states, maps))  # Eq. 2, (L, B, 1)
        return critiques.squeeze(2)  # Eq. 3

    def _inputs(self, states: Tensor, maps: Tensor) -> Tensor:
        inputs = torch.cat((states, maps), dim=2)
        return self.norm(inputs) if self.normalises else inputs

    @torch.no_grad()
    def gate_sensitivity(self, states: Tensor, maps: Tensor, critiques: Tensor) -> Tensor:
        """How far a unit change of the gates' pre-activations could move each critique, (L, B).

        The sum over the four gates of each cell of |dh/d(pre-activation)| at the block itself.
        Near 0 the critique can no longer learn: its gates are saturated.

        Args:
            states, maps: As for `forward`.
            critiques: What `forward` returned, (L, B).
        """
        previous = torch.cat((torch.zeros_like(critiques[:1]), critiques[:-1]))  # h_{l-1}
        lstm = self.lstm
        gates = torch.nn.functional.linear(
            self._inputs(states, maps), lstm.weight_ih_l0, lstm.bias_ih_l0 + lstm.bias_hh_l0
        ) + previous.unsqueeze(2) * lstm.weight_hh_l0.squeeze(1)  # (L, B, 4N)
        gates = gates.unflatten(2, (4, lstm.hidden_size))  # torch's order: i, f, g, o
        i, f, o = (torch.sigmoid(gates[:, :, k]) for k in (0, 1, 3))  # (L, B, N)
        g = torch.tanh(gates[:, :, 2])
        weights = lstm.weight_hr_l0[0].abs() if lstm.proj_size else 1.0  # dQ/d(o*tanh(c)), (N,)
        cells = [torch.zeros_like(g[0])]
        for l in range(len(g)):  # noqa: E741 -- the paper's index
            cells.append(f[l] * cells[-1] + i[l] * g[l])
        # All blocks at once from here on: a GPU would wait for the launches of a block at a time.
        cell, before = torch.stack(cells[1:]), torch.stack(cells[:-1])
        through_cell = i * (1 - i) * g.abs() + i * (1 - g**2)
        through_cell = through_cell + f * (1 - f) * before.abs()
        squashed = torch.tanh(cell)
        of_cells = o * (1 - o) * squashed.abs() + o * (1 - squashed**2) * through_cell
        return (weights * of_cells).sum(2)
