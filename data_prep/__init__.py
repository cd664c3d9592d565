"""Preparing image sets: an official archive in, one layout with checksums out.

Each module has one function `prepare` and runs as `python -m data_prep.<module> --help`.

    embedded       rendered here, no download
    tiny_imagenet  http://cs231n.stanford.edu/tiny-imagenet-200.zip
    cifar          https://www.cs.toronto.edu/~kriz/cifar.html (download option)
    imagenette     https://github.com/fastai/imagenette (download option)
    imagenet       https://image-net.org, on request by hand: the archives are for those who accept
                   its terms

The layout is described in `data_prep.layout`. An error meant for the user is one line: a
`data_prep.errors.PreparationError`, with exit status 2. Nothing half-written is left, and nothing
that exists is overwritten. The package imports nothing of `dreal_lib`.
"""
