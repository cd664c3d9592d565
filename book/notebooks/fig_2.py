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
# # Fig. 2: channel attention at the end of each stage
#
# {cite:t}`li2020dreal` (section 4.1) draw the channel attention of SE-ResNet-50 in the last block
# of each stage, over ImageNet's validation images, without and with their method. They read two
# things from it: in certain layers (conv3_3, conv4_5) channels grow similar, as shallow layers see
# patterns that belong to no class; in deeper ones (conv5_2) the attention fluctuates more, but
# within a moderate range, as it picks what is particular to a class.
#
# Here is the same figure from our runs, and under it a number for each of the two.

# %%
from book.companion.attention_maps import changes, figures, loaded, measures
from book.companion.claims import render
from book.companion.pages import page

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below
network = "se_resnet50"  # a row of Table 1
shade = "variance"  # as the paper writes; or deviation, for 3 times the standard deviation
shown_seed = "first"  # the seed that is drawn; the numbers are over all

# %%
view = page.start("fig_2", globals())
attention = loaded.load(*view.pair())
shown = loaded.last_blocks(attention, shade, shown_seed)
view.describe()

# %% [markdown]
# ## The distributions
#
# A variance of numbers between 0 and 1 is smaller than their standard deviation, so three times the
# variance makes a thin shade: a channel with a standard deviation of 0.1 gets one of 0.03 to either
# side. The parameter `shade` shows the standard deviation instead.

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    figures.channel_distributions,
    shown,
    caption="Channel attention over {data.attention.images:,} validation images, baseline above "
    "reinforced, seed {data.seed}. Line: mean of each channel. Shade: around it 3 times the "
    "{data.shade} (the paper writes variance), cut at 0 and 1. The two networks share the range of "
    "a block.",
    alt="Mean channel attention against the channel index, two panels a block, baseline above "
    "reinforced.",
    label="fig-channel-attention-last",
    numbers=measures.of_maps,
    ranges={"mean": "Mean attention"},
)

# %% [markdown]
# ## The numbers
#
# All seeds count here, not only the one drawn.

# %% tags=["hide-input"]
view.show(
    changes.last_block_table(attention),
    "Reinforced against baseline, mean ± sample standard deviation over seeds; the difference is "
    "paired by seed, with its 95 % interval (Student's t), cut where two values cannot lie farther "
    "apart (shares 1, deviations 0.5); a dash where it cannot be computed. *Spread over channels*: "
    "standard deviation over channels of their mean attention; 0 is all alike, 0.5 the most there "
    "can be. *Fluctuation over images*: standard deviation of a channel over the images, averaged "
    "over channels. *Share within bounds*: share of channels whose mean lies between 0.05 and "
    "0.95. There a sigmoid's slope falls to a fifth of its largest; beyond, a gate is as good as "
    "shut or open.",
    "tab-channel-attention-last",
)

# %% [markdown]
# ## What this shows
#
# A change is significant where its 95 % interval leaves out zero; one seed has no interval. Blocks
# are judged one by one, without correcting for there being several. The last block of a stage
# stands for conv3_3, conv4_5 and conv5_2 of the paper's network, which is deeper than ours.

# %% tags=["hide-input"]
render.say(view, "shallow-alike", "deep-fluctuates", network=network)

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
