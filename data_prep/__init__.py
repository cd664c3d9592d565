"""Preparing image sets: an official archive in, one layout with checksums out.

Each module has one function `prepare` and runs as `python -m data_prep.<module> --help`.

    embedded       rendered here, no download
    tiny_imagenet  http://cs231n.stanford.edu/tiny-imagenet-200.zip
    embedded_figures  rendered here, no download
    cifar          https://www.cs.toronto.edu/~kriz/cifar.html (download option)
    imagenette     https://github.com/fastai/imagenette (download option)
    imagenet       https://image-net.org, on request by hand: the archives are for those who accept
                   its terms
    omniglot       https://github.com/brendenlake/omniglot (download option)
    grocery        https://github.com/marcusklasson/GroceryStoreDataset
    market1501, cuhk03, msmt17
                   from their authors, each by its own terms
    dukemtmc       withdrawn by its authors; reads a copy that somebody holds

The layouts are described in `data_prep.layout` (classes) and `data_prep.identity_layout`. An error
meant for the user is one line: a `data_prep.errors.PreparationError`, with exit status 2. Nothing
half-written is left, and nothing that exists is overwritten. The package imports nothing of
`dreal_lib`.
"""
