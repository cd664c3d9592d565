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
# # Spatial maps, and what each block's attention is worth
#
# CBAM's blocks have a second map, which scales places instead of channels. {cite:t}`li2020dreal`
# show it only through Grad-CAM. This page shows the maps themselves: their mean over the validation
# images, and how much they move from image to image.
#
# The second half asks of a trained network what its reward asks in training: is a block's attention
# better than its own mean? The bypass reward answers it for every image and block, for any network
# with attention, also one that was trained without the method.

# %%
from book.companion.attention_maps import changes, figures, loaded, measures, shut, spatial
from book.companion.pages import page

# %% tags=["parameters"]
profile = "desktop"  # smoke, desktop or paper
variant = "default"  # a set of overrides, or none
seeds = "all"  # or "[0, 1]"
results = "recorded"  # or rerun: runs of this machine come first
records_root = ""  # other folder of records
data_root = ""  # prepared images, for the commands shown below
network = "cbam_resnet50"  # a row of Table 1 with spatial maps
shown_seed = "first"  # the seed that is drawn; the numbers are over all

# %%
view = page.start("spatial_maps", globals())
attention = loaded.load(*view.pair(), kind="spatial")
shown = loaded.all_blocks(attention, shown_seed=shown_seed)
rewards = spatial.load_rewards(*view.pair())
view.describe()

# %% [markdown]
# ## Where the maps look
#
# A mean map that differs from place to place prefers places whatever the image shows. A frame along
# the border points to the zeros that a convolution pads with, rather than to the images.

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    figures.spatial_means,
    shown,
    caption="Mean spatial map of each block, less its own level; below each its level and range. "
    "No colour: all places alike; the level below tells how far the gate is open. "
    "{data.attention.images:,} validation images, seed {data.seed}, baseline above reinforced, one "
    "scale of colour.",
    alt="Mean spatial map of each block as a heat map, baseline above reinforced.",
    label="fig-spatial-means",
    numbers=measures.of_maps,
    ranges={"mean": "Mean attention"},
)

# %% [markdown]
# ## How much they move

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    figures.spatial_deviations,
    shown,
    caption="Standard deviation over images at each place of each spatial map; below each its mean "
    "and range. No colour: the same for every image. "
    "{data.attention.images:,} validation images, seed {data.seed}, baseline above reinforced, one "
    "scale of colour.",
    alt="Standard deviation over images at each place of each block's spatial map, as a heat map.",
    label="fig-spatial-deviations",
    numbers=measures.of_maps,
    ranges={"variance": "Variance over images"},
)

# %% tags=["hide-input"]
view.show(
    changes.measure_table(attention, ["level", "spread", "fluctuation", "class_share"]),
    "Spatial maps, reinforced against baseline; columns as in the tables of channel attention. "
    "*Level*: mean attention over places and images. *Spread over places*: standard deviation over "
    "places of the mean map. *Fluctuation over images*: standard deviation over images, averaged "
    "over places. *Class share*: share of the variance over images that the class explains.",
    "tab-spatial-maps",
)
view.say(
    [
        *shut.shut_sentences(view.comparison.networks, "spatial"),
        changes.spread_sentence(attention),
    ]
)

# %% [markdown]
# ## Which block's attention helps
#
# The reward of a block on an image predicted right is one minus the ratio of the true class's
# probability with the block's attention replaced by its mean, and with the attention itself. Above
# zero the attention helped, below it hurt. Baseline and reinforced network are each judged on the
# images that they themselves predict right.

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    figures.rewards_by_block,
    rewards,
    caption="Bypass reward by block over the validation images predicted right: its mean, and the "
    "shares of images on which the block's attention helped and hurt; a dot a seed, a line through "
    "the means.",
    alt="Mean bypass reward, share helped and share hurt by block, a dot a seed.",
    label="fig-bypass-rewards",
    ranges={"reward": "Reward", "helped": "share helped", "hurt": "share hurt"},
)

# %% tags=["hide-input"]
view.show(
    spatial.reward_table(rewards, view.origin, view.parameters.scale),
    "Bypass reward of each block over the validation images that the network itself predicts "
    "right: mean of baseline and reinforced over seeds, their difference paired by seed with its "
    "95 % interval, and the share of these images on which the block's attention helped (reward "
    "above zero) and hurt (below zero), baseline first.",
    "tab-bypass-rewards",
)
view.say(spatial.reward_sentences(rewards))

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
