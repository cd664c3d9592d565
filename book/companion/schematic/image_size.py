"""The image sizes for which Fig. 1 can be drawn; it needs no torch to refuse the others."""

from dreal_lib.errors import UserError

# Below, networks shrink images to nothing; above, a spatial map's critic outgrows the network.
IMAGE_SIZES = (32, 1024)


def check_image_size(value: object) -> int:
    """A side for which shapes can be shown.

    Raises:
        UserError: Not a whole number of pixels, or too few or too many.
    """
    least, most = IMAGE_SIZES
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise UserError(
            f"image_size must be a whole number of pixels from {least} to {most}; got {value!r}; "
            "try 224"
        )
    return value
