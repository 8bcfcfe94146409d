# cython: cdivision=True
"""Front end: log-mel or MFCC frames from samples, whole recordings and streams alike, over csrc/frontend.

`FrontEnd` holds the tables of one set of options and is immutable; `OnlineFrontEnd` holds one stream's last samples.
"""
from cpython.buffer cimport PyBUF_STRIDES, PyBuffer_Release, PyObject_GetBuffer
from libc.stdlib cimport free

from kwsrt.guard cimport FREE, claim

import functools
import os

import numpy as np

from kwsrt.arguments import LARGEST_INT, number, shown, whole
from kwsrt.errors import AudioError, OptionError, no_copy

cdef extern from "<stdlib.h>" nogil:
    void *aligned_alloc(size_t alignment, size_t size)

# Far above any real signal, far below int16 values that were passed as floats by mistake.
cdef float LOUDEST = 8.0


ARRAY, INT16, FLOAT32 = np.ndarray, np.dtype(np.int16), np.dtype(np.float32)
BYTES = ("B", "b", "c")  # formats of a buffer


cdef void *allocate(size_t size) except NULL:
    cdef void *memory = aligned_alloc(64, (size + 63) // 64 * 64)
    if memory == NULL:
        raise MemoryError()
    return memory


def as_array(samples):
    """Samples as an array, of which nothing else is checked; memory that is bytes holds little-endian int16.

    Such memory is bytes, bytearray, a memoryview or array.array of bytes, or a buffer of cffi, but no NumPy array.

    Bytes may come as bytes, bytearray, memoryview, an array.array, mmap or cffi buffer of bytes, or whatever else has
    Python's buffer interface; but an array of NumPy's is never taken for bytes.

    Raises
    ------
    AudioError : bytes that end within a sample, or what NumPy makes no array of.
    """
    if isinstance(samples, ARRAY):
        return np.asarray(samples)
    try:
        view = memoryview(samples)
    except (TypeError, ValueError, BufferError):  # no buffer, or one that was released
        view = None
    if view is not None and view.ndim == 1 and view.format.lstrip("@=<>!") in BYTES:
        if view.nbytes % 2:
            raise AudioError(f"samples are {view.nbytes} bytes, which is no whole number of 16-bit samples")
        return np.frombuffer(view if view.c_contiguous else view.tobytes(), "<i2").astype(np.int16, copy=False)
    try:
        return np.asarray(samples)
    except Exception as error:  # lists of unequal lengths, and what the array interface of a foreign object raises
        raise AudioError(f"samples are {shown(samples)}: no array can be made of them ({error})") from None


def check_samples(samples):
    """The samples as an aligned, C-contiguous one-dimensional int16 or float32 array; nothing is scaled.

    Parameters
    ----------
    samples : array of shape (n,), int16, or float32 or float64 within [-1, 1], of any byte order; or bytes of
        little-endian int16, see as_array.

    Raises
    ------
    AudioError : other dtypes or shapes, half a sample, NaN or infinity, floats whose size says that they are int16
        values.
    """
    array = samples if type(samples) is ARRAY else as_array(samples)
    if array.ndim != 1:
        raise AudioError(f"expected one-dimensional samples, got shape {array.shape}; mix channels down first")
    if not array.dtype.isnative:
        array = array.astype(array.dtype.newbyteorder("="))
    if array.dtype == INT16:
        return np.require(array, requirements="CA")
    if array.dtype not in (np.float32, np.float64):
        raise AudioError(f"samples are {array.dtype}; pass int16, or float32 within [-1, 1]")
    with np.errstate(over="ignore"):  # a float64 beyond float32 becomes infinite, and is refused as such
        array = np.require(array, np.float32, "CA")
    cdef const float[::1] view = array
    cdef kws_status status = KWS_OK
    if view.shape[0]:
        status = kws_check_samples(&view[0], <size_t>view.shape[0], LOUDEST)
    if status == KWS_ERROR_NOT_FINITE:
        raise AudioError("samples hold NaN or infinite values")
    if status == KWS_ERROR_TOO_LOUD:
        raise AudioError(f"float samples reach {np.abs(view).max():.6g}: they must lie within [-1, 1] "
                         "(int16 values stored as floats? divide by 32768, or pass int16)")
    return array


cdef bint open_samples(samples, Py_buffer *opened) except -1:
    """The memory of samples that check_samples has no fault to find with, or of the array that it makes of them.

    Whether they are int16, not float32. Raises what check_samples does; else the caller closes the buffer."""
    if type(samples) is ARRAY and (samples.dtype is INT16 or samples.dtype is FLOAT32):
        PyObject_GetBuffer(samples, opened, PyBUF_STRIDES)
        if _plain(opened):
            return opened.itemsize == 2
        PyBuffer_Release(opened)
    samples = check_samples(samples)
    PyObject_GetBuffer(samples, opened, PyBUF_STRIDES)
    return opened.itemsize == 2


cdef bint _plain(const Py_buffer *opened):
    """Whether it is one-dimensional, in one piece, aligned, and, if float32, within its range."""
    cdef bint simple = (opened.ndim == 1 and (opened.shape[0] < 2 or opened.strides[0] == opened.itemsize)
                        and <size_t>opened.buf % <size_t>opened.itemsize == 0)
    return simple and (opened.itemsize == 2 or opened.shape[0] == 0
                       or kws_check_samples(<const float *>opened.buf, <size_t>opened.shape[0], LOUDEST) == KWS_OK)


cdef class FrontEnd:
    """The front end that a model file declares: its options and tables. Immutable and safe to share between threads.

    Parameters
    ----------
    kind : "log-mel" or "mfcc".
    sample_rate : Hz.
    window, hop, n_fft : samples; n_fft is a power of two, at least `window`.
    bins : mel bands. n_mfcc : cepstral coefficients kept (mfcc only).
    fmin, fmax : Hz, edges of the lowest and highest triangle (HTK mel scale).
    floor : smallest band energy before the logarithm.
    offset, step : the int8 feature is clip(rint((feature - offset) / step), -127, 127).

    Raises
    ------
    OptionError : an option is unknown or outside its range, or a mel band is narrower than an FFT bin.
    """

    def __cinit__(self, *, kind="log-mel", sample_rate=16000, window=1024, hop=480, n_fft=1024, bins=32, n_mfcc=0,
                  fmin=20.0, fmax=7600.0, floor=1e-7, offset=-12.0, step=0.5):
        cdef kws_frontend_options options = kws_frontend_options(
            sample_rate=whole(sample_rate, "sample_rate", 1, LARGEST_INT),
            window=whole(window, "window", 1, LARGEST_INT), hop=whole(hop, "hop", 1, LARGEST_INT),
            n_fft=whole(n_fft, "n_fft", 1, LARGEST_INT), bins=whole(bins, "bins", 1, LARGEST_INT),
            n_mfcc=whole(n_mfcc, "n_mfcc", 0, LARGEST_INT),
            fmin=number(fmin, "fmin"), fmax=number(fmax, "fmax"), floor=number(floor, "floor"),
            offset=number(offset, "offset"), step=number(step, "step"))
        if not isinstance(kind, str) or kind not in ("log-mel", "mfcc") or (kind == "mfcc") != (options.n_mfcc > 0):
            raise OptionError(f"front end kind is {shown(kind)}, n_mfcc is {n_mfcc}: expected 'log-mel' with 0, or "
                              "'mfcc' with 1 or more")
        if kws_frontend_check(&options) != KWS_OK:
            raise OptionError("front-end options outside their range, or a mel band holds no FFT bin: "
                              f"{sample_rate=} {window=} {hop=} {n_fft=} {bins=} {n_mfcc=} {fmin=} {fmax=} {floor=} "
                              f"{offset=} {step=}")
        self._tables = allocate(kws_frontend_buffer_size(&options))
        kws_frontend_init(&self.plan, &options, os.environ.get("KWSRT_ISA") == "scalar", self._tables)

    def __dealloc__(self):
        free(self._tables)

    def __reduce__(self):
        return functools.partial(type(self), **self.options), ()

    @property
    def options(self):
        """The options as a dict that FrontEnd(**options) accepts."""
        cdef kws_frontend_options o = self.plan.options
        return {"kind": "mfcc" if o.n_mfcc else "log-mel", "sample_rate": o.sample_rate, "window": o.window,
                "hop": o.hop, "n_fft": o.n_fft, "bins": o.bins, "n_mfcc": o.n_mfcc, "fmin": o.fmin, "fmax": o.fmax,
                "floor": float(np.float32(o.floor)), "offset": float(o.offset), "step": float(o.step)}

    @property
    def sample_rate(self):
        """Samples a second that the front end expects."""
        return self.plan.options.sample_rate

    @property
    def window(self):
        """Samples in a frame."""
        return self.plan.options.window

    @property
    def hop(self):
        """Samples between the starts of two frames."""
        return self.plan.options.hop

    @property
    def width(self):
        """Values in a frame: the mel bands, or the cepstral coefficients."""
        return self.plan.width

    def features(self, samples):
        """Frames of a whole recording.

        Parameters
        ----------
        samples : (n,) int16 or float32 at `sample_rate`.

        Returns
        -------
        float32 (frames, width), frames = 1 + (n - window) // hop, or 0 where n < window; dB, or cepstra of dB.

        Raises
        ------
        AudioError : see check_samples.
        """
        return OnlineFrontEnd(self).accept(samples)

    def quantized(self, samples):
        """The frames of `features` as the int8 values that a network reads: int8 (frames, width)."""
        return self.quantize(self.features(samples))

    def quantize(self, features):
        """clip(rint((features - offset) / step), -127, 127) of float32 (frames, width), as int8 of the same shape.

        Raises
        ------
        OptionError : another shape, NaN or infinite features.
        """
        try:
            features = np.ascontiguousarray(features, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise OptionError(f"features are {shown(features)}: expected numbers ({error})") from None
        if features.ndim != 2 or features.shape[1] != self.plan.width or not np.isfinite(features).all():
            raise OptionError(f"expected finite features of shape (frames, {self.plan.width})")
        cdef const float[:, ::1] frames = features
        result = np.empty((frames.shape[0], frames.shape[1]), np.int8)
        cdef int8_t[:, ::1] q = result
        cdef Py_ssize_t i
        for i in range(frames.shape[0]):
            kws_frontend_quantize(&self.plan, &frames[i, 0], &q[i, 0])
        return result


cdef class OnlineFrontEnd:
    """One stream through a FrontEnd: accept samples in chunks of any length, get the frames that became ready.

    The frames are bit-identical to FrontEnd.features of the whole recording. Not for use by two threads at once.
    """

    def __cinit__(self, FrontEnd frontend not None):
        self.frontend = frontend
        self.size = kws_online_buffer_size(&frontend.plan)
        self._buffer = allocate(self.size)
        kws_online_init(&self.state, &frontend.plan, self._buffer)
        self._use = FREE

    def __dealloc__(self):
        free(self._buffer)

    def __reduce__(self):
        raise no_copy(self, "make a new one of the same FrontEnd")

    def reset(self):
        """Forget all samples, as if the stream began anew."""
        claim(self, &self._use)
        kws_online_reset(&self.state)
        self._use = FREE

    def accept(self, samples):
        """Take a chunk; the frames that it completed, float32 (frames, width).

        Raises
        ------
        AudioError : see check_samples; the stream is unchanged. UseError : another thread is in this method.
        """
        cdef Py_buffer opened
        cdef bint s16 = open_samples(samples, &opened)  # which may run the caller's code, thus before the claim
        try:
            claim(self, &self._use)
            try:
                return self._frames_of(opened.buf, s16, <size_t>opened.shape[0])
            finally:
                self._use = FREE
        finally:
            PyBuffer_Release(&opened)

    cdef _frames_of(self, const void *samples, bint s16, size_t n):
        # Every hop completes at most one frame, and the first frame may be nearly there already.
        result = np.empty((n // <size_t>self.frontend.plan.options.hop + 2, self.frontend.plan.width), np.float32)
        cdef float[:, ::1] frames = result
        cdef float *frame = &frames[0, 0]
        cdef int32_t width = self.frontend.plan.width
        cdef Py_ssize_t made = 0
        cdef size_t done = 0
        with nogil:
            while done < n:
                if s16:
                    done += kws_online_accept_s16(&self.state, <const int16_t *>samples + done, n - done)
                else:
                    done += kws_online_accept_f32(&self.state, <const float *>samples + done, n - done)
                if kws_online_ready(&self.state):
                    kws_online_take(&self.state, frame + made * width)
                    made += 1
        return result[:made]
