# cython: cdivision=True
"""The network: a thinnable, 1-bit deep FSMN (BiFSMN, BiFSMNv2) from int8 features to scores.

conv1 (int8) -> conv2 -> fc1 -> blocks of memory, expand, project -> classifier (int8) -> softmax. A thinning level runs
some of the blocks: all levels share every weight and have norms of their own inside the blocks. The object is immutable;
an inference works in a Workspace and in nothing else, so one network serves any number of threads.
"""
from libc.stdlib cimport calloc, free
from libc.stdint cimport int16_t, uint8_t
from libc.string cimport memmove

from kwsrt.layers cimport (Classifier, ConvLayer, Memory, ScratchSize, Staircase, classifier_run, conv_pack, conv_rows,
                           conv_run, conv_scratch, input_rows, input_run, kws_padded_outputs, larger, linear_product,
                           linear_run, linear_scratch, memory_run, memory_scratch, softmax)

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

from collections.abc import Mapping

import numpy as np

from kwsrt.errors import OptionError, ThinError
from kwsrt.layers import PackedWeights

# Both convolutions of the family.
cdef enum:
    KERNEL = 5
    STRIDE = 2
    PAD = 2
# The level "auto": the thinnest first, deeper ones while its best score is not clear.
cdef int32_t AUTO = -1
# What is clear where a model does not say; no score is, for a level that "auto" leaves out.
CLEAR = 0.85
cdef float LEFT_OUT = -1


cdef size_t _rounded(size_t size) noexcept nogil:
    return (size + 63) // 64 * 64


cdef class Workspace:
    """The memory of one inference: reuse it, from one thread at a time. Network.run makes its own."""

    def __dealloc__(self):
        free(self._memory)


cdef class StemCache:
    """A stream's part of the layers before the blocks: Network.infer_next computes only the rows that are new."""

    def __dealloc__(self):
        free(self._memory)


cdef class Network:
    """A packed network, ready to run.

    Parameters
    ----------
    config : dict, the `network` part of a model file's manifest (kwsrt.format says what it holds).
    classes : number of labels.
    tensors : dict of arrays by the names of kwsrt.format.tensor_specs; 1-bit weights are used in place, not copied, where
        the kernels read the file's order.
    kernels : layers.Kernels or None for the best of this CPU (or KWSRT_ISA).
    clear : the best score, 0 to 1, from which on "auto" believes a level and runs no deeper one; or {level: score} of the
        levels that it runs before the first one, which is never left out.

    Attributes
    ----------
    levels : names of the thinning levels. layers : the layer objects by name: conv1, conv2, fc1, and for every level
        that runs them blocks.I.memory.LEVEL, blocks.I.expand.LEVEL, blocks.I.project.LEVEL, classifier.LEVEL.

    Raises
    ------
    OptionError : tensors whose sizes or values cannot be run.
    """

    def __cinit__(self, config, int classes, tensors, kernels=None, *, clear=CLEAR):
        self.kernels = kernels or Kernels()
        self.frames, self.bins, self.classes = config["frames"], config["bins"], classes
        self._width, self._hidden = config["width"], config["hidden"]
        self.levels = tuple(config["levels"])
        self._count = <int32_t>len(self.levels)
        self._levels = <Level *>calloc(len(self.levels), sizeof(Level))
        if self._levels == NULL:
            raise MemoryError()
        for index, level in enumerate(self.levels):
            self._levels[index].clear = clear.get(level, LEFT_OUT) if isinstance(clear, Mapping) else clear
        self._kept = [tensors]
        planes, scales = config["planes"], tensors["scales"]
        self.conv1 = InputConv2d(tensors["conv1.weight"], height=self.frames, width=self.bins, stride=STRIDE, pad=PAD,
                                 kernels=self.kernels, **_epilogue(tensors, "conv1"))
        height, width = self.conv1.layer.conv.out_height, self.conv1.layer.conv.out_width
        weights = PackedWeights(tensors["conv2.weight"], KERNEL * KERNEL * config["conv1"], config["conv2"], self.kernels)
        self.conv2 = BinaryConv2d(
            weights, height=height, width=width, channels=config["conv1"], kernel=KERNEL, stride=STRIDE, pad=PAD,
            threshold=tensors["conv2.threshold"], scale=scales[0], planes=planes, **_epilogue(tensors, "conv2"))
        self._steps = self.conv2.layer.out_height
        bands = self.conv2.layer.out_width
        weights = PackedWeights(tensors["fc1.weight"], bands * config["conv2"], self._width, self.kernels)
        self.fc1 = BinaryLinear(weights, threshold=np.tile(tensors["fc1.threshold"], bands), scale=scales[1],
                                planes=planes, **_epilogue(tensors, "fc1"))
        shared = [(PackedWeights(tensors[f"blocks.{i}.expand.weight"], self._width, self._hidden, self.kernels),
                   PackedWeights(tensors[f"blocks.{i}.project.weight"], self._hidden, self._width, self.kernels),
                   _memory_signs(tensors[f"blocks.{i}.memory.weight"], config["taps"], self._width))
                  for i in range(config["blocks"])]
        self._layers = {"conv1": self.conv1, "conv2": self.conv2, "fc1": self.fc1}
        for index, (name, blocks) in enumerate(config["levels"].items()):
            self._add_level(index, name, blocks, shared, tensors, planes)

    def _add_level(self, int index, name, blocks, shared, tensors, int planes):
        cdef Level *level = &self._levels[index]
        cdef Memory memory
        cdef BinaryLinear expand, project
        cdef Staircase stairs
        cdef Classifier classifier
        scales = tensors["scales"]
        level.blocks = <Block *>calloc(max(1, len(blocks)), sizeof(Block))
        if level.blocks == NULL:
            raise MemoryError()
        level.count = <int32_t>len(blocks)
        for position, i in enumerate(blocks):
            expand_weights, project_weights, signs = shared[i]
            project_scale = scales[4 + 3 * i]
            memory = Memory(signs, threshold=tensors[f"blocks.{i}.memory.threshold"], scale=scales[2 + 3 * i],
                            planes=planes, kernels=self.kernels, **_epilogue(tensors, f"blocks.{i}.memory", name))
            expand = BinaryLinear(expand_weights, threshold=tensors[f"blocks.{i}.expand.threshold"],
                                  scale=scales[3 + 3 * i], planes=planes,
                                  **_epilogue(tensors, f"blocks.{i}.expand", name))
            project = BinaryLinear(project_weights, threshold=0.0, scale=project_scale, planes=planes,
                                   **_epilogue(tensors, f"blocks.{i}.project", name))
            level.blocks[position] = Block(memory=memory.layer, expand=expand.layer, project=project.layer, fused=False)
            self._layers |= {f"blocks.{i}.memory.{name}": memory, f"blocks.{i}.expand.{name}": expand,
                             f"blocks.{i}.project.{name}": project}
            hidden = _epilogue(tensors, f"blocks.{i}.expand", name)
            if (hidden["slope"] >= 0).all():
                stairs = Staircase(hidden["a"], hidden["b"], hidden["slope"], project_scale, planes,
                                   (3 if planes == 2 else 1) * self._width)
                level.blocks[position].stairs = stairs.stairs
                level.blocks[position].fused = True
                self._kept.append(stairs)
        a, b = tensors[f"classifier.affine.{name}"]
        classifier = Classifier(tensors["classifier.weight"], inverse_scale=scales[-1], a=a, b=b, kernels=self.kernels)
        if classifier.layer.inputs != self._steps * self._width or classifier.layer.outputs != self.classes:
            raise OptionError("classifier weights do not fit the network")
        level.classifier = classifier.layer
        self._layers[f"classifier.{name}"] = classifier

    def __dealloc__(self):
        if self._levels != NULL:
            for i in range(len(self.levels)):
                free(self._levels[i].blocks)
            free(self._levels)

    @property
    def layers(self):
        """The layer objects by name, a new dict."""
        return dict(self._layers)

    def level_index(self, thin):
        """Position of a thinning level's name, -1 for "auto".

        Raises
        ------
        ThinError : the network has no such level.
        """
        if thin == "auto":
            return AUTO
        if thin not in self.levels:
            raise ThinError(f"unknown thinning level {thin!r}: this model has {', '.join(self.levels)}, auto")
        return self.levels.index(thin)

    def run(self, features, thin):
        """Scores of int8 features (windows, frames, bins): float32 (windows, classes), each row sums to 1.

        Raises
        ------
        ThinError : no such level. OptionError : features of another type or shape.
        """
        cdef int32_t level = self.level_index(thin)
        features = np.ascontiguousarray(features)
        if features.dtype != np.int8 or features.shape[1:] != (self.frames, self.bins):
            raise OptionError(f"expected int8 features of shape (windows, {self.frames}, {self.bins}), "
                              f"got {features.dtype} {features.shape}")
        cdef const int8_t[:, :, ::1] q = features
        cdef Workspace work = self.workspace()
        scores = np.empty((q.shape[0], self.classes), np.float32)
        cdef float[:, ::1] out = scores
        cdef Py_ssize_t i, count = q.shape[0]
        with nogil:
            for i in range(count):
                self.infer(level, &q[i, 0, 0], &work.buffers, &out[i, 0])
        return scores

    cdef Workspace workspace(self):
        cdef Buffers b
        cdef ScratchSize size = larger(conv_scratch(&self.conv2.layer), linear_scratch(&self.fc1.layer, self._steps))
        cdef Block *block
        for index in range(len(self.levels)):
            for position in range(self._levels[index].count):
                block = &self._levels[index].blocks[position]
                size = larger(size, memory_scratch(&block.memory, self._steps))
                size = larger(size, linear_scratch(&block.expand, self._steps))
                size = larger(size, linear_scratch(&block.project, self._steps))
        cdef size_t floats[8]
        floats[0] = (self.frames + 2 * PAD) * self.conv1.layer.conv.width
        floats[1] = self.conv2.layer.height * self.conv2.layer.width * self.conv2.layer.channels
        floats[2] = self._steps * self.fc1.layer.product.inputs
        floats[3] = floats[4] = floats[5] = self._steps * self._width
        floats[6] = self._steps * self._hidden
        floats[7] = self.classes
        cdef size_t total = 0
        for count in floats:
            total += _rounded(sizeof(float) * count)
        total += _rounded(floats[3]) + _rounded(sizeof(int32_t) * self.classes)
        total += _rounded(size.q) + _rounded(size.codes) + _rounded(2 * size.sums)
        work = Workspace()
        work._memory, work.size = aligned_alloc(64, total), total
        if work._memory == NULL:
            raise MemoryError()
        cdef char *cursor = <char *>work._memory
        cdef float **pointers[8]
        pointers[:] = [&b.image, &b.conv1, &b.conv2, &b.stem, &b.x, &b.m, &b.hidden, &b.logits]
        for i in range(8):
            pointers[i][0] = <float *>cursor
            cursor += _rounded(sizeof(float) * floats[i])
        b.classifier_q = <int8_t *>cursor
        cursor += _rounded(floats[3])
        b.classifier_sums = <int32_t *>cursor
        cursor += _rounded(sizeof(int32_t) * self.classes)
        b.scratch.q = <int8_t *>cursor
        cursor += _rounded(size.q)
        b.scratch.codes = <uint8_t *>cursor
        cursor += _rounded(size.codes)
        b.scratch.sums = <int16_t *>cursor
        work.buffers = b
        return work

    cdef StemCache stem_cache(self):
        cdef StemCache cache = StemCache()
        cdef size_t codes = _rounded(self.conv2.layer.height * self._code_row()), x = _rounded(
            sizeof(float) * self._steps * self._width)
        cache.size = codes + 2 * x
        cache._memory = aligned_alloc(64, cache.size)
        if cache._memory == NULL:
            raise MemoryError()
        cache.stem.codes = <uint8_t *>cache._memory
        cache.stem.x[0] = <float *>(<char *>cache._memory + codes)
        cache.stem.x[1] = <float *>(<char *>cache._memory + codes + x)
        cache.stem.decisions = 0
        return cache

    cdef int32_t infer(self, int32_t level, const int8_t *features, Buffers *b, float *scores) noexcept nogil:
        """Scores of a window; the level that gave them, which is `level` but for AUTO."""
        self._run_stem(features, b)
        return self._finish(level, b, scores)

    cdef int32_t infer_next(self, int32_t level, const int8_t *features, int32_t stride, Stem *stem, Buffers *b,
                            float *scores) noexcept nogil:
        """The same, for a window `stride` frames after that of the last call with this stem."""
        self._next_stem(features, stride, stem, b)
        return self._finish(level, b, scores)

    cdef int32_t _finish(self, int32_t level, Buffers *b, float *scores) noexcept nogil:
        if level != AUTO:
            self._run_level(level, b, scores)
            return level
        for level in range(self._count - 1, 0, -1):
            if self._levels[level].clear == LEFT_OUT:
                continue
            self._run_level(level, b, scores)
            if _largest(scores, self.classes) >= self._levels[level].clear:
                return level
        self._run_level(0, b, scores)
        return 0

    cdef void _run_stem(self, const int8_t *features, Buffers *b) noexcept nogil:
        """Everything before the blocks: the levels have it in common."""
        cdef const kws_kernels *k = self.kernels.table
        input_run(k, &self.conv1.layer, features, b.image, b.conv1)
        conv_run(k, &self.conv2.layer, b.conv1, b.scratch, b.conv2)
        linear_run(k, &self.fc1.layer, b.conv2, self._steps, NULL, b.scratch, b.stem)

    cdef void _next_stem(self, const int8_t *features, int32_t stride, Stem *stem, Buffers *b) noexcept nogil:
        """Everything before the blocks, from the rows of earlier decisions where those did not touch an edge.

        An output row of the first convolution sees 5 frames. Those of rows low to high lie within the window, and with
        the window `shift` rows later the same row is another: old row r + shift is new row r. The rows before low and
        after high - shift see padding, or frames that are new. The second convolution sees 5 of these rows, of which
        low2 to high2 make its inner ones; it moves by half as many rows, so where shift is odd its old rows are those
        of the decision before the last. What the fully connected layer makes of them moves with them.
        """
        cdef const ConvLayer *conv = &self.conv2.layer
        cdef int32_t shift = stride // STRIDE, code_row = self._code_row(), x_row = self._width
        cdef int32_t low = (PAD + STRIDE - 1) // STRIDE, high = (self.frames + PAD - KERNEL) // STRIDE
        cdef int32_t low2 = (low + PAD + STRIDE - 1) // STRIDE, high2 = (high + PAD - KERNEL + 1) // STRIDE
        cdef int32_t before = 1 if shift % STRIDE == 0 else 2, shift2 = before * shift // STRIDE
        cdef int32_t newest = <int32_t>(stem.decisions % 2), source = <int32_t>((stem.decisions + before) % 2)
        cdef float *x = stem.x[newest]
        if stride % STRIDE or stem.decisions < 1 or high - shift < low:
            self._first_rows(features, 0, conv.height, stem.codes, b)
        else:
            memmove(stem.codes + low * code_row, stem.codes + (low + shift) * code_row, (high - shift - low + 1) * code_row)
            self._first_rows(features, 0, low, stem.codes, b)
            self._first_rows(features, high - shift + 1, conv.height - (high - shift + 1), stem.codes, b)
        if stride % STRIDE or stem.decisions < before or high2 - shift2 < low2:
            self._stem_rows(stem.codes, 0, self._steps, x, b)
        else:
            memmove(x + low2 * x_row, stem.x[source] + (low2 + shift2) * x_row,
                    sizeof(float) * (high2 - shift2 - low2 + 1) * x_row)
            self._stem_rows(stem.codes, 0, low2, x, b)
            self._stem_rows(stem.codes, high2 - shift2 + 1, self._steps - (high2 - shift2 + 1), x, b)
        stem.decisions += 1
        b.stem = x

    cdef void _first_rows(self, const int8_t *features, int32_t first, int32_t rows, uint8_t *codes,
                          Buffers *b) noexcept nogil:
        """Rows of the first convolution, as codes."""
        cdef const kws_kernels *k = self.kernels.table
        input_rows(k, &self.conv1.layer, features, first, rows, b.image, b.conv1)
        conv_pack(k, &self.conv2.layer, b.conv1, rows, b.scratch, codes + first * self._code_row())

    cdef void _stem_rows(self, const uint8_t *codes, int32_t first, int32_t rows, float *x, Buffers *b) noexcept nogil:
        """Rows of the second convolution, and of x what the fully connected layer makes of them."""
        cdef const kws_kernels *k = self.kernels.table
        conv_rows(k, &self.conv2.layer, codes, first, rows, b.scratch, b.conv2)
        linear_run(k, &self.fc1.layer, b.conv2, rows, NULL, b.scratch, x + first * self._width)

    cdef int32_t _code_row(self) noexcept nogil:
        """Bytes of a row of the second convolution's input."""
        return self.conv2.layer.width * self.conv2.layer.channels // 4

    cdef void _run_level(self, int32_t level, Buffers *b, float *scores) noexcept nogil:
        cdef const kws_kernels *k = self.kernels.table
        cdef const Level *chosen = &self._levels[level]
        cdef const float *x = b.stem
        cdef int32_t i
        for i in range(chosen.count):
            self._run_block(k, &chosen.blocks[i], x, b)
            x = b.x
        classifier_run(k, &chosen.classifier, x, b.classifier_q, b.classifier_sums, b.logits)
        softmax(b.logits, self.classes, scores)

    cdef inline void _run_block(self, const kws_kernels *k, const Block *block, const float *x, Buffers *b) noexcept nogil:
        """x -> m = memory(x) + x -> b.x = project(expand(m)) + m."""
        memory_run(k, &block.memory, x, self._steps, b.scratch, b.m)
        k.levels(&block.expand.quantizer, b.m, self._steps, self._width, b.scratch.q)
        linear_product(k, &block.expand, b.scratch.q, self._steps, b.scratch)
        if block.fused:
            k.staircase(&block.stairs, b.scratch.sums, self._steps, self._hidden, b.scratch.q)
        else:
            k.affine(&block.expand.epilogue, b.scratch.sums, NULL, self._steps, self._hidden, b.hidden)
            k.levels(&block.project.quantizer, b.hidden, self._steps, self._hidden, b.scratch.q)
        linear_product(k, &block.project, b.scratch.q, self._steps, b.scratch)
        k.affine(&block.project.epilogue, b.scratch.sums, b.m, self._steps, self._width, b.x)


cdef float _largest(const float *values, int32_t count) noexcept nogil:
    cdef float largest = values[0]
    for i in range(1, count):
        largest = max(largest, values[i])
    return largest


def _epilogue(tensors, layer, level=None):
    """a, b and slope of a layer (of one thinning level) as BinaryLinear takes them."""
    a, b = tensors[f"{layer}.affine" if level is None else f"{layer}.affine.{level}"].astype(np.float32)
    slope = np.broadcast_to(tensors[f"{layer}.slope"].astype(np.float32), a.shape)
    return {"a": a, "b": b, "slope": slope}


def _memory_signs(bits, taps, channels):
    """int8 (channels, taps) of +1 and -1 from the file's bits, tap after tap."""
    ones = np.unpackbits(bits, count=taps * channels, bitorder="little").reshape(taps, channels)
    return (2 * ones.astype(np.int8) - 1).T
