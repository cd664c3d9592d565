"""The drawing of the embedded data: shapes, textures, backgrounds and the scenes made of them.

Arrays are only added, multiplied, divided, rooted and compared here; sines and powers are taken of
single numbers and rounded. Those array operations are correctly rounded on every processor, so that
the same library versions give the same pictures whatever vector units the processor has.
"""
