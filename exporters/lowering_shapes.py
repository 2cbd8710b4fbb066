"""Rules for operators that move, cut or reduce: their parameters change from an input to an attribute, or to all axes.

NumPy; onnx inside functions. Run in a worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import floor, prod

import numpy as np

from .lowering_folding import Array
from .lowering_site import Site

PASSING = ("ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd")  # with no axis to reduce, their result is their input


def axes_of_reduction(site: Site) -> None:
    """Reduce (18): axes from an input to an attribute; an empty list stands for all axes, or for none."""
    axes = site.values(1, "axes").reshape(-1).tolist() if site.input(1) else []
    drop = ("noop_with_empty_axes",)
    if axes or not site.attribute("noop_with_empty_axes", 0):
        site.keep([site.input(0)], drop, axes=axes or None)
    elif site.node.op_type in PASSING:
        site.finish("Identity", [site.input(0)])
    else:
        site.refuse("it has no axes and noop_with_empty_axes", "remove the node")


def split_sizes(site: Site) -> None:
    """Split (18): num_outputs to equal parts, or to sizes where the last part is smaller."""
    count = site.attribute("num_outputs")
    if count is None:
        return site.keep()
    axis, shape = site.attribute("axis", 0), site.shape(0)
    size = shape[axis] if shape else None
    if size is None:
        sizes = _computed_sizes(site, count, axis)
    elif size % count == 0:
        return site.keep(drop=("num_outputs",))
    else:
        part = -(-size // count)
        parts = [part] * (count - 1) + [size - part * (count - 1)]
        # A branch that never runs may split what it cannot; onnx.checker would refuse these sizes as constants.
        sizes = site.const(parts) if parts[-1] >= 0 else _computed_sizes(site, count, axis)
    return site.keep([site.input(0), sizes], ("num_outputs",))


def _computed_sizes(site: Site, count: int, axis: int) -> str:
    """Sizes of the parts of an open dimension, which the graph computes."""
    size = site.add("Gather", [site.add("Shape", [site.input(0)]), site.const([axis])])
    part = site.add("Div", [site.add("Add", [size, site.const([count - 1])]), site.const([count])])
    rest = site.add("Sub", [size, site.add("Mul", [part, site.const([count - 1])])])
    return site.add("Concat", [*([part] * (count - 1)), rest], axis=0)


def _spread(site: Site, index: int, axes: Sequence[int], whole: Sequence[float], dtype: type) -> str:
    """An input with values of some axes as one of all axes; other axes have the values in `whole`."""
    given = site.constant(index)
    if given is not None:
        full: Array = np.array(whole, dtype)
        full[list(axes)] = given
        return site.const(full, dtype)
    places = site.const(list(axes))
    return site.add("ScatterElements", [site.const(whole, dtype), places, site.input(index)], axis=0)


def _axes(values: Sequence[int] | Array, rank: int) -> list[int]:
    return [int(axis) % rank for axis in values]


def pad_axes(site: Site) -> None:
    """Pad (18): pads of some axes to pads of all axes."""
    inputs = [site.input(index) for index in range(3)]
    if site.input(3):
        rank = site.rank(0)
        axes = _axes(site.values(3, "axes").reshape(-1), rank)
        inputs[1] = _spread(site, 1, [*axes, *(rank + axis for axis in axes)], [0] * 2 * rank, np.int64)
    site.keep(inputs)


def pad_wrap(site: Site) -> None:
    """Pad (19): the mode wrap repeats an axis, which a Gather of its indices does too."""
    if site.attribute("mode", "constant") != "wrap":
        return site.keep()
    rank, pads = site.rank(0), site.values(1, "pads").reshape(-1)
    axes = _axes(site.values(3, "axes").reshape(-1), rank) if site.input(3) else list(range(rank))
    begins, ends = pads[: len(axes)].tolist(), pads[len(axes) :].tolist()
    padded, shape = site.input(0), site.shape(0) or ()
    for axis, begin, end in ((axis, *both) for axis, *both in zip(axes, begins, ends) if any(both)):
        if not shape[axis]:
            site.refuse(f"it wraps axis {axis}, whose size is open")
        indices = np.arange(-begin, shape[axis] + end) % shape[axis]
        padded = site.add("Gather", [padded, site.const(indices)], axis=axis)
    return site.finish("Identity", [padded])


def resize_axes(site: Site) -> None:
    """Resize (18): sizes or scales of some axes to those of all axes, and a kept aspect ratio to scales."""
    names = ("axes", "antialias", "keep_aspect_ratio_policy")
    if site.attribute("antialias", 0) and not _only_enlarges(site):
        site.refuse("older opsets have no antialias", "resize without antialias, or before the model")
    axes = site.attribute("axes")
    if site.attribute("keep_aspect_ratio_policy", "stretch") != "stretch" and site.input(3):
        return site.keep([site.input(0), "", site.const(_aspect_scales(site), np.float32)], names)
    inputs = [site.input(index) for index in range(4)]
    if axes is not None:
        rank = site.rank(0)
        axes = _axes(axes, rank)
        if site.input(1):
            inputs[1] = _spread(site, 1, [*axes, *(rank + axis for axis in axes)], [0] * rank + [1] * rank, np.float32)
        if site.input(2):
            inputs[2] = _spread(site, 2, axes, [1] * rank, np.float32)
        if site.input(3):
            inputs[3] = _sizes(site, axes, rank)
    return site.keep(inputs, names)


def _only_enlarges(site: Site) -> bool:
    """True if no axis gets smaller, so that antialias changes nothing."""
    scales, sizes = site.constant(2), site.constant(3)
    if scales is not None and scales.size:
        return bool((scales >= 1).all())
    axes = site.attribute("axes") or range(len(site.shape(0) or ()))
    dims = [(site.shape(0) or ())[axis] for axis in axes]
    return sizes is not None and None not in dims and bool((sizes >= np.asarray(dims)).all())


def _sizes(site: Site, axes: Sequence[int], rank: int) -> str:
    """Sizes of all axes, where the node gives those of `axes`."""
    shape = site.shape(0) or ()
    if all(dim is not None for axis, dim in enumerate(shape) if axis not in axes):
        return _spread(site, 3, axes, [dim or 0 for dim in shape], np.int64)
    places, whole = site.const(list(axes)), site.add("Shape", [site.input(0)])
    return site.add("ScatterElements", [whole, places, site.input(3)], axis=0)


def _aspect_scales(site: Site) -> Array:
    """Scales of all axes that keep the aspect ratio within the requested sizes, or around them."""
    shape, sizes = site.whole_shape(0), site.values(3, "sizes")
    axes = _axes(site.attribute("axes") or range(len(shape)), len(shape))
    ratios = [int(size) / shape[axis] for size, axis in zip(sizes, axes)]
    scale = min(ratios) if site.attribute("keep_aspect_ratio_policy") == "not_larger" else max(ratios)
    scales = np.ones(len(shape), np.float32)
    for axis in axes:
        scales[axis] = scale
        size = floor(scale * shape[axis] + 0.5)
        if floor(scales[axis] * np.float32(shape[axis])) < size:
            scales[axis] = np.nextafter(scales[axis], np.float32(np.inf))
        if floor(scales[axis] * np.float32(shape[axis])) != size:
            site.refuse(f"its aspect ratio makes a size of {scale * shape[axis]:.2f}, which older opsets do not round up")
    return scales


def resize_symmetric(site: Site) -> None:
    """Resize (19): half_pixel_symmetric equals half_pixel where no size is rounded."""
    if site.attribute("coordinate_transformation_mode", "half_pixel") != "half_pixel_symmetric":
        return site.keep()
    if not site.input(3):
        scales, shape = site.values(2, "scales"), site.whole_shape(0)
        dims = [shape[axis] for axis in site.attribute("axes") or range(len(shape))]
        if any(float(scale) * dim % 1 for scale, dim in zip(scales, dims)):
            site.refuse("older opsets have no half_pixel_symmetric", "resize with sizes instead of scales")
    return site.keep(coordinate_transformation_mode="half_pixel")


def cumulative_product(site: Site) -> None:
    """CumProd (26): a Scan over the axis, which multiplies."""
    from onnx import helper

    kind = site.type_of(0)
    if not kind:
        site.refuse("the type of its input is unknown")
    axis, x = int(site.values(1, "axis").reshape(-1)[0]) % site.rank(0), site.input(0)
    before, part, after, out = (site.new_name(name) for name in ("before", "part", "after", "out"))
    steps = [
        helper.make_node("Mul", [before, part], [after]),
        helper.make_node("Identity", [before if site.attribute("exclusive", 0) else after], [out]),
    ]
    starts, ends = (
        [helper.make_tensor_value_info(name, kind, None) for name in pair] for pair in ((before, part), (after, out))
    )
    body = helper.make_graph(steps, site.new_name("body"), starts, ends)
    size = site.add("Shape", [site.add("Gather", [x, site.const(0)], axis=axis)])
    begin = site.add("Expand", [site.like(1.0), size])
    ways = [int(site.attribute("reverse", 0))]
    axes = {"scan_input_axes": [axis], "scan_output_axes": [axis]}
    directions = {"scan_input_directions": ways, "scan_output_directions": ways}
    outputs = [site.new_name("total"), site.node.output[0]]
    site.add("Scan", [begin, x], outputs, body=body, num_scan_inputs=1, **axes, **directions)


def grid_modes(site: Site) -> None:
    """GridSample (20): names of the modes, and images with two axes only."""
    if site.rank(0) != 4:
        site.refuse("older opsets sample images of two axes only")
    names = {"linear": "bilinear", "cubic": "bicubic"}
    mode = site.attribute("mode", "linear")
    site.keep(mode=names.get(mode, mode))


def axis_of_transform(site: Site) -> None:
    """DFT (20): the axis from an input, by default the last one of the signal, to an attribute."""
    axis = int(site.values(2, "axis").reshape(-1)[0]) if site.input(2) else -2
    site.keep([site.input(0), site.input(1)], axis=axis % site.rank(0))


def columns_to_image(site: Site) -> None:
    """Col2Im (18): add each column at its places of a flat padded image, and cut the padding off."""
    image, block = (site.values(index, name).reshape(-1).tolist() for index, name in ((1, "image_shape"), (2, "block_shape")))
    count = len(image)
    strides, dilations = (site.attribute(name) or [1] * count for name in ("strides", "dilations"))
    pads = site.attribute("pads") or [0] * 2 * count
    padded = [size + pads[axis] + pads[count + axis] for axis, size in enumerate(image)]
    places = _column_places(padded, block, strides, dilations)
    columns = site.add("Reshape", [site.input(0), site.const([0, -1, places.size])])
    begin = site.add("Slice", [site.add("Shape", [columns]), site.const([0]), site.const([2])])
    size = site.add("Concat", [begin, site.const([prod(padded)])], axis=0)
    empty = site.add("Expand", [site.like(0.0), size])
    indices = site.add("Expand", [site.const(places.reshape(1, 1, -1)), site.add("Shape", [columns])])
    flat = site.add("ScatterElements", [empty, indices, columns], axis=2, reduction="add")
    whole = site.add("Reshape", [flat, site.const([0, 0, *padded])])
    ends = [pads[axis] + size for axis, size in enumerate(image)]
    axes = list(range(2, 2 + count))
    site.finish("Slice", [whole, site.const(pads[:count]), site.const(ends), site.const(axes)])


def _column_places(padded: Sequence[int], block: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> Array:
    """Place in a flat image of each value of a column: by place in the block, then by block."""
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, block)]
    counts = [(size - span) // stride + 1 for size, span, stride in zip(padded, spans, strides)]
    offsets = np.array(list(product(*map(range, block)))) * dilations
    begins = np.array(list(product(*map(range, counts)))) * strides
    places = offsets[:, None, :] + begins[None, :, :]
    return np.asarray(np.ravel_multi_index(tuple(np.moveaxis(places, -1, 0)), tuple(padded)), np.int64)
