# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What it costs
#
# The paper counts the critics and finds their price negligible. It is. What reinforcement does cost
# are the counterfactual predictions, up to four a step, which no figure of the paper contains.
#
# A plain implementation runs the whole network once more for each. The same rewards, to rounding,
# need far less:
#
# 1. **What lies before the bypassed map is already computed.** A counterfactual starts at the
#    block's own feature map and shortcut (`dreal_lib/networks/backbones.py`, `ResNet.resume`).
# 2. **Images predicted wrong need none.** Their reward is $-\gamma$ (Eq. 1).
# 3. **The four share one walk.** The counterfactual of the first stage runs on; at each later
#    stage's bypassed block the next one joins it along the batch
#    (`dreal_lib/actor_critic/counterfactual.py`, `bypassed_logits`). Batch statistics are those of
#    the main pass, so no image depends on its neighbours.
#
# None of their activations are kept, so memory hardly grows. At the start of a training few images
# are right and a step costs little more than the baseline's; the cost grows with the accuracy.

# %%
from book.companion.pages import page
from book.companion.results import costs

# %% tags=["parameters"]
benchmarks_root = ""  # a folder of benchmarks instead of the committed ones, e.g. build/benchmarks

# %%
view = page.start("cost", globals())
found = costs.read_costs(view.parameters.benchmarks_root)
ratios = costs.read_ratios(view.parameters.benchmarks_root)
paths = costs.read("input", view.parameters.benchmarks_root)
soak = costs.read("soak", view.parameters.benchmarks_root)

# %% [markdown]
# ## A training step
#
# Against the baseline step. Operations are counted by torch over every block as the draw; "a
# quarter sampled" sets {ref}`reward_fraction <reward-fraction>` to 0.25. They were counted in a
# batch of two images and hold for any batch, being in proportion to it; the sampled line is worked
# out from those for all and for no image right. "Four whole passes" is the plain implementation.
# What a fraction does to the critiques and the error stands on the page of
# {doc}`ablations <ablations>`.

# %% tags=["hide-input"]
view.show(
    costs.step_table(found),
    "A reinforced step over a baseline step; in brackets the limit that our test sets.",
    "tab-step-cost",
)
view.say(costs.sentences(found))

# %% [markdown]
# ## The figures' data and retrieval

# %% tags=["hide-input"]
view.show(costs.ratio_table(ratios), "What figures and scores cost", "tab-other-costs")

# %% [markdown]
# ## Input
#
# Small sets are decoded once and augmented as a batch; large ones are decoded by worker processes
# while a step is computed. With `dreal train --decode device` these read the files only, and the
# training process decodes and cuts them between two steps, on a GPU by nvJPEG: meant for machines
# with few cores to a GPU, and never run on one; the number is of a CPU, by one process.

# %% tags=["hide-input"]
view.show(costs.input_table(paths), "How fast images come, and how long a step waits", "tab-input")

# %% [markdown]
# ## The paper's own runs
#
# One run of SE-ResNet-50: 100 epochs of ImageNet, without input and evaluation. The reinforced run
# is reckoned as if every image were right from the first step on; the fewer are, the less it costs.
# Nothing was measured on a GPU here: those hours follow from the counted operations, the maker's
# peak, and an assumed share of it. The peak is that of TF32, as the recipe's precision is fp32, for
# whose convolutions PyTorch uses TF32 on such GPUs unless told otherwise, and this code does not.

# %% tags=["hide-input"]
view.show(costs.paper_table(found), "Hours of one run at the paper's scale", "tab-paper-cost")

# %% [markdown]
# ## Survival
#
# Short runs, killed at random moments and while they write a checkpoint, with bytes of their
# checkpoints flipped now and then; each is started again until it is done (`make soak`).

# %% tags=["hide-input"]
view.show(costs.soak_table(soak), "Interrupted runs", "tab-soak")

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
