# cython: cdivision=True
"""The network: a thinnable, 1-bit deep FSMN (BiFSMN, BiFSMNv2) from int8 features to scores.

conv1 (int8) -> conv2 -> fc1 -> blocks of memory, expand, project -> classifier (int8) -> softmax. A thinning level runs
some of the blocks: all levels share every weight and have norms of their own inside the blocks. The object is immutable;
an inference works in a Workspace and in nothing else, so one network serves any number of threads. Network.run keeps
those it made, one for each thread that ran at the same time.

The network of the papers sees a window: convolutions and memories are padded at its ends, so that every decision computes
it anew (but for rows of the first layers, which Kept keeps). A causal one has memories that look back and convolutions
that are not padded in time: what it computed of a step, four frames, stays as it is, and a decision computes the steps
that are new. Without a past, of a clip or of a stream that begins, memories find nothing where it would be.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc, free
from libc.stdint cimport int16_t, uint8_t
from libc.string cimport memmove, memset

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from kwsrt.layers cimport (KWS_LARGEST_TOTAL, Classifier, ConvLayer, Memory, PackedWeights, Scratch, ScratchSize,
                           Staircase, classifier_run, classifier_sums, close_up, conv_image_row, conv_rows, conv_scratch,
                           conv_store, input_rows, kws_code_bytes, kws_padded_outputs, larger, linear_scratch,
                           memory_scratch, memory_sums, softmax)

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

from collections.abc import Mapping

import numpy as np

from kwsrt.arguments import shown, whole
from kwsrt.errors import OptionError, ThinError, no_copy

INT8, FLOAT32 = np.dtype(np.int8), np.dtype(np.float32)

# Both convolutions of the family.
cdef enum:
    KERNEL = 5
    STRIDE = 2
    PAD = 2
    STEP = STRIDE * STRIDE  # frames of a step
    LARGEST_FEATURE = 128
    AT_ONCE = 4             # steps through the blocks of a causal network: the rows of bgemm_neon.c's tile
# The level "auto": the thinnest first, deeper ones unless it is clear that no keyword is heard.
cdef int32_t AUTO = -1
# What is clear where a model does not say; no score is, for a level that "auto" leaves out.
CLEAR = 0.85
cdef float LEFT_OUT = -1


cdef size_t _rounded(size_t size) noexcept nogil:
    return (size + 63) // 64 * 64


cdef void *_take(char **cursor, size_t size) noexcept nogil:
    """The next `size` bytes of a memory that is shared out."""
    cdef void *start = cursor[0]
    cursor[0] += size
    return start


cdef class Workspace:
    """The memory of one inference: reuse it, from one thread at a time. Network.run makes its own."""

    def __dealloc__(self):
        free(self._memory)


cdef class Kept:
    """What a stream keeps of its earlier decisions: Network.infer_next computes only what is new."""

    def __dealloc__(self):
        free(self._memory)


cdef class Network:
    """A packed network, ready to run.

    Parameters
    ----------
    config : dict, the `network` part of a model file's manifest (kwsrt.format says what it holds).
    classes : number of labels.
    tensors : dict of arrays by the names of kwsrt.layout.tensor_specs; 1-bit weights are used in place, not copied, where
        the kernels read the file's order.
    kernels : layers.Kernels or None for the best of this CPU (or KWSRT_ISA).
    clear : the score, 0 to 1, of all classes together that are no keywords from which on "auto" believes a level and runs
        no deeper one; or {level: score} of the levels that it runs before the first one, which is never left out.
    others : positions of the classes that are no keywords. Where there are none, clear is the best score.

    Attributes
    ----------
    causal : whether it is one. stride : frames between decisions unless a stream is asked for others; those of a causal
        network come every so many frames or a multiple of that.
    levels : names of the thinning levels. layers : the layer objects by name: conv1, conv2, fc1, and for every level
        that runs them blocks.I.memory.LEVEL, blocks.I.expand.LEVEL, blocks.I.project.LEVEL, classifier.LEVEL.

    Raises
    ------
    OptionError : tensors whose sizes or values cannot be run.
    """

    def __cinit__(self, config, int classes, tensors, kernels=None, *, clear=CLEAR, others=()):
        self.kernels = kernels or Kernels()
        self.frames, self.bins, self.classes = config["frames"], config["bins"], classes
        self._width, self._hidden, self._taps = config["width"], config["hidden"], config["taps"]
        self.causal = config.get("causal", False)
        self.stride = STEP if self.causal else STRIDE
        self.levels = tuple(config["levels"])
        self._count = <int32_t>len(self.levels)
        if self._count > MOST_LEVELS:
            raise OptionError(f"a network has at most {MOST_LEVELS} thinning levels, got {self._count}")
        self._levels = <Level *>calloc(len(self.levels), sizeof(Level))
        if self._levels == NULL:
            raise MemoryError()
        for index, level in enumerate(self.levels):
            self._levels[index].clear = clear.get(level, LEFT_OUT) if isinstance(clear, Mapping) else clear
        other = np.zeros(classes, np.int8)
        other[list(others)] = 1
        self._other, self._others = other, other.any()
        self._kept, self._spare = [tensors], []
        planes, scales = config["planes"], tensors["scales"]
        pad = (0 if self.causal else PAD, PAD)
        self.conv1 = InputConv2d(tensors["conv1.weight"], height=self.frames, width=self.bins, stride=STRIDE, pad=pad,
                                 kernels=self.kernels, **_epilogue(tensors, "conv1"))
        height, width = self.conv1.layer.conv.out_height, self.conv1.layer.conv.out_width
        weights = PackedWeights(tensors["conv2.weight"], KERNEL * KERNEL * config["conv1"], config["conv2"], self.kernels)
        self.conv2 = BinaryConv2d(
            weights, height=height, width=width, channels=config["conv1"], kernel=KERNEL, stride=STRIDE, pad=pad,
            threshold=tensors["conv2.threshold"], scale=scales[0], planes=planes, **_epilogue(tensors, "conv2"))
        self.first_stairs = Staircase(
            **_epilogue(tensors, "conv1"), threshold=tensors["conv2.threshold"], scale=scales[0], planes=planes,
            largest=LARGEST_FEATURE * KWS_LARGEST_TOTAL)
        self.second_stairs = Staircase(
            **_epilogue(tensors, "conv2"), threshold=tensors["fc1.threshold"], scale=scales[1], planes=planes,
            largest=(3 if planes == 2 else 1) * weights.inputs)
        self._steps = self.conv2.layer.out_height
        bands = self.conv2.layer.out_width
        self._code_row = conv_image_row(&self.conv2.layer)
        self._code_rows = KERNEL if self.causal else height + 2 * PAD
        weights = PackedWeights(tensors["fc1.weight"], bands * config["conv2"], self._width, self.kernels)
        self.fc1 = BinaryLinear(weights, threshold=np.tile(tensors["fc1.threshold"], bands), scale=scales[1],
                                planes=planes, **_epilogue(tensors, "fc1"))
        shared = [(PackedWeights(tensors[f"blocks.{i}.expand.weight"], self._width, self._hidden, self.kernels),
                   PackedWeights(tensors[f"blocks.{i}.project.weight"], self._hidden, self._width, self.kernels),
                   _memory_signs(tensors[f"blocks.{i}.memory.weight"], config["taps"], self._width))
                  for i in range(config["blocks"])]
        self._layers = {"conv1": self.conv1, "conv2": self.conv2, "fc1": self.fc1}
        self._run_blocks = {name: tuple(blocks) for name, blocks in config["levels"].items()}
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
        level.count, level.first = <int32_t>len(blocks), self._blocks
        self._blocks += level.count
        for position, i in enumerate(blocks):
            expand_weights, project_weights, signs = shared[i]
            project_scale = scales[4 + 3 * i]
            memory = Memory(signs, threshold=tensors[f"blocks.{i}.memory.threshold"], scale=scales[2 + 3 * i],
                            planes=planes, causal=self.causal, kernels=self.kernels,
                            **_epilogue(tensors, f"blocks.{i}.memory", name))
            expand = BinaryLinear(expand_weights, threshold=tensors[f"blocks.{i}.expand.threshold"],
                                  scale=scales[3 + 3 * i], planes=planes,
                                  **_epilogue(tensors, f"blocks.{i}.expand", name))
            project = BinaryLinear(project_weights, threshold=0.0, scale=project_scale, planes=planes,
                                   **_epilogue(tensors, f"blocks.{i}.project", name))
            stairs = Staircase(**_epilogue(tensors, f"blocks.{i}.expand", name), threshold=0.0, scale=project_scale,
                               planes=planes, largest=(3 if planes == 2 else 1) * self._width)
            level.blocks[position] = Block(memory=memory.layer, expand=expand.layer, project=project.layer,
                                           stairs=stairs.stairs)
            self._kept.append(stairs)
            self._layers |= {f"blocks.{i}.memory.{name}": memory, f"blocks.{i}.expand.{name}": expand,
                             f"blocks.{i}.project.{name}": project}
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

    def __reduce__(self):
        raise no_copy(self, "share it, or copy its Model")

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
        if not isinstance(thin, str) or thin not in (*self.levels, "auto"):
            raise ThinError(f"thin is {shown(thin)}: this model has {', '.join(self.levels)}, auto")
        if thin == "auto":
            return AUTO
        return self.levels.index(thin)

    def run(self, features, thin):
        """Scores of int8 features (windows, frames, bins): float32 (windows, classes), each row sums to 1.

        Raises
        ------
        ThinError : no such level. OptionError : features of another type or shape.
        """
        cdef int32_t level = self.level_index(thin)
        features = np.ascontiguousarray(features)
        if features.ndim != 3 or features.dtype != INT8 or features.shape[1:] != (self.frames, self.bins):
            raise OptionError(f"expected int8 features of shape (windows, {self.frames}, {self.bins}), "
                              f"got {features.dtype} {features.shape}")
        scores = np.empty((len(features), self.classes), FLOAT32)
        cdef tuple memory = self._spare.pop() if self._spare else (self.workspace(), self.kept())
        cdef Workspace work = memory[0]
        cdef Kept kept = memory[1]
        cdef Py_buffer windows, out
        cdef const int8_t *q
        cdef float *row
        PyObject_GetBuffer(features, &windows, PyBUF_SIMPLE)
        PyObject_GetBuffer(scores, &out, PyBUF_WRITABLE)
        q, row = <const int8_t *>windows.buf, <float *>out.buf
        with nogil:
            for _ in range(windows.len // (self.frames * self.bins)):
                self.infer(level, q, &kept.past, &work.buffers, row)
                q += self.frames * self.bins
                row += self.classes
        PyBuffer_Release(&windows)
        PyBuffer_Release(&out)
        self._spare.append(memory)
        return scores

    cdef Workspace workspace(self):
        cdef Buffers b
        cdef const ConvLayer *conv = &self.conv2.layer
        cdef int32_t steps = 1 if self.causal else self._steps, rows = self._code_rows - 2 * conv.pad_rows
        cdef int32_t block_rows = AT_ONCE if self.causal else self._steps
        cdef ScratchSize size = larger(conv_scratch(conv, steps), linear_scratch(&self.fc1.layer, steps))
        cdef Block *block
        for index in range(len(self.levels)):
            for position in range(self._levels[index].count):
                block = &self._levels[index].blocks[position]
                size = larger(size, memory_scratch(&block.memory, block_rows))
                size = larger(size, linear_scratch(&block.expand, block_rows))
                size = larger(size, linear_scratch(&block.project, block_rows))
        # The rows of the first convolution are computed together, those of the second are closed up behind their codes.
        cdef int32_t pixels = rows * conv.width, closed = steps * self._stem_row()
        size.q = steps * self._width
        size = larger(size, ScratchSize(q=0, codes=pixels * kws_code_bytes(conv.channels),
                                        sums=pixels * kws_padded_outputs(conv.channels)))
        cdef size_t image = _rounded(sizeof(int16_t) * ((STRIDE * (rows - 1) + KERNEL) * self.conv1.layer.conv.width + 1))
        cdef size_t x = _rounded(sizeof(float) * block_rows * self._width), logits = _rounded(sizeof(float) * self.classes)
        cdef size_t ends = _rounded(0 if self.causal else self._steps * self._width)
        cdef size_t sums = _rounded(sizeof(int32_t) * self.classes), q = _rounded(size.q), codes = _rounded(size.codes)
        cdef size_t total = image + 2 * x + logits + ends + sums + q + codes + _rounded(closed) + _rounded(2 * size.sums)
        work = Workspace()
        work._memory, work.size = aligned_alloc(64, total), total
        if work._memory == NULL:
            raise MemoryError()
        cdef char *cursor = <char *>work._memory
        b.image = <int16_t *>_take(&cursor, image)
        b.x = <float *>_take(&cursor, x)
        b.m = <float *>_take(&cursor, x)
        b.logits = <float *>_take(&cursor, logits)
        b.classifier_q = <int8_t *>_take(&cursor, ends)
        b.classifier_sums = <int32_t *>_take(&cursor, sums)
        b.scratch.q = <int8_t *>_take(&cursor, q)
        b.scratch.codes = <uint8_t *>_take(&cursor, codes)
        b.closed = <uint8_t *>_take(&cursor, _rounded(closed))
        b.scratch.sums = <int16_t *>cursor
        work.buffers = b
        return work

    cdef int32_t _stem_row(self) noexcept nogil:
        """Bytes of one step of the fully connected layer's input."""
        return kws_code_bytes(self.fc1.layer.product.inputs)

    cdef Kept kept(self):
        """A new one, for one stream."""
        cdef Kept kept = Kept()
        cdef size_t x = _rounded(sizeof(float) * self._steps * self._width), columns = 0, ends = 0
        cdef size_t codes = _rounded(self._code_rows * self._code_row)
        if self.causal:
            columns, ends = _rounded(self._blocks * self._column_bytes()), self._count * self._steps * self._width
        kept.size = codes + (x if self.causal else 2 * x) + columns + _rounded(ends)
        kept._memory = aligned_alloc(64, kept.size)
        if kept._memory == NULL:
            raise MemoryError()
        cdef char *cursor = <char *>kept._memory
        # Nothing ever writes into the padding of the codes.
        memset(cursor, 0, codes)
        kept.past.codes = <uint8_t *>cursor
        kept.past.x[0] = <float *>(cursor + codes)
        kept.past.x[1] = <float *>(cursor + codes + x)
        kept.past.columns = <int8_t *>(cursor + codes + x)
        kept.past.ends = kept.past.columns + columns
        kept.past.decisions = 0
        return kept

    cdef int32_t infer(self, int32_t level, const int8_t *features, Past *past, Buffers *b, float *scores) noexcept nogil:
        """Scores of a window without a past; the level that gave them, which is `level` but for AUTO."""
        past.decisions = 0
        return self.infer_next(level, features, self.stride, past, b, scores)

    cdef int32_t infer_next(self, int32_t level, const int8_t *features, int32_t stride, Past *past, Buffers *b,
                            float *scores) noexcept nogil:
        """The same, for a window `stride` frames after that of the last call with this past."""
        if self.causal:
            self._take_steps(features, stride, past, b)
        else:
            self._take_window(features, stride, past, b)
        past.decisions += 1
        if level != AUTO:
            self._run_level(level, past, b, scores)
            return level
        for level in range(self._count - 1, 0, -1):
            if self._levels[level].clear == LEFT_OUT:
                continue
            self._run_level(level, past, b, scores)
            if self._clearness(scores) >= self._levels[level].clear:
                return level
        self._run_level(0, past, b, scores)
        return 0

    cdef float _clearness(self, const float *scores) noexcept nogil:
        """How sure it is that no keyword is heard: one that a thin level hears, a deeper one has to confirm. They are rare,
        and of the false alarms of a thin level this leaves few."""
        cdef float best = 0.0, others = 0.0
        cdef int32_t i
        for i in range(self.classes):
            best = max(best, scores[i])
            if self._other[i]:
                others += scores[i]
        return others if self._others else best

    cdef void _take_window(self, const int8_t *features, int32_t stride, Past *past, Buffers *b) noexcept nogil:
        """Everything before the blocks, from the rows of earlier decisions where those did not touch an edge.

        An output row of the first convolution sees 5 frames. Those of rows low to high lie within the window, and with
        the window `shift` rows later the same row is another: old row r + shift is new row r. The rows before low and
        after high - shift see padding, or frames that are new. The second convolution sees 5 of these rows, of which
        low2 to high2 make its inner ones; it moves by half as many rows, so where shift is odd its old rows are those
        of the decision before the last. What the fully connected layer makes of them moves with them.
        """
        cdef const ConvLayer *conv = &self.conv2.layer
        cdef int32_t shift = stride // STRIDE, code_row = self._code_row, x_row = self._width
        cdef int32_t low = (PAD + STRIDE - 1) // STRIDE, high = (self.frames + PAD - KERNEL) // STRIDE
        cdef int32_t low2 = (low + PAD + STRIDE - 1) // STRIDE, high2 = (high + PAD - KERNEL + 1) // STRIDE
        cdef int32_t before = 1 if shift % STRIDE == 0 else 2, shift2 = before * shift // STRIDE
        cdef int32_t newest = <int32_t>(past.decisions % 2), source = <int32_t>((past.decisions + before) % 2)
        cdef float *x = past.x[newest]
        cdef uint8_t *codes = past.codes + PAD * code_row
        if stride % STRIDE or past.decisions < 1 or high - shift < low:
            self._first_rows(features, 0, conv.height, past, b)
        else:
            memmove(codes + low * code_row, codes + (low + shift) * code_row, (high - shift - low + 1) * code_row)
            self._first_rows(features, 0, low, past, b)
            self._first_rows(features, high - shift + 1, conv.height - (high - shift + 1), past, b)
        if stride % STRIDE or past.decisions < before or high2 - shift2 < low2:
            self._stem_rows(0, self._steps, past, x, b)
        else:
            memmove(x + low2 * x_row, past.x[source] + (low2 + shift2) * x_row,
                    sizeof(float) * (high2 - shift2 - low2 + 1) * x_row)
            self._stem_rows(0, low2, past, x, b)
            self._stem_rows(high2 - shift2 + 1, self._steps - (high2 - shift2 + 1), past, x, b)

    cdef void _first_rows(self, const int8_t *features, int32_t first, int32_t rows, Past *past, Buffers *b) noexcept nogil:
        """Rows of the first convolution, as codes."""
        cdef const kws_kernels *k = self.kernels.table
        cdef const ConvLayer *conv = &self.conv2.layer
        input_rows(k, &self.conv1.layer, features, first, rows, b.image, b.scratch.sums)
        k.staircase(&self.first_stairs.stairs, b.scratch.sums, rows * conv.width, conv.channels, b.scratch.codes)
        conv_store(conv, b.scratch.codes, first, rows, past.codes)

    cdef void _stem_rows(self, int32_t first, int32_t rows, const Past *past, float *x, Buffers *b) noexcept nogil:
        """Rows of the second convolution, and of x what the fully connected layer makes of them."""
        cdef const kws_kernels *k = self.kernels.table
        cdef const ConvLayer *conv = &self.conv2.layer
        cdef int32_t bands = conv.out_width, outputs = conv.linear.product.outputs, row_bytes = self._stem_row(), i
        conv_rows(k, conv, past.codes, first, rows, b.scratch)
        k.staircase(&self.second_stairs.stairs, b.scratch.sums, rows * bands, outputs, b.scratch.codes)
        memset(b.closed, 0, rows * row_bytes)
        for i in range(rows):
            close_up(b.scratch.codes + i * bands * kws_code_bytes(outputs), bands, outputs, b.closed + i * row_bytes)
        k.bgemm(&self.fc1.layer.product, b.closed, rows, b.scratch.sums)
        k.affine(&self.fc1.layer.epilogue, b.scratch.sums, NULL, rows, self._width, x + first * self._width)

    cdef void _take_steps(self, const int8_t *features, int32_t stride, Past *past, Buffers *b) noexcept nogil:
        """The steps of a window that the last one did not have; all of them, and nothing before, where there is a gap."""
        cdef int32_t fresh = stride // STEP, level, i
        if past.decisions == 0 or stride % STEP or fresh > self._steps:
            fresh, past.steps = self._steps, 0
            for level in range(self._count):
                self._forget(level, past)
                past.taken[level] = 0
        for i in range(self._steps - fresh, self._steps):
            self._take_step(features + STEP * i * self.bins, past, b)

    cdef void _take_step(self, const int8_t *features, Past *past, Buffers *b) noexcept nogil:
        """A step of all that is before the blocks, from its 13 frames.

        It sees KERNEL output rows of the first convolution, of which the step before has left it all but STRIDE."""
        cdef int32_t width = self._width, last = self._steps - 1, held = KERNEL - STRIDE if past.steps else 0
        memmove(past.codes, past.codes + STRIDE * self._code_row, held * self._code_row)
        self._first_rows(features, held, KERNEL - held, past, b)
        memmove(past.x[0], past.x[0] + width, sizeof(float) * last * width)
        self._stem_rows(0, 1, past, past.x[0] + last * width, b)
        past.steps += 1

    cdef void _forget(self, int32_t level, Past *past) noexcept nogil:
        """Nothing is in the level's memories."""
        cdef const Level *chosen = &self._levels[level]
        memset(past.columns + chosen.first * self._column_bytes(), 0, chosen.count * self._column_bytes())

    cdef void _catch_up(self, int32_t level, Past *past, Buffers *b) noexcept nogil:
        """Bring a level up to the newest step. One that has not run for longer than a window begins with the window."""
        cdef int64_t missing = past.steps - past.taken[level]
        cdef int32_t rows
        if missing > self._steps:
            self._forget(level, past)
            missing = self._steps
        while missing:
            rows = <int32_t>min(AT_ONCE, missing)
            self._take_columns(level, past.x[0] + (self._steps - missing) * self._width, rows, past, b)
            missing -= rows
        past.taken[level] = past.steps

    cdef void _take_columns(self, int32_t level, const float *x, int32_t rows, Past *past, Buffers *b) noexcept nogil:
        """So many steps, AT_ONCE at most, through a level's blocks, into the inputs of its classifier."""
        cdef const kws_kernels *k = self.kernels.table
        cdef const Level *chosen = &self._levels[level]
        cdef int32_t width = self._width, before = (self._taps - 1) * width, old = (self._steps - rows) * width, i, row
        cdef int8_t *columns = past.columns + chosen.first * self._column_bytes()
        cdef int8_t *ends = past.ends + level * self._steps * width
        if chosen.count:
            k.levels(&chosen.blocks[0].memory.quantizer, x, rows, width, columns + before)
        for i in range(chosen.count):
            for row in range(rows):
                k.memory(chosen.blocks[i].memory.weights, columns + row * width, self._taps, width,
                         b.scratch.sums + row * kws_padded_outputs(width))
            self._transform(k, &chosen.blocks[i], rows, x, _next_quantizer(chosen, i),
                            columns + self._column_bytes() + before, b)
            memmove(columns, columns + rows * width, before)
            columns += self._column_bytes()
            x = b.x
        memmove(ends, ends + rows * width, old)
        k.to_int8(x, rows * width, chosen.classifier.inverse_scale, ends + old)

    cdef int32_t _column_bytes(self) noexcept nogil:
        """What the memory of one block keeps, and has room for."""
        return (self._taps - 1 + AT_ONCE) * self._width

    cdef void _run_level(self, int32_t level, Past *past, Buffers *b, float *scores) noexcept nogil:
        cdef const kws_kernels *k = self.kernels.table
        cdef const Level *chosen = &self._levels[level]
        cdef const float *x
        cdef int32_t i
        if self.causal:
            self._catch_up(level, past, b)
            classifier_sums(k, &chosen.classifier, past.ends + level * self._steps * self._width, b.classifier_sums,
                            b.logits)
        else:
            x = past.x[(past.decisions + 1) % 2]
            if chosen.count:
                k.levels(&chosen.blocks[0].memory.quantizer, x, self._steps, self._width, b.scratch.q)
            for i in range(chosen.count):
                memory_sums(k, &chosen.blocks[i].memory, b.scratch.q, self._steps, b.scratch.sums)
                self._transform(k, &chosen.blocks[i], self._steps, x, _next_quantizer(chosen, i), b.scratch.q, b)
                x = b.x
            classifier_run(k, &chosen.classifier, x, b.classifier_q, b.classifier_sums, b.logits)
        softmax(b.logits, self.classes, scores)

    cdef inline void _transform(self, const kws_kernels *k, const Block *block, int32_t rows, const float *x,
                                const kws_quantizer *next_quantizer, int8_t *q, Buffers *b) noexcept nogil:
        """A block from the sums of its memory on: m = memory + x, b.x = project(expand(m)) + m, and of that q, what the
        next block's memory takes, where there is one."""
        cdef Scratch s = b.scratch
        k.affine_codes(&block.memory.epilogue, &block.expand.quantizer, s.sums, x, rows, self._width, b.m, s.codes)
        self._expand(k, block, rows, s)
        self._project(k, block, rows, next_quantizer, q, b)

    cdef inline void _expand(self, const kws_kernels *k, const Block *block, int32_t rows, Scratch s) noexcept nogil:
        k.bgemm(&block.expand.product, s.codes, rows, s.sums)
        k.staircase(&block.stairs, s.sums, rows, self._hidden, s.codes)

    cdef inline void _project(self, const kws_kernels *k, const Block *block, int32_t rows,
                              const kws_quantizer *next_quantizer, int8_t *q, Buffers *b) noexcept nogil:
        cdef Scratch s = b.scratch
        k.bgemm(&block.project.product, s.codes, rows, s.sums)
        if next_quantizer == NULL:
            k.affine(&block.project.epilogue, s.sums, b.m, rows, self._width, b.x)
        else:
            k.affine_levels(&block.project.epilogue, next_quantizer, s.sums, b.m, rows, self._width, b.x, q)

    def layer_times(self, features, thin, repeats):
        """Where the time of a decision goes: {layer: microseconds}, each the mean of `repeats` runs of that layer alone.

        features, int8 (frames, bins) : a window. Of a causal network, what one new step takes.

        Raises
        ------
        ThinError : no such level, or "auto". OptionError : features of another shape, no repeats.
        """
        cdef int count = whole(repeats, "repeats", 1, 1_000_000_000)
        cdef int32_t index = self.level_index(thin)
        if index == AUTO:
            raise ThinError("layers are timed at one thinning level, not at auto")
        cdef const int8_t[:, ::1] q = np.ascontiguousarray(features, dtype=np.int8)
        if q.shape[0] != self.frames or q.shape[1] != self.bins:
            raise OptionError(f"expected features of shape ({self.frames}, {self.bins})")
        cdef Workspace work = self.workspace()
        cdef Kept kept = self.kept()
        cdef Buffers *b = &work.buffers
        cdef Past *past = &kept.past
        cdef const kws_kernels *k = self.kernels.table
        cdef Level *level = &self._levels[index]
        cdef Block *block
        cdef int32_t rows = 1 if self.causal else self._steps, first = KERNEL - STRIDE if self.causal else 0, i
        cdef int32_t first_rows = STRIDE if self.causal else self.conv2.layer.height
        cdef float[::1] scores = np.empty(self.classes, np.float32)
        cdef int8_t *column = past.columns if self.causal else b.scratch.q
        cdef int64_t start
        self.infer(index, &q[0, 0], past, b, &scores[0])
        times = {}
        start = _nanoseconds()
        for _ in range(count):
            self._first_rows(&q[0, 0], first, first_rows, past, b)
        times["conv1"] = _nanoseconds() - start
        start = _nanoseconds()
        for _ in range(count):
            self._stem_rows(0, rows, past, past.x[0], b)
        times["conv2, fc1"] = _nanoseconds() - start
        for i in range(level.count):
            block = &level.blocks[i]
            name = f"blocks.{self._run_blocks[thin][i]}"
            start = _nanoseconds()
            for _ in range(count):
                if self.causal:
                    k.memory(block.memory.weights, column, self._taps, self._width, b.scratch.sums)
                else:
                    memory_sums(k, &block.memory, column, rows, b.scratch.sums)
                k.affine_codes(&block.memory.epilogue, &block.expand.quantizer, b.scratch.sums, past.x[0], rows,
                               self._width, b.m, b.scratch.codes)
            times[f"{name}.memory"] = _nanoseconds() - start
            start = _nanoseconds()
            for _ in range(count):
                self._expand(k, block, rows, b.scratch)
            times[f"{name}.expand"] = _nanoseconds() - start
            start = _nanoseconds()
            for _ in range(count):
                self._project(k, block, rows, _next_quantizer(level, i), column, b)
            times[f"{name}.project"] = _nanoseconds() - start
        start = _nanoseconds()
        for _ in range(count):
            if self.causal:
                k.to_int8(b.x, self._width, level.classifier.inverse_scale, past.ends)
                classifier_sums(k, &level.classifier, past.ends, b.classifier_sums, b.logits)
            else:
                classifier_run(k, &level.classifier, past.x[0] if level.count == 0 else b.x, b.classifier_q,
                               b.classifier_sums, b.logits)
            softmax(b.logits, self.classes, &scores[0])
        times["classifier"] = _nanoseconds() - start
        return {name: took / count / 1000 for name, took in times.items()}


cdef int64_t _nanoseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return 1000000000 * <int64_t>now.tv_sec + now.tv_nsec


cdef inline const kws_quantizer *_next_quantizer(const Level *level, int32_t i) noexcept nogil:
    """Of the memory of the block after the i-th that a level runs; NULL after the last."""
    return &level.blocks[i + 1].memory.quantizer if i + 1 < level.count else NULL


def _epilogue(tensors, layer, level=None):
    """a, b and slope of a layer (of one thinning level) as BinaryLinear takes them."""
    a, b = tensors[f"{layer}.affine" if level is None else f"{layer}.affine.{level}"].astype(np.float32)
    slope = np.broadcast_to(tensors[f"{layer}.slope"].astype(np.float32), a.shape)
    return {"a": a, "b": b, "slope": slope}


def _memory_signs(bits, taps, channels):
    """int8 (channels, taps) of +1 and -1 from the file's bits, tap after tap."""
    ones = np.unpackbits(bits, count=taps * channels, bitorder="little").reshape(taps, channels)
    return (2 * ones.astype(np.int8) - 1).T
