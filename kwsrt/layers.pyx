# cython: cdivision=True
"""The 1-bit packed layers of csrc/layers as classes: they check and pack numbers, and can be called on NumPy arrays.

Every layer quantises float32 activations to q in {-1, +1} (one plane) or {-3, -1, +1, +3} (two planes), takes an exact
integer sum of q times +1/-1 weights, and ends with y = a*n + b, PReLU and, where there is one, a residual. Each class can
be called on NumPy arrays (tests, converter); networks run the same structs without Python.

Sources: BiFSMN (IJCAI 2022) and BiFSMNv2 (TNNLS 2023), with one scale per output channel and static activation scales.
"""
import os

import numpy as np

from kwsrt.arguments import shown
from kwsrt.errors import OptionError

# Far beyond any trained number, and small enough that nothing computed from it can overflow a float.
LARGEST = 1e12
# Bound of the rows of one call, which keeps every index inside 32 bits.
MOST_ROWS = 1 << 16


# --- which kernels -------------------------------------------------------------------------------------------------

def available_isas():
    """Names of the instruction sets that this build and this CPU run, best first, e.g. ("avx2", "scalar")."""
    names, i = [], 0
    while kws_isa_name(i) != NULL:
        names.append(kws_isa_name(i).decode())
        i += 1
    return tuple(names)


cdef class Kernels:
    """One table of kernels: the best of this CPU, or the one that the environment variable KWSRT_ISA names.

    Raises
    ------
    OptionError : an instruction set that this build or this CPU lacks.
    """

    def __cinit__(self, isa=None):
        isas, source = available_isas(), "isa" if isa else "KWSRT_ISA"
        isa = isa or os.environ.get("KWSRT_ISA") or isas[0]
        if isa not in isas:
            raise OptionError(f"unknown instruction set {shown(isa)} ({source}): this machine runs {', '.join(isas)}")
        self.table = kws_select_kernels(isa.encode())

    @property
    def isa(self):
        """Name of the instruction set."""
        return self.table.name.decode()

    def finish(self, sums, a, b, slope, residual, threshold, float scale, int planes):
        """What follows the integer sums (rows, outputs) of a layer, by its kernels, for tests.

        Returns
        -------
        prelu(a * sums + b) + residual (which may be None), float32; its activation levels, int8, and their codes, uint8,
        for the quantiser of `threshold`, `scale`, `planes`.
        """
        cdef int rows, outputs
        rows, outputs = np.shape(sums)
        cdef list kept = []
        cdef kws_epilogue epilogue = _epilogue(kept, a, b, slope, outputs)
        cdef kws_quantizer quantizer = _quantizer(kept, threshold, scale, planes, outputs)
        padded = np.zeros((rows, kws_padded_outputs(outputs)), np.int16)
        padded[:, :outputs] = sums
        cdef const int16_t[:, ::1] n = padded
        cdef const float[:, ::1] added = np.zeros((1, 1), np.float32) if residual is None else residual
        cdef const float *added_data = NULL if residual is None else &added[0, 0]
        if residual is not None and (added.shape[0] != rows or added.shape[1] != outputs):
            raise OptionError(f"expected a residual of shape {(rows, outputs)}")
        results = [np.empty((rows, outputs), np.float32), np.empty((rows, outputs), np.int8),
                   np.empty((rows, kws_code_bytes(outputs)), np.uint8)]
        again = np.empty_like(results[0])
        cdef float[:, ::1] y = results[0], y_again = again
        cdef int8_t[:, ::1] q = results[1]
        cdef uint8_t[:, ::1] codes = results[2]
        self.table.affine_levels(&epilogue, &quantizer, &n[0, 0], added_data, rows, outputs, &y[0, 0], &q[0, 0])
        self.table.affine_codes(&epilogue, &quantizer, &n[0, 0], added_data, rows, outputs, &y_again[0, 0], &codes[0, 0])
        if not np.array_equal(results[0], again):
            raise AssertionError("affine_levels and affine_codes differ")
        return tuple(results)


# --- packing -------------------------------------------------------------------------------------------------------

def pack_weights(signs):
    """Weights of +1 and -1 in the file's order.

    Parameters
    ----------
    signs : (outputs, inputs), every value +1 or -1.

    Returns
    -------
    uint8 (ceil(outputs / 16), 2 * ceil(inputs / 16), 16): bit i of byte [block, k, o] is input 8*k + i of output
    16*block + o, 1 for +1; zero beyond the last input and output.

    Raises
    ------
    OptionError : another value than +1 and -1, or no element.
    """
    signs = np.asarray(signs)
    if signs.ndim != 2 or signs.size == 0 or not np.isin(signs, (-1, 1)).all():
        raise OptionError("weights to pack must be a two-dimensional array of +1 and -1")
    outputs, inputs = signs.shape
    bits = np.zeros((kws_padded_outputs(outputs), 8 * kws_weight_bytes(inputs)), np.uint8)
    bits[:outputs, :inputs] = signs > 0
    packed = np.packbits(bits, axis=1, bitorder="little")
    return np.ascontiguousarray(packed.reshape(-1, 16, packed.shape[1]).transpose(0, 2, 1))


def unpack_weights(packed, int inputs, int outputs):
    """The inverse of pack_weights: int8 (outputs, inputs) of +1 and -1.

    Raises
    ------
    OptionError : an array whose shape does not fit, or bits set beyond the last input or output.
    """
    packed = _checked_weights(packed, inputs, outputs)
    by_output = packed.transpose(0, 2, 1).reshape(-1, packed.shape[1])
    bits = np.unpackbits(by_output, axis=1, bitorder="little")
    if bits[outputs:].any() or bits[:, inputs:].any():
        raise OptionError("packed weights have bits set in their padding")
    return (2 * bits[:outputs, :inputs].astype(np.int8) - 1)


def _checked_weights(packed, inputs, outputs):
    if not (1 <= inputs <= KWS_MAX_INPUTS and 1 <= outputs <= 65536):
        raise OptionError(f"a binary layer has 1 to {KWS_MAX_INPUTS} inputs and 1 to 65536 outputs")
    packed = np.ascontiguousarray(packed)
    shape = (kws_padded_outputs(outputs) // 16, kws_weight_bytes(inputs), 16)
    if packed.dtype != np.uint8 or packed.shape != shape:
        raise OptionError(f"packed weights of {inputs} inputs and {outputs} outputs are uint8 {shape}, "
                          f"got {packed.dtype} {packed.shape}")
    return packed


cdef object _vector(values, int count, str name, int padded=0):
    """A float32 vector of `count` values within LARGEST (a scalar is repeated), zero-padded to `padded`."""
    result = np.zeros(max(count, padded), np.float32)
    try:
        result[:count] = values
    except ValueError:
        raise OptionError(f"{name} has {np.size(values)} values, expected {count}") from None
    if not (np.abs(result) <= LARGEST).all():
        raise OptionError(f"{name} holds NaN, or values beyond {LARGEST:g}")
    return result


cdef const float *_floats(array):
    cdef const float[::1] view = array
    return &view[0]


cdef const uint8_t *_bytes(array):
    cdef const uint8_t[::1] view = array.reshape(-1).view(np.uint8)
    return &view[0]


cdef kws_quantizer _quantizer(list kept, threshold, float scale, int planes, int channels) except *:
    if planes not in (1, 2) or not (scale > 0.0 and scale < 1e30):
        raise OptionError(f"activations have 1 or 2 planes and a positive scale, got planes={planes} scale={scale}")
    kept.append(_vector(threshold, channels, "threshold"))
    return kws_quantizer(threshold=_floats(kept[-1]), scale=scale, planes=planes)


cdef kws_epilogue _epilogue(list kept, a, b, slope, int outputs) except *:
    cdef int padded = kws_padded_outputs(outputs)
    cdef kws_epilogue epilogue
    kept += [_vector(a, outputs, "a", padded), _vector(b, outputs, "b", padded),
             _vector(slope, outputs, "slope", padded)]
    epilogue.a, epilogue.b, epilogue.slope = _floats(kept[-3]), _floats(kept[-2]), _floats(kept[-1])
    return epilogue


cdef class PackedWeights:
    """Weights in the order of one instruction set's kernel; layers that share weights share this object.

    weights : uint8 array in the file's order (see pack_weights), used in place where the kernel reads that order.
    """

    def __cinit__(self, weights, int inputs, int outputs, Kernels kernels=None):
        self.kernels = kernels or Kernels()
        self.inputs, self.outputs = inputs, outputs
        self.file_order = _checked_weights(weights, inputs, outputs)
        self.signs()  # refuses bits in the padding, which the kernels would count
        self.data = _in_kernel_order(self.kernels, self.file_order, inputs, outputs)

    def signs(self):
        """The weights as int8 (outputs, inputs) of +1 and -1."""
        return unpack_weights(self.file_order, self.inputs, self.outputs)


cdef object _in_kernel_order(Kernels kernels, weights, int inputs, int outputs):
    cdef size_t size = kernels.table.bgemm_packed_size(inputs, outputs)
    if size == 0:
        return weights
    packed = np.empty(size, np.uint8)
    cdef uint8_t[::1] view = packed
    kernels.table.bgemm_pack(_bytes(weights), inputs, outputs, &view[0])
    return packed


# --- scratch -------------------------------------------------------------------------------------------------------

cdef class _OwnScratch:
    """Scratch for one call from Python."""
    cdef kws_scratch scratch
    cdef object _kept

    def __cinit__(self, int q, int codes, int sums):
        cdef int8_t[::1] q_view
        cdef uint8_t[::1] codes_view
        cdef int16_t[::1] sums_view
        self._kept = [np.empty(q, np.int8), np.empty(codes, np.uint8), np.empty(sums, np.int16)]
        q_view, codes_view, sums_view = self._kept
        self.scratch = kws_scratch(q=&q_view[0], codes=&codes_view[0], sums=&sums_view[0])


cdef _OwnScratch _scratch(kws_scratch_size size):
    return _OwnScratch(size.q, size.codes, size.sums)


cdef object _activations(x, tuple shape):
    array = np.ascontiguousarray(x, dtype=np.float32)
    if array.ndim != len(shape) or any(want not in (-1, got) for want, got in zip(shape, array.shape)):
        raise OptionError(f"expected activations of shape {shape} (-1: any), got {array.shape}")
    if array.size == 0 or len(array) > max(MOST_ROWS, shape[0]):
        raise OptionError(f"one call takes 1 to {MOST_ROWS} rows of activations")
    return array


# --- binary linear -------------------------------------------------------------------------------------------------

cdef class BinaryLinear:
    """y = prelu(a * sum(w*q) + b) (+ residual), for rows of activations.

    Parameters
    ----------
    weights : PackedWeights.
    threshold : per input, or one for all; scale : positive; planes : 1 or 2 - the activation quantiser.
    a, b, slope : per output, or one for all; float32.
    """

    def __cinit__(self, PackedWeights weights not None, *, threshold, float scale, int planes, a, b, slope):
        cdef list kept = [weights]
        self.kernels = weights.kernels
        self.layer.product = kws_bgemm_args(weights=_bytes(weights.data), inputs=weights.inputs,
                                            outputs=weights.outputs, planes=planes)
        self.layer.quantizer = _quantizer(kept, threshold, scale, planes, weights.inputs)
        self.layer.epilogue = _epilogue(kept, a, b, slope, weights.outputs)
        self._kept = kept

    def __call__(self, x, residual=None):
        """float32 (rows, inputs) -> float32 (rows, outputs); residual : float32 (rows, outputs) or None."""
        cdef const float[:, ::1] rows = _activations(x, (-1, self.layer.product.inputs))
        cdef int32_t count = <int32_t>rows.shape[0]
        cdef const float[:, ::1] added
        cdef const float *added_data = NULL
        if residual is not None:
            added = _activations(residual, (count, self.layer.product.outputs))
            added_data = &added[0, 0]
        y = np.empty((count, self.layer.product.outputs), np.float32)
        cdef float[:, ::1] out = y
        cdef _OwnScratch own = _scratch(kws_linear_scratch(&self.layer, count))
        cdef const kws_kernels *k = self.kernels.table
        k.levels(&self.layer.quantizer, &rows[0, 0], count, self.layer.product.inputs, own.scratch.q)
        kws_linear_sums(k, &self.layer, own.scratch.q, count, own.scratch)
        k.affine(&self.layer.epilogue, own.scratch.sums, added_data, count, self.layer.product.outputs, &out[0, 0])
        return y

    def sums(self, q):
        """The exact integer sums of int8 q (rows, inputs), as int16 (rows, outputs)."""
        cdef const int8_t[:, ::1] rows = np.ascontiguousarray(q, dtype=np.int8)
        if rows.shape[1] != self.layer.product.inputs or not 0 < rows.shape[0] <= MOST_ROWS:
            raise OptionError(f"expected q of shape (rows, {self.layer.product.inputs}), 1 to {MOST_ROWS} rows")
        cdef int32_t count = <int32_t>rows.shape[0]
        cdef _OwnScratch own = _scratch(kws_linear_scratch(&self.layer, count))
        kws_linear_sums(self.kernels.table, &self.layer, &rows[0, 0], count, own.scratch)
        padded = kws_padded_outputs(self.layer.product.outputs)
        return own._kept[2].reshape(count, padded)[:, :self.layer.product.outputs].copy()


cdef class Staircase:
    """"Affine, PReLU, quantise" of a layer's sums as compares: no float in between.

    What prelu(a*n + b) - threshold reaches, it reaches for all n beyond one point and, where the slope is negative, also
    for all n before another. Both are found by bisection on the same float32 operations that they replace, so the result
    is the same to the last bit.

    Parameters
    ----------
    a, b, slope : per output. threshold (per output, or one for all), scale, planes : the next layer's quantiser.
    largest : bound of |n|, at most 32766.
    """

    def __cinit__(self, a, b, slope, threshold, float scale, int planes, int largest):
        cdef int outputs = np.size(a), steps = 3 if planes == 2 else 1, o, k
        if not 0 < largest < 32767:
            raise OptionError("a staircase needs sums inside int16")
        parameters = np.ascontiguousarray(np.stack([_vector(values, outputs, name) for values, name in (
            (a, "a"), (b, "b"), (slope, "slope"), (threshold, "threshold"))], axis=1))
        cdef list kept = []
        _quantizer(kept, threshold, scale, planes, outputs)
        # No sum is beyond these, whatever stands in the padding.
        above = np.full((3, kws_padded_outputs(outputs)), 32767, np.int16)
        below = np.full((3, kws_padded_outputs(outputs)), -32768, np.int16)
        cdef const float[:, ::1] p = parameters
        cdef int16_t[:, ::1] high = above, low = below
        cdef float[3] limits
        limits[0], limits[1], limits[2] = -scale if steps == 3 else 0, 0, scale
        cdef kws_stair_numbers numbers
        for o in range(outputs):
            numbers = kws_stair_numbers(a=p[o, 0], b=p[o, 1], slope=p[o, 2], threshold=p[o, 3])
            for k in range(steps):
                kws_find_step(&numbers, limits[k], largest, &high[k, o], &low[k, o])
        for k in range(3):
            self.stairs.above[k], self.stairs.below[k] = &high[k, 0], &low[k, 0]
        self.stairs.planes, self.outputs = planes, outputs
        # n > above or n < below holds for every n from -largest to largest.
        sure = (above < below) | (above < -largest) | (below > largest)
        self.stairs.last_alone = planes == 2 and bool(sure[:2, :outputs].all())
        self._kept = above, below

    def __call__(self, sums, Kernels kernels=None):
        """Codes, uint8 (rows, code bytes), of int16 sums (rows, outputs)."""
        kernels = kernels or Kernels()
        cdef int rows = len(sums)
        padded = np.zeros((rows, kws_padded_outputs(self.outputs)), np.int16)
        padded[:, :self.outputs] = sums
        cdef const int16_t[:, ::1] view = padded
        codes = np.empty((rows, kws_code_bytes(self.outputs)), np.uint8)
        cdef uint8_t[:, ::1] out = codes
        kernels.table.staircase(&self.stairs, &view[0, 0], rows, self.outputs, &out[0, 0])
        return codes


# --- binary 2-D convolution ----------------------------------------------------------------------------------------

cdef class BinaryConv2d:
    """A binary convolution over (height, width, channels), zero padding exactly: padded taps add nothing to the sum.

    The patches are gathered as codes (four channels a byte) and go through the binary product. A code of zeros stands
    for the lowest activation, not for nothing, so a correction a position takes the padded taps out again.

    Parameters
    ----------
    weights : PackedWeights with inputs in the order (row, column, channel) of the kernel.
    height, width, channels : of the input, channels a multiple of 4. kernel, stride, pad : pixels; pad one number, or one
        for rows and one for columns.
    threshold (per channel), scale, planes, a, b, slope : as BinaryLinear.
    """

    def __cinit__(self, PackedWeights weights not None, *, int height, int width, int channels, int kernel,
                  int stride, pad, threshold, float scale, int planes, a, b, slope):
        cdef list kept = [weights]
        cdef kws_conv *layer = &self.layer
        layer.pad_rows, layer.pad_columns = np.broadcast_to(pad, 2).tolist()
        cdef bint fits = 0 <= min(layer.pad_rows, layer.pad_columns) and max(layer.pad_rows, layer.pad_columns) < kernel
        if min(height, width, kernel, stride) < 1 or channels < 4 or channels % 4 or not fits:
            raise OptionError("a binary convolution needs a multiple of 4 channels and 0 <= pad < kernel")
        if (weights.inputs != kernel * kernel * channels
                or min(height + 2 * layer.pad_rows, width + 2 * layer.pad_columns) < kernel):
            raise OptionError(f"{weights.inputs} inputs do not fit a {kernel}x{kernel} kernel over {channels} channels")
        layer.height, layer.width, layer.channels, layer.stride = height, width, channels, stride
        layer.out_height = (height + 2 * layer.pad_rows - kernel) // stride + 1
        layer.out_width = (width + 2 * layer.pad_columns - kernel) // stride + 1
        cdef int pixel = channels // 4, row_bytes = (width + 2 * layer.pad_columns) * (channels // 4)
        layer.patches = kws_patches(
            rows=1, columns=layer.out_width, kernel=kernel, row_bytes=row_bytes, x_bytes=stride * pixel,
            y_bytes=stride * row_bytes, piece_bytes=kernel * pixel, patch_bytes=kws_code_bytes(weights.inputs))
        self.kernels = weights.kernels
        layer.linear.product = kws_bgemm_args(weights=_bytes(weights.data), inputs=weights.inputs,
                                              outputs=weights.outputs, planes=planes)
        layer.linear.quantizer = _quantizer(kept, threshold, scale, planes, channels)
        layer.linear.epilogue = _epilogue(kept, a, b, slope, weights.outputs)
        kept.append(self._padding_correction(weights.signs()))
        cdef const int16_t[::1] correction = kept[-1]
        layer.correction = &correction[0]
        self._kept = kept

    def _padding_correction(self, signs):
        """int16 [positions * padded outputs]: lowest activation times the weights of the padded taps, with a minus."""
        cdef kws_conv *layer = &self.layer
        lowest = -3 if layer.linear.product.planes == 2 else -1
        outputs = layer.linear.product.outputs
        kernel = layer.patches.kernel
        per_tap = signs.reshape(outputs, kernel, kernel, layer.channels).sum(3, dtype=np.int32)
        correction = np.zeros((layer.out_height, layer.out_width, kws_padded_outputs(outputs)), np.int32)
        taps = np.arange(kernel)
        for oy in range(layer.out_height):
            rows = oy * layer.stride - layer.pad_rows + taps
            for ox in range(layer.out_width):
                columns = ox * layer.stride - layer.pad_columns + taps
                inside = np.outer((rows >= 0) & (rows < layer.height), (columns >= 0) & (columns < layer.width))
                correction[oy, ox, :outputs] = -lowest * (per_tap * ~inside).sum((1, 2))
        return correction.astype(np.int16).reshape(-1)

    def __call__(self, x):
        """float32 (height, width, channels) -> float32 (out_height, out_width, outputs)."""
        cdef kws_conv *layer = &self.layer
        cdef const float[:, :, ::1] pixels = _activations(x, (layer.height, layer.width, layer.channels))
        cdef int count = layer.height * layer.width
        cdef int8_t[::1] q = np.empty(count * layer.channels, np.int8)
        cdef uint8_t[::1] codes = np.empty(count * kws_code_bytes(layer.channels), np.uint8)
        cdef uint8_t[::1] image = np.zeros((layer.height + 2 * layer.pad_rows) * layer.patches.row_bytes, np.uint8)
        y = np.empty((layer.out_height, layer.out_width, layer.linear.product.outputs), np.float32)
        cdef float[:, :, ::1] out = y
        cdef _OwnScratch own = _scratch(kws_conv_scratch(layer, layer.out_height))
        cdef const kws_kernels *k = self.kernels.table
        k.levels(&layer.linear.quantizer, &pixels[0, 0, 0], count, layer.channels, &q[0])
        k.pack(&q[0], count, layer.channels, layer.linear.product.planes, &codes[0])
        kws_conv_store(layer, &codes[0], 0, layer.height, &image[0])
        kws_conv_sums(k, layer, &image[0], 0, layer.out_height, own.scratch)
        k.affine(&layer.linear.epilogue, own.scratch.sums, NULL, layer.out_height * layer.out_width,
                 layer.linear.product.outputs, &out[0, 0, 0])
        return y


# --- memory --------------------------------------------------------------------------------------------------------

cdef class Memory:
    """The memory of an FSMN: a depthwise convolution over time, y = prelu(a * sum_j w[c][j] * q[t+j-taps//2][c] + b) + x;
    a causal one looks back alone, at q[t+j-taps+1][c].

    Parameters
    ----------
    signs : int8 (channels, taps) of +1 and -1, an odd number of taps. The rest as BinaryLinear, per channel.
    """

    def __cinit__(self, signs, *, threshold, float scale, int planes, a, b, slope, bint causal=False,
                  Kernels kernels=None):
        signs = np.asarray(signs)
        if signs.ndim != 2 or signs.size == 0 or signs.shape[1] % 2 == 0 or not np.isin(signs, (-1, 1)).all():
            raise OptionError("memory weights are (channels, taps) of +1 and -1, with an odd number of taps")
        if signs.shape[1] > KWS_MOST_TAPS:
            raise OptionError(f"a memory has at most {KWS_MOST_TAPS} taps, got {signs.shape[1]}")
        cdef list kept = [np.ascontiguousarray(signs.T, dtype=np.int8)]
        cdef const int8_t[:, ::1] weights = kept[0]
        self.kernels = kernels or Kernels()
        self.layer.weights = &weights[0, 0]
        self.layer.channels, self.layer.taps = <int32_t>signs.shape[0], <int32_t>signs.shape[1]
        self.layer.before = self.layer.taps - 1 if causal else self.layer.taps // 2
        self.layer.quantizer = _quantizer(kept, threshold, scale, planes, self.layer.channels)
        self.layer.epilogue = _epilogue(kept, a, b, slope, self.layer.channels)
        self._kept = kept

    def __call__(self, x):
        """float32 (steps, channels) -> float32 (steps, channels)."""
        cdef const float[:, ::1] rows = _activations(x, (-1, self.layer.channels))
        cdef int32_t steps = <int32_t>rows.shape[0]
        y = np.empty((steps, self.layer.channels), np.float32)
        cdef float[:, ::1] out = y
        cdef _OwnScratch own = _scratch(kws_memory_scratch(&self.layer, steps))
        cdef const kws_kernels *k = self.kernels.table
        k.levels(&self.layer.quantizer, &rows[0, 0], steps, self.layer.channels, own.scratch.q)
        kws_memory_sums(k, &self.layer, own.scratch.q, steps, own.scratch.sums)
        k.affine(&self.layer.epilogue, own.scratch.sums, &rows[0, 0], steps, self.layer.channels, &out[0, 0])
        return y


# --- int8 ends -----------------------------------------------------------------------------------------------------

cdef class InputConv2d:
    """The first convolution: int8 weights over one int8 channel, zero padding, y = prelu(a*n + b).

    Parameters
    ----------
    weights : int8 (kernel * kernel, outputs), the magnitudes of an output's up to 255 together. height, width : of the
        input. stride, pad : pixels; pad one number, or one for rows and one for columns.
    a, b, slope : per output.
    """

    def __cinit__(self, weights, *, int height, int width, int stride, pad, a, b, slope, Kernels kernels=None):
        weights = np.asarray(weights)
        cdef int kernel = int(round(len(weights) ** 0.5)), outputs = weights.shape[1] if weights.ndim == 2 else 0
        if weights.dtype != np.int8 or outputs == 0 or kernel * kernel != len(weights) or kernel > 31:
            raise OptionError("input convolution weights are int8 (kernel * kernel, outputs)")
        cdef int rows, columns
        rows, columns = np.broadcast_to(pad, 2).tolist()
        if (min(height, width, stride) < 1 or min(rows, columns) < 0 or max(rows, columns) >= kernel
                or min(height + 2 * rows, width + 2 * columns) < kernel):
            raise OptionError("input convolution: 0 <= pad < kernel <= size + 2 * pad, stride of 1 or more")
        if np.abs(weights.astype(np.int32)).sum(0).max() > KWS_LARGEST_TOTAL:
            raise OptionError(f"the magnitudes of an output's weights sum up to {KWS_LARGEST_TOTAL} at most in the input "
                              "convolution: its sums are int16")
        padded = np.zeros((kernel * kernel, kws_padded_outputs(outputs)), np.int16)
        padded[:, :outputs] = weights
        cdef const int16_t[:, ::1] view = padded
        cdef list kept = [padded]
        self.kernels = kernels or Kernels()
        self.layer.height, self.layer.width = height, width
        self.layer.pad_rows, self.layer.pad_columns = rows, columns
        self.layer.conv = kws_conv_args(
            weights=&view[0, 0], width=width + 2 * columns, kernel=kernel, stride=stride,
            outputs=outputs, out_height=(height + 2 * rows - kernel) // stride + 1,
            out_width=(width + 2 * columns - kernel) // stride + 1)
        self.layer.epilogue = _epilogue(kept, a, b, slope, outputs)
        self._kept = kept

    def __call__(self, features):
        """int8 (height, width) -> float32 (out_height, out_width, outputs)."""
        cdef kws_input_conv *layer = &self.layer
        cdef const int8_t[:, ::1] q = np.ascontiguousarray(features, dtype=np.int8)
        if q.shape[0] != layer.height or q.shape[1] != layer.width:
            raise OptionError(f"expected features of shape ({layer.height}, {layer.width})")
        cdef int pixels = layer.conv.out_height * layer.conv.out_width
        cdef int16_t[::1] image = np.empty((layer.height + 2 * layer.pad_rows) * layer.conv.width + 1, np.int16)
        cdef int16_t[::1] sums = np.empty(pixels * kws_padded_outputs(layer.conv.outputs), np.int16)
        y = np.empty((layer.conv.out_height, layer.conv.out_width, layer.conv.outputs), np.float32)
        cdef float[:, :, ::1] out = y
        kws_input_conv_sums(self.kernels.table, layer, &q[0, 0], 0, layer.conv.out_height, &image[0], &sums[0])
        self.kernels.table.affine(&layer.epilogue, &sums[0], NULL, pixels, layer.conv.outputs, &out[0, 0, 0])
        return y


cdef class Classifier:
    """Logits a*n + b of an int8 product: q = clip(rint(x * inverse_scale), -127, 127), n = sum(w*q).

    Parameters
    ----------
    weights : int8 (outputs, inputs). inverse_scale : positive. a, b : per output.
    """

    def __cinit__(self, weights, *, float inverse_scale, a, b, Kernels kernels=None):
        weights = np.asarray(weights)
        if weights.dtype != np.int8 or weights.ndim != 2 or not 0 < weights.size or weights.shape[1] > 65536:
            raise OptionError("classifier weights are int8 (outputs, inputs), at most 65536 inputs")
        if not 0.0 < inverse_scale < 1e30:
            raise OptionError("the classifier's inverse scale must be positive")
        cdef int outputs = <int>weights.shape[0]
        cdef list kept = [np.ascontiguousarray(weights), _vector(a, outputs, "a"), _vector(b, outputs, "b")]
        cdef const int8_t[:, ::1] view = kept[0]
        self.kernels = kernels or Kernels()
        self.layer = kws_classifier(weights=&view[0, 0], inputs=<int32_t>weights.shape[1], outputs=outputs,
                                     inverse_scale=inverse_scale, a=_floats(kept[1]), b=_floats(kept[2]))
        self._kept = kept

    def __call__(self, x):
        """float32 (inputs,) -> logits, float32 (outputs,)."""
        cdef const float[::1] view = _activations(x, (self.layer.inputs,))
        cdef int8_t[::1] q = np.empty(self.layer.inputs, np.int8)
        cdef int32_t[::1] sums = np.empty(self.layer.outputs, np.int32)
        logits = np.empty(self.layer.outputs, np.float32)
        cdef float[::1] out = logits
        self.kernels.table.to_int8(&view[0], self.layer.inputs, self.layer.inverse_scale, &q[0])
        kws_classify(self.kernels.table, &self.layer, &q[0], &sums[0], &out[0])
        return logits
