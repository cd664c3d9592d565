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
# # How critics die
#
# A critic is an LSTM cell. Once its gates are saturated, it answers the same to every image, and
# no gradient reaches the attention. In the records of Tables 1 and 3 many critics are in that
# state ({doc}`fig_6`). This page asks what brings them there: how they are initialised, how fast
# they learn, or how many cells they have. The {doc}`plan <../plan_critics>` fixes runs and rule.

# %%
from book.companion.critics import dead
from book.companion.pages import page

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below

# %%
view = page.start("dead_critics", globals(), dead.compare_ways)
blocks = dead.load_critics(view.comparison)

# %% [markdown]
# ## In short

# %% tags=["hide-input"]
view.say(dead.death_sentences(blocks))

# %% [markdown]
# ## The counts

# %% tags=["hide-input"]
view.show(
    dead.death_table(blocks, view.origin, view.parameters.scale),
    "Dead critics of all, by stage and in sum, in epoch 2: saturated on more than half of the "
    "images in each of their blocks. Also mean critique, mean reward, and the mean correlation of "
    "the two over images where it is defined. Rate: that of the network, or a hundredth.",
    "tab-dead-critics",
)
view.missing()

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    dead.saturated_shares,
    blocks,
    caption="Share of the images on which a block's critic is saturated: a dot a block and run, "
    "shallow blocks above within each line; the dashed line is the rule's half.",
    alt=dead.alt_text,
    label="fig-dead-critics",
    optional=True,
)

# %% [markdown]
# PyTorch draws the weights of an LSTM from ±1/√cells, for one cell ±1, whatever the width of its
# input. The sum over several hundred inputs then leaves the range in which a gate responds.
# `fan_in` draws from ±1/√inputs. Both are settings of `dreal_lib.reinforce` ({ref}`critic_init
# <critic-start>`, {ref}`critic_lr <critic-lr>`).

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
