# cython: cdivision=True
"""The network of csrc/network as a class: makes its layers from a model's tensors, and runs it on features.

The object is immutable. A decision works in a Source and in nothing else, so one network serves any number of threads.
Network.run keeps the Sources that it made, one for each thread that ran at the same time.
"""
from cpython.buffer cimport PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport calloc, free

from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from kwsrt.layers cimport KWS_LARGEST_TOTAL, Classifier, Memory, PackedWeights

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

from collections.abc import Mapping

import numpy as np

from kwsrt.arguments import shown, whole
from kwsrt.errors import OptionError, ThinError, no_copy

INT8, FLOAT32 = np.dtype(np.int8), np.dtype(np.float32)

cdef enum:
    LARGEST_FEATURE = 128
# The score of clearness from which on "auto" runs no deeper level, where a model does not say.
CLEAR = 0.85


cdef class Source:
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
        cdef kws_network *network = &self.network
        self.kernels = kernels or Kernels()
        self.frames, self.bins, self.classes = config["frames"], config["bins"], classes
        self.causal = config.get("causal", False)
        self.stride = KWS_STEP if self.causal else KWS_CONV_STRIDE
        self.levels = tuple(config["levels"])
        if len(self.levels) > KWS_MOST_LEVELS:
            raise OptionError(f"a network has at most {KWS_MOST_LEVELS} thinning levels, got {len(self.levels)}")
        network.kernels, network.causal, network.level_count = self.kernels.table, self.causal, <int32_t>len(self.levels)
        network.frames, network.bins, network.classes = self.frames, self.bins, classes
        for index, level in enumerate(self.levels):
            network.levels[index].clear = clear.get(level, KWS_LEFT_OUT) if isinstance(clear, Mapping) else clear
        other = np.zeros(classes, np.int8)
        other[list(others)] = 1
        cdef const int8_t[::1] is_other = other
        network.other = &is_other[0]
        self._kept, self._spare = [tensors, other], []
        self._add_stem(config, tensors)
        planes, width = config["planes"], config["width"]
        shared = [(PackedWeights(tensors[f"blocks.{i}.expand.weight"], width, config["hidden"], self.kernels),
                   PackedWeights(tensors[f"blocks.{i}.project.weight"], config["hidden"], width, self.kernels),
                   _memory_signs(tensors[f"blocks.{i}.memory.weight"], config["taps"], width))
                  for i in range(config["blocks"])]
        self._run_blocks = {name: tuple(blocks) for name, blocks in config["levels"].items()}
        for index, (name, blocks) in enumerate(config["levels"].items()):
            self._add_level(index, name, blocks, shared, tensors, planes)
        kws_network_init(network)

    def _add_stem(self, config, tensors):
        """What comes before the blocks."""
        cdef kws_network *network = &self.network
        cdef InputConv2d conv1
        cdef BinaryConv2d conv2
        cdef BinaryLinear fc1
        cdef Staircase first, second
        planes, scales = config["planes"], tensors["scales"]
        pad = (0 if self.causal else KWS_CONV_PAD, KWS_CONV_PAD)
        conv1 = InputConv2d(tensors["conv1.weight"], height=self.frames, width=self.bins, stride=KWS_CONV_STRIDE,
                            pad=pad, kernels=self.kernels, **_epilogue(tensors, "conv1"))
        weights = PackedWeights(tensors["conv2.weight"], KWS_CONV_KERNEL ** 2 * config["conv1"], config["conv2"],
                                self.kernels)
        conv2 = BinaryConv2d(
            weights, height=conv1.layer.conv.out_height, width=conv1.layer.conv.out_width, channels=config["conv1"],
            kernel=KWS_CONV_KERNEL, stride=KWS_CONV_STRIDE, pad=pad, threshold=tensors["conv2.threshold"],
            scale=scales[0], planes=planes, **_epilogue(tensors, "conv2"))
        first = Staircase(**_epilogue(tensors, "conv1"), threshold=tensors["conv2.threshold"], scale=scales[0],
                          planes=planes, largest=LARGEST_FEATURE * KWS_LARGEST_TOTAL)
        second = Staircase(**_epilogue(tensors, "conv2"), threshold=tensors["fc1.threshold"], scale=scales[1],
                           planes=planes, largest=(3 if planes == 2 else 1) * weights.inputs)
        bands = conv2.layer.out_width
        weights = PackedWeights(tensors["fc1.weight"], bands * config["conv2"], config["width"], self.kernels)
        fc1 = BinaryLinear(weights, threshold=np.tile(tensors["fc1.threshold"], bands), scale=scales[1], planes=planes,
                           **_epilogue(tensors, "fc1"))
        network.conv1, network.conv2, network.fc1 = conv1.layer, conv2.layer, fc1.layer
        network.first_stairs, network.second_stairs = first.stairs, second.stairs
        self._kept += [first, second]
        self._layers = {"conv1": conv1, "conv2": conv2, "fc1": fc1}

    def _add_level(self, int index, name, blocks, shared, tensors, int planes):
        cdef kws_level *level = &self.network.levels[index]
        cdef Memory memory
        cdef BinaryLinear expand, project
        cdef Staircase stairs
        cdef Classifier classifier
        scales = tensors["scales"]
        level.blocks = <kws_block *>calloc(max(1, len(blocks)), sizeof(kws_block))
        if level.blocks == NULL:
            raise MemoryError()
        level.count = <int32_t>len(blocks)
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
                               planes=planes, largest=(3 if planes == 2 else 1) * memory.layer.channels)
            level.blocks[position] = kws_block(memory=memory.layer, expand=expand.layer, project=project.layer,
                                               stairs=stairs.stairs)
            self._kept.append(stairs)
            self._layers |= {f"blocks.{i}.memory.{name}": memory, f"blocks.{i}.expand.{name}": expand,
                             f"blocks.{i}.project.{name}": project}
        a, b = tensors[f"classifier.affine.{name}"]
        classifier = Classifier(tensors["classifier.weight"], inverse_scale=scales[-1], a=a, b=b, kernels=self.kernels)
        inputs = self.network.conv2.out_height * self.network.fc1.product.outputs
        if classifier.layer.inputs != inputs or classifier.layer.outputs != self.classes:
            raise OptionError("classifier weights do not fit the network")
        level.classifier = classifier.layer
        self._layers[f"classifier.{name}"] = classifier

    def __dealloc__(self):
        for i in range(KWS_MOST_LEVELS):
            free(self.network.levels[i].blocks)

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
            return KWS_AUTO
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
        cdef Source source = self._spare.pop() if self._spare else self.source()
        cdef Py_buffer windows, out
        cdef const int8_t *q
        cdef float *row
        PyObject_GetBuffer(features, &windows, PyBUF_SIMPLE)
        PyObject_GetBuffer(scores, &out, PyBUF_WRITABLE)
        q, row = <const int8_t *>windows.buf, <float *>out.buf
        with nogil:
            for _ in range(windows.len // (self.frames * self.bins)):
                kws_past_reset(&source.past)
                kws_network_decide(&self.network, level, q, self.stride, &source.past, &source.buffers, row)
                q += self.frames * self.bins
                row += self.classes
        PyBuffer_Release(&windows)
        PyBuffer_Release(&out)
        self._spare.append(source)
        return scores

    cdef Source source(self):
        """Memory for one source of decisions, which have no past yet."""
        cdef Source source = Source()
        cdef size_t past = kws_past_size(&self.network), buffers = kws_buffers_size(&self.network)
        source._memory, source.size = aligned_alloc(64, past + buffers), past + buffers
        if source._memory == NULL:
            raise MemoryError()
        kws_past_init(&source.past, &self.network, source._memory)
        kws_buffers_init(&source.buffers, &self.network, <char *>source._memory + past)
        return source

    def layer_times(self, features, thin, repeats):
        """Where the time of a decision goes: {layer: microseconds}, each the mean of `repeats` runs of that layer alone.

        features, int8 (frames, bins) : a window. Of a causal network, what one new step takes.

        Raises
        ------
        ThinError : no such level, or "auto". OptionError : features of another shape, no repeats.
        """
        cdef int count = whole(repeats, "repeats", 1, 1_000_000_000)
        cdef int32_t level = self.level_index(thin), part
        if level == KWS_AUTO:
            raise ThinError("layers are timed at one thinning level, not at auto")
        cdef const int8_t[:, ::1] q = np.ascontiguousarray(features, dtype=np.int8)
        if q.shape[0] != self.frames or q.shape[1] != self.bins:
            raise OptionError(f"expected features of shape ({self.frames}, {self.bins})")
        cdef Source source = self.source()
        cdef float[::1] scores = np.empty(self.classes, np.float32)
        cdef int64_t start
        kws_network_decide(&self.network, level, &q[0, 0], self.stride, &source.past, &source.buffers, &scores[0])
        blocks = [f"blocks.{i}.{layer}" for i in self._run_blocks[thin] for layer in ("memory", "expand", "project")]
        times = {}
        for part, name in enumerate(["conv1", "conv2, fc1", *blocks, "classifier"]):
            start = _nanoseconds()
            for _ in range(count):
                kws_network_run_part(&self.network, level, part, &q[0, 0], &source.past, &source.buffers, &scores[0])
            times[name] = <double>(_nanoseconds() - start) / count / 1000
        return times


cdef int64_t _nanoseconds() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return 1000000000 * <int64_t>now.tv_sec + now.tv_nsec


def _epilogue(tensors, layer, level=None):
    """a, b and slope of a layer (of one thinning level) as BinaryLinear takes them."""
    a, b = tensors[f"{layer}.affine" if level is None else f"{layer}.affine.{level}"].astype(np.float32)
    slope = np.broadcast_to(tensors[f"{layer}.slope"].astype(np.float32), a.shape)
    return {"a": a, "b": b, "slope": slope}


def _memory_signs(bits, taps, channels):
    """int8 (channels, taps) of +1 and -1 from the file's bits, tap after tap."""
    ones = np.unpackbits(bits, count=taps * channels, bitorder="little").reshape(taps, channels)
    return (2 * ones.astype(np.int8) - 1).T
