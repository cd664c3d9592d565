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
# # Fig. 3: channel attention in every block
#
# In appendix B.1 {cite:t}`li2020dreal` draw the channel attention of all blocks, and find the
# largest difference in the last stage (conv5_x): with their method the weights are more diverse
# across channels there, which they explain by classes that prefer channels of their own.
#
# Below is the same figure from our runs, how three measures run from shallow to deep, and how much
# of the attention is about the class at all.

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
view = page.start("fig_3", globals())
attention = loaded.load(*view.pair())
shown = loaded.all_blocks(attention, shade, shown_seed)
view.describe()

# %% [markdown]
# ## The distributions
#
# A network with one block a stage shows here what it shows in {doc}`Fig. 2 <fig_2>`.

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
    label="fig-channel-attention-all",
    numbers=measures.of_maps,
    ranges={"mean": "Mean attention"},
)

# %% [markdown]
# ## From shallow to deep
#
# {cite:t}`hu2018se` drew SENet's attention for single classes and found it much the same for all of
# them in shallow blocks, and different in deep ones. One number says it: the share of the
# attention's variance over images that the class explains (eta squared, all channels of a block
# together). It is 0 if every class has the same mean attention and 1 if the class alone decides it.
# A map that knows nothing of the classes has a share above 0 by chance, since few images make a
# class's mean: the dotted line.

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    figures.attention_by_block,
    attention,
    caption="Three measures of each block's channel attention, from shallow to deep: a dot a "
    "seed, a line through the means. Spread over channels: standard deviation over channels of "
    "their mean attention. Fluctuation over images: standard deviation of a channel over images, "
    "averaged over channels. Class share: share of the variance over images that the class "
    "explains; dotted: by chance.",
    alt="Three measures by block, a dot a seed.",
    label="fig-channel-attention-by-block",
    numbers=measures.measure,
    ranges={
        "spread": "Spread over channels",
        "fluctuation": "fluctuation over images",
        "class_share": "class share",
    },
)

# %% [markdown]
# ## The numbers

# %% tags=["hide-input"]
view.show(
    changes.measure_table(attention, ["class_share"]),
    "Share of the channel attention's variance over images that the class explains, by block; mean "
    "± sample standard deviation over seeds, the difference paired by seed with its 95 % interval "
    "(Student's t), cut at the 1 that shares can differ by; a dash where it cannot be computed.",
    "tab-class-share",
)

# %% [markdown]
# ## What this shows

# %% tags=["hide-input"]
render.say(view, "deep-diverse", network=network)
view.say(changes.class_sentence(attention))

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
