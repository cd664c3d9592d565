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
# # Fig. 1: the method in one figure
#
# An attention network learns from one signal, whether the image was named correctly, and nothing
# tells an attention module whether its own map was any good. {cite:t}`li2020dreal` (section 3) add
# a critic that does. It reads a block's features and the map made from them, and predicts what the
# map is worth; the worth itself is measured by predicting again with the map replaced by its mean.
# The critic learns to predict that worth, and the attention learns to please the critic.
#
# The figure is drawn from the network: its shapes are those of a forward pass, and its gradients
# those that backpropagation was found to carry in one training step. {doc}`/method` has the
# equations.

# %%
from book.companion.pages import page
from book.companion.schematic import figure, plan, text

# %% tags=["parameters"]
network = "se_resnet50"  # a row of Table 1
image_size = 224  # side of the images, pixels

# %%
view = page.start("fig_1", globals())
drawn = plan.describe(network, image_size)

# %% [markdown]
# ## Two blocks of one stage

# %% tags=["hide-input", "nbval-ignore-output"]
view.figure(
    figure.method,
    drawn,
    caption="The method on two successive blocks of one stage; the paper's Fig. 1, drawn from the "
    "network's own code. Rounded boxes compute, square ones are tensors, with their shape for one "
    "image. Thin lines: forward pass. Thick lines: where each loss's gradient goes, as "
    "backpropagation was found to carry it. Shaded: the blocks. Critics, rewards and losses exist "
    "during training alone.",
    alt="Flow chart of two blocks of {data.network}. In each the features F are pooled, turned "
    "into the attention map A, and multiplied by it. A critic of each kind of map runs from block "
    "to block and reads the pooled features and the map; its answer Q enters two losses.",
    label="fig-method",
    numbers=text.of_schematic,
)

# %% [markdown]
# ## All stages
#
# The blocks of a stage make maps of one size, so that one critic can judge them all.

# %% tags=["hide-input"]
view.show(
    text.stage_table(drawn),
    "Every stage: the blocks whose attention one critic judges, the shapes for one image, the "
    "width of the critic's input and its number of parameters.",
    "tab-stages",
)
view.say(text.sentences(drawn))

# %% [markdown]
# ## How this page was made

# %% tags=["hide-input"]
view.footer()
