"""Objects that have a state: two threads, copies, use before they are made. Arguments of every kind, and samples."""

import array
import copy
import ctypes
import mmap
import multiprocessing
import pickle
import subprocess
import sys
import threading
import time
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

import kwsrt
from kwsrt import Detector, OptionError, UseError, place
from kwsrt import format as file_format
from kwsrt.frontend import FrontEnd, OnlineFrontEnd, check_samples
from kwsrt.layers import Kernels, PackedWeights, pack_weights
from kwsrt.model import Model
from kwsrt.network import Network
from kwsrt.stream import Stream
from kwsrt.trigger import Trigger
from tests.models import make_model
from tests.reference import same_bits

DATA = make_model(
    7,
    frontend={"window": 400, "hop": 160, "n_fft": 512, "bins": 16},
    frames=16,
    bins=16,
    width=16,
    hidden=24,
    blocks=2,
    levels={"full": [0, 1], "half": [1]},
)
MODEL = Model(file_format.parse(DATA))
SAMPLES = np.rint(np.random.default_rng(3).normal(0, 2000, 8000)).astype(np.int16)
LABELS = ("yes", "no", "_silence_")


def scores(rows, first=0):
    rows = np.asarray(rows, np.float32)
    none = np.zeros(len(rows))
    return kwsrt.Scores(rows, 100 + 10 * (first + np.arange(len(rows))), none, none, 100, 100)


# --- two threads ---------------------------------------------------------------------------------------------------


def beside(work, *uses):
    """While one thread does `work` again and again, each of the uses has to be refused once, within 20 s."""
    running, ended = True, []

    def run():
        try:
            while running:
                try:
                    work()
                except UseError:  # the other thread was quicker
                    time.sleep(0)
        except BaseException as error:
            ended.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 20
    try:
        for use in uses:
            refused = None
            while refused is None and time.monotonic() < deadline and not ended:
                try:
                    use()
                except UseError as error:
                    refused = str(error)
                time.sleep(0)
            assert refused is not None
            assert "is in use by another thread" in refused
    finally:
        running = False
        thread.join()
    assert not ended


def test_a_stream_is_not_for_two_threads():
    stream, long = MODEL.stream(), np.tile(SAMPLES, 40)

    def assign():
        stream.thin = "full"

    beside(lambda: stream.push(long), lambda: stream.push(b""), lambda: stream.push(SAMPLES), stream.reset, assign)
    stream.reset()
    assert same_bits(stream.push(SAMPLES).values, MODEL.stream().push(SAMPLES).values)


def test_an_online_front_end_is_not_for_two_threads():
    online, long = OnlineFrontEnd(MODEL.frontend), np.tile(SAMPLES, 100)
    beside(lambda: online.accept(long), lambda: online.accept(b""), online.reset)
    online.reset()
    assert same_bits(online.accept(SAMPLES), MODEL.frontend.features(SAMPLES))


def test_a_detector_is_not_for_two_threads(monkeypatch):
    """It does not let go of the GIL by itself: here another call comes while the word is looked for in the sound."""
    detector, refused, find = Detector(LABELS, smoothing=1, patience=1), [], place.sound

    def found(*arguments):
        for use in (lambda: detector.push(scores([[0, 1, 0]], 1)), detector.reset):
            with pytest.raises(UseError, match="in use by another thread"):
                use()
            refused.append(use)
        return find(*arguments)

    monkeypatch.setattr(place, "sound", found)
    assert [heard.label for heard in detector.push(scores([[1, 0, 0]]))] == ["yes"]
    assert refused
    monkeypatch.undo()
    detector.reset()
    assert [heard.label for heard in detector.push(scores([[0, 1, 0]]))] == ["no"]


def test_samples_whose_conversion_pushes_into_the_same_stream():
    class Sneaky:
        def __array__(self, dtype=None, copy=None):
            stream.push(SAMPLES[:4000])
            return SAMPLES[4000:]

    stream = MODEL.stream()
    last = stream.push(Sneaky())
    assert same_bits(MODEL.stream().push(SAMPLES).values[-len(last) :], last.values)


def test_a_refused_push_sets_the_stream_free():
    stream = MODEL.stream()
    for wrong in (np.zeros(3, np.int32), np.array([np.nan]), b"odd"):
        with pytest.raises(kwsrt.AudioError):
            stream.push(wrong)
    with pytest.raises(OptionError):
        Detector(LABELS).push(scores([[1, 0]]))
    assert len(stream.push(SAMPLES)) > 10


# --- copies --------------------------------------------------------------------------------------------------------

COPIES = pytest.mark.parametrize(
    "copied",
    [copy.copy, copy.deepcopy, lambda thing: pickle.loads(pickle.dumps(thing))],
    ids=["copy", "deepcopy", "pickle"],
)


@COPIES
@pytest.mark.parametrize(
    ("thing", "instead"),
    [
        (MODEL.stream(), r"make a new one, with Model\.stream"),
        (MODEL.detector(), r"make a new one, with Model\.detector"),
        (Trigger(np.ones(3), 1, 1, 0.0, 0.0), "make a new one"),
        (OnlineFrontEnd(MODEL.frontend), "make a new one"),
        (MODEL.network, "share it"),
        (type("Mine", (Stream,), {})(MODEL.frontend, MODEL.network), "a Mine cannot"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_has_a_state_is_not_copied(thing, instead, copied):
    with pytest.raises(UseError, match=instead) as refused:
        copied(thing)
    assert "\n" not in str(refused.value)
    assert isinstance(refused.value, TypeError)  # what Python raises of what it cannot copy


@COPIES
def test_a_model_is_copied_by_the_bytes_of_its_file(copied, tmp_path):
    class Named(Model):
        def __init__(self, name):
            super().__init__(file_format.parse(DATA))
            self.name = name

    path = tmp_path / "gone.kws"
    path.write_bytes(DATA)
    loaded = kwsrt.load(path)
    path.unlink()
    loaded.threshold = 0.25
    again = copied(loaded)
    assert type(again) is Model
    assert (again.threshold, again.checksum, again.size) == (0.25, loaded.checksum, loaded.size)
    assert again.predict(SAMPLES[:3000], thin="half") == loaded.predict(SAMPLES[:3000], thin="half")
    assert again.manifest == loaded.manifest
    if copied is not copy.copy:
        again.manifest["labels"].append("maybe")
        assert loaded.manifest["labels"] == list(loaded.labels)
    if copied in (copy.copy, copy.deepcopy):  # this class cannot be found by its name
        assert copied(Named("mine")).name == "mine"


@COPIES
def test_front_ends_and_scores_are_copied(copied):
    odd = FrontEnd(kind="mfcc", n_mfcc=13, floor=1e-6, fmax=7000.1, offset=0.3)
    assert copied(odd).options == odd.options
    assert same_bits(copied(odd).features(SAMPLES), odd.features(SAMPLES))
    heard = MODEL.stream().push(SAMPLES)
    again = copied(heard)
    again.values[0] = 9
    again.ends[0] = 9
    assert same_bits(heard.values, MODEL.stream().push(SAMPLES).values)
    assert heard.ends[0] == MODEL.window


def heard_elsewhere(model):
    return model.predict(SAMPLES[:3000])


def test_a_model_goes_to_another_process():
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(heard_elsewhere, [MODEL]) == [MODEL.predict(SAMPLES[:3000])]


# --- objects that were never made ----------------------------------------------------------------------------------

UNMADE = """
import inspect, sys
import numpy as np
from kwsrt import frontend, layers, network, resample, scores, stream, trigger
import kwsrt

def uses(thing):
    for name in dir(type(thing)):
        if name.startswith("__") and name not in ("__len__", "__iter__", "__call__", "__array__", "__repr__"):
            continue
        try:
            found = getattr(thing, name)
        except Exception as error:
            yield error
            continue
        for arguments in [(), (b"",), (b"\\0\\0" * 4000,), (np.zeros(9, np.float32),), (made,), ("full",)]:
            if callable(found):
                try:
                    found(*arguments)
                except Exception as error:
                    yield error
    for name in ("thin", "stride", "anything"):
        try:
            setattr(thing, name, "full")
        except Exception as error:
            yield error

model = kwsrt.load()
made = model.stream().push(np.zeros(40000, np.int16))
counted = 0
for module in (frontend, layers, network, resample, scores, stream, trigger):
    for name, kind in vars(module).items():
        if not inspect.isclass(kind) or not kind.__module__.startswith("kwsrt.") or issubclass(kind, Exception):
            continue
        forgets = type("Forgets", (kind,), {"__init__": lambda self, *arguments: None})
        for new in (lambda: kind.__new__(kind), forgets, lambda: forgets(model), lambda: kind.__new__(kind, None)):
            try:
                thing = new()
            except Exception as error:
                counted += 1
                continue
            counted += len(list(uses(thing)))
            del thing
for use in (lambda s: s.push(b""), lambda s: s.reset(), lambda s: s.thin, lambda s: s.window, lambda s: s.stride,
            lambda s: s.decisions, lambda s: s.memory, lambda s: setattr(s, "thin", "full")):
    try:
        use(kwsrt.Stream.__new__(kwsrt.Stream))
    except kwsrt.UseError as error:
        assert "never made" in str(error), error
    else:
        raise AssertionError(use)
print(counted)
"""


def test_objects_that_were_never_made_raise():
    done = subprocess.run([sys.executable, "-c", UNMADE], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert int(done.stdout) > 100


def test_a_detector_that_was_never_made():
    scores = MODEL.stream().push(SAMPLES)
    forgets = type("Forgets", (Detector,), {"__init__": lambda self: None})
    for new in (forgets, lambda: Detector.__new__(Detector)):
        for use in (lambda one: one.push(scores), lambda one: one.timed(scores), lambda one: one.reset()):
            with pytest.raises(UseError, match="never made"):
                use(new())


def test_a_subclass_may_have_arguments_of_its_own():
    class Mine(Stream):
        def __init__(self, model):
            super().__init__(model.frontend, model.network, silence=model.labels.index("_silence_"), gate=-60)

    assert len(Mine(MODEL).push(SAMPLES)) == len(MODEL.stream().push(SAMPLES))


def test_a_stream_is_made_once_or_not_at_all():
    stream = MODEL.stream()
    with pytest.raises(OptionError, match="made already"):
        stream.__init__(MODEL.frontend, MODEL.network)
    assert same_bits(stream.push(SAMPLES).values, MODEL.stream().push(SAMPLES).values)
    failed = Stream.__new__(Stream)
    with pytest.raises(OptionError, match="stride"):
        failed.__init__(MODEL.frontend, MODEL.network, stride=0)
    with pytest.raises(UseError, match="never made"):
        failed.push(SAMPLES)
    failed.__init__(MODEL.frontend, MODEL.network)
    assert same_bits(failed.push(SAMPLES).values, MODEL.stream().push(SAMPLES).values)
    heard = failed.push(SAMPLES)
    with pytest.raises(OptionError, match="made already"):
        heard.__init__([[1]], [1], [0], [0], 1, 1)


def test_what_a_subclass_says_of_itself_moves_no_pointer():
    class Liar(FrontEnd):
        hop, window, width = 0, 1 << 30, 16

        @property
        def options(self):
            return {**super().options, "bins": 1 << 20, "n_mfcc": 0}

    made = Stream(Liar(**MODEL.frontend.options), MODEL.network)
    assert same_bits(made.push(SAMPLES).loudness, MODEL.stream().push(SAMPLES).loudness)
    with pytest.raises(OptionError, match=r"silence is 4: expected a whole number from 0 to 3"):
        Stream(MODEL.frontend, MODEL.network, gate=-60, silence=4)
    with pytest.raises(AttributeError):
        PackedWeights(pack_weights(np.ones((5, 36), np.int8)), 36, 5).inputs = 9
    for wrong in ((None, MODEL.network), (MODEL.frontend, None), (MODEL, MODEL)):
        with pytest.raises(OptionError, match="expected a FrontEnd and a Network"):
            Stream(*wrong)
    with pytest.raises(OptionError, match="shape"):
        MODEL.network.layer_times(np.zeros((1, 16), np.int8), "full", 1)
    with pytest.raises(OptionError, match="repeats is 0"):
        MODEL.network.layer_times(np.zeros((16, 16), np.int8), "full", 0)


def test_times_that_a_double_cannot_tell_apart():
    made = kwsrt.Scores([[1, 0, 0]] * 3, [2**62] * 3, [0] * 3, [0] * 3, 1, 2**30)
    assert Detector(LABELS, smoothing=1, patience=1).push(made)


# --- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint16, np.array])
def test_numpy_whole_numbers_are_whole_numbers(kind):
    want = MODEL.stream(stride=3).push(SAMPLES)
    assert same_bits(MODEL.stream(stride=kind(3)).push(SAMPLES).values, want.values)
    assert Detector(LABELS, smoothing=kind(1), patience=kind(2)).push(scores([[1, 0, 0]] * 2))
    assert FrontEnd(hop=kind(100)).hop == 100
    kwsrt.Scores([[1]], [1], [0], [0], kind(10), kind(100))


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.int64, Fraction, int])
def test_numpy_numbers_are_numbers(kind):
    fires = [[1, 0, 0]]
    assert Detector(LABELS, threshold=kind(1), smoothing=1, patience=1, refractory=kind(1), debounce=kind(1)).push(
        scores(fires)
    )
    assert Detector(LABELS, threshold={"yes": kind(1)}, smoothing=1, patience=1).push(scores(fires))
    assert (MODEL.stream(gate=kind(10)).push(SAMPLES).thin == -1).all()
    assert FrontEnd(fmin=kind(30)).options["fmin"] == 30


NO_NUMBERS = (
    "0.5",
    None,
    [1],
    b"1",
    1j,
    float("nan"),
    float("inf"),
    -(10**400),
    True,
    Decimal(1),
    np.bool_(True),
    object,
)


@pytest.mark.parametrize("value", NO_NUMBERS, ids=str)
@pytest.mark.parametrize("name", ["threshold", "smoothing", "patience", "refractory", "debounce"])
def test_every_refusal_of_a_detector_names_the_argument_and_what_was_given(name, value):
    with pytest.raises(OptionError) as refused:
        Detector(LABELS, **{name: value})
    said = str(refused.value)
    assert said.startswith(f"{name} is {ascii(value)[:60]}: expected ")
    assert "\n" not in said


@pytest.mark.parametrize("value", [value for value in NO_NUMBERS if value is not None], ids=str)
@pytest.mark.parametrize("name", ["stride", "gate"])
def test_every_refusal_of_a_stream_does_too(name, value):
    with pytest.raises(OptionError) as refused:
        MODEL.stream(**{name: value})
    assert str(refused.value).startswith(f"{name} is {ascii(value)[:60]}: expected ")


@pytest.mark.parametrize("value", NO_NUMBERS, ids=str)
@pytest.mark.parametrize("name", list(FrontEnd().options))
def test_every_refusal_of_a_front_end_does_too(name, value):
    with pytest.raises(OptionError) as refused:
        FrontEnd(**{name: value})
    assert f"{name} is {ascii(value)[:60]}" in str(refused.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"smoothing": 2_000_000_000}, "smoothing is 2000000000: expected a whole number from 1 to 1,000"),
        ({"patience": 1001}, "patience is 1001: expected a whole number from 1 to 1,000"),
        ({"smoothing": 3.0}, "smoothing is 3.0"),
        ({"patience": np.float64(3)}, r"patience is np\.float64\(3\.0\)"),
        ({"refractory": -0.5}, "refractory is -0.5: expected seconds, 0 or more"),
        ({"threshold": {"yes": "high"}}, "threshold of 'yes' is 'high': expected a number from 0 to 1"),
        ({"threshold": {3: 0.5}}, "threshold for 3"),
        ({"threshold": {None: 0.5, "no": 0.5}}, "threshold for None"),
        ({"labels": "yes"}, "labels are 'yes': expected strings"),
        ({"labels": []}, "labels are"),
        ({"labels": None}, "labels are None"),
        ({"labels": ["yes", 3]}, "labels are"),
    ],
)
def test_wrong_options_of_a_detector(wrong, said):
    with pytest.raises(OptionError, match=said):
        Detector(**{"labels": LABELS, **wrong})


def test_a_value_that_cannot_be_shown_is_named_by_its_type():
    class Hidden:
        def __repr__(self):
            raise RuntimeError

    for value, said in ((10**5000, "of type int"), (Hidden(), "of type Hidden")):
        with pytest.raises(OptionError, match=f"patience is {said}: expected"):
            Detector(LABELS, patience=value)


def test_other_arguments_are_named():
    for wrong in ([[1, 0, 0]], None, np.zeros((1, 3))):
        with pytest.raises(OptionError, match=r"scores are .*: expected the Scores that Stream\.push returns"):
            Detector(LABELS).push(wrong)
    for wrong in (5, None, b"x", ["full"], np.array(["full", "half"]), "Full"):
        with pytest.raises(kwsrt.ThinError, match="thin is"):
            MODEL.stream(thin=wrong)
    for wrong in (None, 5, [], b"commands12"):
        with pytest.raises(kwsrt.ModelFileError, match="name_or_path is"):
            kwsrt.load(wrong)
    for wrong in ("a" * 5000, "a\0b", "\udcff"):
        with pytest.raises(kwsrt.ModelFileError, match="no model"):
            kwsrt.load(wrong)
    with pytest.raises(OptionError, match="features are 'loud'"):
        MODEL.frontend.quantize("loud")


@pytest.mark.parametrize("isa", ["\udcff", "avx\0", "é", "scalar ", "mmx\n", "x" * 10000])
def test_an_instruction_set_that_is_no_text(isa, monkeypatch):
    with pytest.raises(OptionError, match=r"unknown instruction set '.*\(isa\): this machine runs .*scalar") as refused:
        Kernels(isa)
    assert str(refused.value).isascii()
    assert "\n" not in str(refused.value)
    if "\0" not in isa:  # no environment holds it
        monkeypatch.setenv("KWSRT_ISA", isa)
        with pytest.raises(OptionError, match=r"\(KWSRT_ISA\)"):
            kwsrt.load()


# --- samples as bytes ----------------------------------------------------------------------------------------------


def mapped(data):
    memory = mmap.mmap(-1, len(data))
    memory[:] = data
    return memory


RAW = SAMPLES.tobytes()
BUFFERS = {
    "bytes": RAW,
    "bytearray": bytearray(RAW),
    "memoryview": memoryview(RAW),
    "signed bytes": memoryview(RAW).cast("b"),
    "characters": memoryview(RAW).cast("c"),
    "every other byte": memoryview(np.repeat(SAMPLES.view(np.uint8), 2))[::2],
    "array of bytes": array.array("B", RAW),
    "array of signed bytes": array.array("b", RAW),
    "mmap": mapped(RAW),
    "ctypes bytes": (ctypes.c_ubyte * len(RAW)).from_buffer_copy(RAW),
    "NumPy's bytes": np.bytes_(RAW + b"\1\0"),
    "array of 16-bit": array.array("h", SAMPLES.tolist()),
    "memoryview of 16-bit": memoryview(SAMPLES),
    "ctypes 16-bit": (ctypes.c_int16 * len(SAMPLES))(*SAMPLES.tolist()),
    "big-endian 16-bit": SAMPLES.astype(">i2"),
    "big-endian floats": (SAMPLES / 32768).astype(">f8"),
    "array of floats": array.array("f", (SAMPLES / np.float32(32768)).tolist()),
}


@pytest.mark.parametrize("samples", BUFFERS.values(), ids=list(BUFFERS))
def test_samples_in_any_buffer(samples):
    wanted = np.append(SAMPLES, np.int16(1)) if isinstance(samples, np.bytes_) else SAMPLES
    assert same_bits(MODEL.stream().push(samples).values, MODEL.stream().push(wanted).values)
    assert same_bits(MODEL.frontend.features(samples), MODEL.frontend.features(wanted))
    assert same_bits(OnlineFrontEnd(MODEL.frontend).accept(samples), MODEL.frontend.features(wanted))


def test_samples_in_a_buffer_of_cffi():
    cffi = pytest.importorskip("cffi")
    ffi = cffi.FFI()
    assert same_bits(check_samples(ffi.buffer(ffi.from_buffer(RAW))), SAMPLES)


def test_an_array_of_numpy_is_never_taken_for_bytes():
    for samples in (SAMPLES.view(np.uint8), SAMPLES.view(np.int8), np.uint8(3)):
        with pytest.raises(kwsrt.AudioError):
            MODEL.stream().push(samples)


def released():
    view = memoryview(RAW)
    view.release()
    return view


class Broken:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("no array today")


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (RAW[:-1], "samples are 15999 bytes, which is no whole number of 16-bit samples"),
        (array.array("B", b"abc"), "3 bytes"),
        (array.array("i", [1, 2]), "int32"),
        (array.array("q", [1]), "int64"),
        (memoryview(b"1234").cast("?"), "bool"),
        ([[1.0], [1.0, 2.0]], "no array can be made"),
        (released(), "released|shape"),
        (Broken(), "no array today"),
        (object(), "got <object"),
        ("text", "expected samples, got 'text'"),
        ({1, 2}, r"got \{1, 2\}"),
        (None, "got None"),
        (5, "got 5"),
    ],
)
def test_what_holds_no_samples(samples, said):
    for use in (MODEL.stream().push, MODEL.frontend.features, OnlineFrontEnd(MODEL.frontend).accept):
        with pytest.raises(kwsrt.AudioError, match=said):
            use(samples)


def test_a_network_is_named_by_its_parts():
    with pytest.raises(TypeError):
        Network.__new__(Network)
