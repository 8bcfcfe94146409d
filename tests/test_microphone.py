"""The microphone and all that hangs on it: with a stand-in for sounddevice, and through real sounddevice, PortAudio,
ALSA and PulseAudio, whose null sink plays what its monitor records."""

import asyncio
import copy
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

import kwsrt
from kwsrt import MicrophoneError, OptionError, capture
from kwsrt.listening import Step

RATE, WORDS = wavfile.read(Path(__file__).parent / "recordings" / "commands.wav")
WORDS = WORDS[: 7 * RATE // 2]  # behind the third word, before the fourth
# What is tested is the way of the sound: the model hears these words so, wherever its decisions fall in them.
EASY = 0.6


# --- with a stand-in -----------------------------------------------------------------------------------------------


class PortAudioError(Exception):
    """As sounddevice's."""


class FakeStream:
    """Plays chunks of 1, 2, 3 ... into the callback and stops, as PortAudio does when a device goes away."""

    def __init__(self, **options):
        self.options = self.library.opened = options
        self.active = False

    def start(self):
        self.active = True
        self.library.starts += 1
        for value in range(1, self.library.chunks + 1):
            data = np.full(self.options["blocksize"], value, np.int16).tobytes()
            self.options["callback"](data, self.options["blocksize"], None, self.library.status)
        self.active = False

    def close(self):
        self.library.closed += 1


def fake_sounddevice(monkeypatch, *, chunks=3, rates=(16000,), native=48000, status=None):
    """Put a stand-in where `import sounddevice` finds it."""
    library = types.SimpleNamespace(PortAudioError=PortAudioError, chunks=chunks, status=status, starts=0, closed=0)

    def check(samplerate, **options):
        if samplerate not in rates:
            raise PortAudioError("Invalid sample rate")

    library.RawInputStream = type("Stream", (FakeStream,), {"library": library})
    library.check_input_settings = check
    library.query_devices = lambda device=None, kind=None: {"name": "USB Mic", "default_samplerate": float(native)}
    library._initialize = library._terminate = lambda: None
    monkeypatch.setitem(sys.modules, "sounddevice", library)
    return library


def test_chunks_are_what_the_device_gives(monkeypatch):
    library = fake_sounddevice(monkeypatch)
    microphone, chunks = kwsrt.microphone("USB"), []
    with pytest.raises(MicrophoneError, match="stopped: USB Mic"):
        chunks.extend(microphone)  # what came before the device stopped is not lost
    assert [(chunk.dtype, chunk.shape, chunk[0]) for chunk in chunks] == [(np.int16, (480,), i) for i in (1, 2, 3)]
    assert library.opened.items() >= {"samplerate": 16000, "device": "USB", "channels": 1, "dtype": "int16"}.items()
    assert (microphone.name, microphone.native_rate, microphone.overflows) == ("USB Mic", 16000, 0)
    assert library.closed == 1


@pytest.mark.parametrize(("device", "opened"), [(np.int64(3), 3), (3, 3), ("USB", "USB"), (None, None)])
def test_a_device_is_a_number_or_a_part_of_its_name(monkeypatch, device, opened):
    library = fake_sounddevice(monkeypatch)
    with kwsrt.microphone(device):
        assert library.opened["device"] == opened
        assert type(library.opened["device"]) is type(opened)


@pytest.mark.parametrize("device", [b"USB", 1.0, True, [1]])
def test_other_devices_are_refused(monkeypatch, device):
    fake_sounddevice(monkeypatch)
    with pytest.raises(OptionError, match=r"device is .*: expected a whole number"):
        kwsrt.listen(device)


def test_neither_microphones_nor_listeners_are_copied(monkeypatch):
    fake_sounddevice(monkeypatch)
    with kwsrt.listen() as listener:
        for thing in (listener, listener.microphone):
            for copied in (copy.copy, copy.deepcopy, pickle.dumps):
                with pytest.raises(kwsrt.UseError, match="cannot be copied or pickled: "):
                    copied(thing)


def test_close_ends_the_iteration(monkeypatch):
    library = fake_sounddevice(monkeypatch)
    with kwsrt.microphone() as microphone:
        assert next(iter(microphone)).shape == (480,)
    assert list(microphone) == []
    microphone.close()
    assert library.closed == 1


def test_a_device_that_refuses_the_rate_is_resampled(monkeypatch):
    fake_sounddevice(monkeypatch, chunks=20, rates=(), native=48000)
    microphone, chunks = kwsrt.microphone(), []
    with pytest.raises(MicrophoneError, match="stopped"):
        chunks.extend(microphone)
    heard = np.concatenate(chunks)
    assert microphone.native_rate == 48000
    assert (heard.dtype, len(heard)) == (np.float32, pytest.approx(20 * 480, abs=20))
    np.testing.assert_allclose(heard[480 * 7 + 100 : 480 * 7 + 380], 8 / 32768, rtol=2e-3)


def test_what_a_slow_reader_misses_is_counted_and_becomes_silence(monkeypatch):
    library = fake_sounddevice(monkeypatch, chunks=200)
    microphone = kwsrt.microphone()
    assert microphone.waiting == pytest.approx(capture.LONGEST_QUEUE, abs=0.05)
    assert microphone.overflows == 200 - 166
    source = iter(microphone)
    assert [next(source)[0] for _ in range(166)] == list(range(1, 167))
    library.opened["callback"](np.full(480, 7, np.int16).tobytes(), 480, None, None)
    late = next(source)
    assert late.tolist() == [0] * 480 * 34 + [7] * 480
    assert microphone.waiting == 0


def test_overflows_of_the_device_are_counted(monkeypatch):
    fake_sounddevice(monkeypatch, status=types.SimpleNamespace(input_overflow=True))
    assert kwsrt.microphone().overflows == 3


def test_reconnecting(monkeypatch):
    library = fake_sounddevice(monkeypatch)
    microphone = kwsrt.microphone(reconnect=True)
    source = iter(microphone)
    assert [next(source)[0] for _ in range(7)] == [1, 2, 3, 1, 2, 3, 1]
    assert microphone.reconnections == library.starts - 1 == 2
    microphone.close()
    assert list(source) == []


def test_without_portaudio(monkeypatch):
    class Finder:
        def find_spec(self, name, path=None, target=None):
            if name == "sounddevice":
                raise OSError("PortAudio library not found")

    monkeypatch.delitem(sys.modules, "sounddevice", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    for call in (kwsrt.microphone, kwsrt.devices, kwsrt.listen):
        with pytest.raises(MicrophoneError, match=r"^PortAudio library not found; on .* apt install libportaudio2$"):
            call()


def test_without_sounddevice(monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MicrophoneError, match="pip install sounddevice"):
        kwsrt.microphone()


@pytest.mark.parametrize("error", [PortAudioError("Invalid device"), ValueError("No input device matching 'x'")])
def test_a_device_that_cannot_be_opened(monkeypatch, error):
    def refuse(**options):
        raise error

    fake_sounddevice(monkeypatch).RawInputStream = refuse
    with pytest.raises(MicrophoneError, match=str(error)):
        kwsrt.microphone()


def test_microphone_feeds_detect(monkeypatch, tiny):
    fake_sounddevice(monkeypatch)
    with pytest.raises(MicrophoneError, match="stopped"):
        list(kwsrt.detect(kwsrt.microphone(), model=tiny))


def test_listen_refuses_wrong_options_before_it_opens_a_device(monkeypatch, tiny):
    library = fake_sounddevice(monkeypatch)
    for wrong in ({"threshold": 2}, {"stride": 0}, {"smoothing": 0}, {"gate": "loud"}):
        with pytest.raises(OptionError):
            kwsrt.listen(model=tiny, **wrong)
    with pytest.raises(kwsrt.ThinError):
        kwsrt.listen(model=tiny, thin="third")
    assert library.starts == 0


def test_a_machine_that_falls_behind_takes_the_thinnest_level(monkeypatch, tiny):
    fake_sounddevice(monkeypatch, chunks=100)
    listener, levels = kwsrt.listen(model=tiny, gate=None), []
    with pytest.raises(MicrophoneError, match="stopped"):
        levels.extend((listener.microphone.waiting, listener.stream.thin) for _ in listener.steps())
    assert [level for _, level in levels[:80]] == ["quarter"] * 80
    assert {level for waiting, level in levels if waiting < 0.1} == {"auto"}
    assert listener.fallbacks == 1


def test_errors_of_the_thread_are_raised_by_wait(monkeypatch, tiny):
    fake_sounddevice(monkeypatch)
    listener = kwsrt.listen(model=tiny, callback=print)
    with pytest.raises(MicrophoneError, match="stopped"):
        listener.wait()
    assert listener.wait()


# --- real ----------------------------------------------------------------------------------------------------------


class Sound:
    """A PulseAudio server on a socket of its own, with a sink that no one hears and the microphone that hears it."""

    def __init__(self, folder):
        self.folder, self.players = folder, []
        self.start()

    def start(self):
        socket = self.folder / "pulse.sock"
        self.server = subprocess.Popen(
            [
                "pulseaudio",
                "-n",
                "--daemonize=no",
                "--exit-idle-time=-1",
                "--use-pid-file=no",
                "--disallow-exit",
                "--log-level=error",
                "-L",
                f"module-native-protocol-unix socket={socket} auth-anonymous=1",
                "-L",
                "module-null-sink sink_name=speaker rate=16000 channels=1 format=s16le",
                "-L",
                "module-remap-source master=speaker.monitor source_name=virtmic",
            ]
        )
        for _ in range(100):
            if subprocess.run(["pactl", "set-default-source", "virtmic"], capture_output=True).returncode == 0:
                return
            time.sleep(0.1)
        raise TimeoutError("PulseAudio does not answer")

    def stop(self):
        self.server.kill()
        self.server.wait()
        for player in self.players:
            player.wait()

    def play(self, samples, rate=16000):
        path = self.folder / "play.wav"
        wavfile.write(path, rate, samples)
        self.players.append(subprocess.Popen(["paplay", "--device=speaker", str(path)]))
        return self.players[-1]


@pytest.fixture(params=[pytest.param(None, marks=pytest.mark.live)], ids=["live"])
def sound(tmp_path, monkeypatch):
    for command in ("pulseaudio", "pactl", "paplay"):
        if shutil.which(command) is None:
            pytest.skip(f"{command} is not installed")
    pytest.importorskip("sounddevice", reason="PortAudio is not installed", exc_type=(ImportError, OSError))
    (tmp_path / "asound.conf").write_text(
        "</usr/share/alsa/alsa.conf>\npcm.!default { type pulse }\nctl.!default { type pulse }\n"
        'pcm.virtmic { type pulse device "virtmic" }\n'
    )
    os.chmod(tmp_path, 0o700)
    for name, value in {
        "XDG_RUNTIME_DIR": tmp_path,
        "PULSE_SERVER": f"unix:{tmp_path}/pulse.sock",
        "ALSA_CONFIG_PATH": tmp_path / "asound.conf",
    }.items():
        monkeypatch.setenv(name, str(value))
    server = Sound(tmp_path)
    library = capture.sounddevice()
    library._terminate()
    library._initialize()
    yield server
    server.stop()


def until_heard(microphone):
    """The microphone's chunks from the first that is one; PulseAudio needs a while."""
    source = iter(microphone)
    return next(source), source


def find(heard, played):
    """Where `played` lies in `heard`, sample for sample, or None."""
    first = np.flatnonzero(played)[0]
    for start in np.flatnonzero(heard == played[first]) - first:
        if start >= 0 and np.array_equal(heard[start : start + len(played)], played):
            return int(start)
    return None


def test_samples_arrive_unaltered(sound):
    played = np.random.default_rng(1).integers(-20000, 20000, 16000).astype(np.int16)
    with kwsrt.microphone() as microphone:
        first, source = until_heard(microphone)
        player = sound.play(played)
        heard = [first]
        while player.poll() is None or sum(map(len, heard)) < 3 * 16000:
            heard.append(next(source))
    assert microphone.native_rate == 16000
    assert find(np.concatenate(heard), played) is not None
    assert microphone.overflows == 0


def words(events):
    return [event.label for event in events]


def heard_live(sound, **options):
    """Detections of the recording played to `listen`, and the Listener."""
    events = []
    with kwsrt.listen(threshold=EASY, **options) as listener:
        steps = listener.steps()
        next(steps)
        player = sound.play(WORDS, RATE)
        quiet = 0
        while player.poll() is None or quiet < 40:
            events += next(steps).detections
            quiet += player.poll() is not None
    return events, listener


def test_words_are_heard(sound):
    expected = list(kwsrt.detect(WORDS, sample_rate=RATE, threshold=EASY))
    events, listener = heard_live(sound)
    assert words(events) == words(expected)
    shifts = [live.time - batch.time for live, batch in zip(events, expected, strict=True)]
    assert max(shifts) - min(shifts) < 0.6  # decisions, 0.12 s apart, fall elsewhere in the words
    assert listener.microphone.overflows == 0
    assert listener.fallbacks == 0


def test_words_are_heard_at_another_rate(sound, monkeypatch):
    library = capture.sounddevice()

    def refuse(**options):
        raise library.PortAudioError("Invalid sample rate")

    monkeypatch.setattr(library, "check_input_settings", refuse)
    events, listener = heard_live(sound)
    assert listener.microphone.native_rate in (44100, 48000)
    assert words(events) == words(kwsrt.detect(WORDS, sample_rate=RATE, threshold=EASY))


def test_an_overflow_is_survived(sound, monkeypatch):
    monkeypatch.setattr(capture, "LONGEST_QUEUE", 0.3)
    with kwsrt.listen() as listener:
        steps = listener.steps()
        next(steps)
        began = time.monotonic()
        time.sleep(1.5)
        seconds = 0.0
        for step in steps:
            seconds += len(step.samples) / 16000
            if listener.microphone.waiting == 0 and seconds > 1.4:
                break
        passed = time.monotonic() - began
    assert listener.microphone.overflows > 10
    assert listener.fallbacks == 0  # a queue this short is no backlog
    assert seconds == pytest.approx(passed, abs=0.3)  # what was lost is silence: the clock is right


def test_a_device_that_vanishes(sound):
    with kwsrt.microphone() as microphone:
        _, source = until_heard(microphone)
        sound.stop()
        with pytest.raises(MicrophoneError, match="the microphone stopped"):
            for _ in source:
                pass


def test_a_device_that_comes_back(sound):
    with kwsrt.microphone(reconnect=True) as microphone:
        _, source = until_heard(microphone)
        sound.stop()
        threading.Timer(3.0, sound.start).start()
        deadline = time.monotonic() + 40
        while microphone.reconnections == 0 and time.monotonic() < deadline:
            next(source)
        assert microphone.reconnections == 1
        played = np.random.default_rng(2).integers(-20000, 20000, 8000).astype(np.int16)
        player, heard = sound.play(played), []
        while player.poll() is None or sum(map(len, heard)) < 2 * 16000:
            heard.append(next(source))
        assert find(np.concatenate(heard), played) is not None


def test_async_and_callback(sound):
    expected = words(kwsrt.detect(WORDS, sample_rate=RATE, threshold=EASY))

    async def first_two():
        events = []
        async for event in kwsrt.listen(threshold=EASY):
            events.append(event)
            if len(events) == 2:
                break
        return events

    heard = []
    listener = kwsrt.listen(callback=heard.append, threshold=EASY)
    time.sleep(2.5)
    threading.Timer(2.5, sound.play, (WORDS, RATE)).start()
    assert words(asyncio.run(first_two())) == expected[:2]
    assert not listener.wait(len(WORDS) / RATE)
    listener.close()
    assert listener.wait(5)
    assert words(heard) == expected


def test_devices_are_listed(sound):
    inputs = kwsrt.devices()
    names = [device["name"] for device in inputs]
    assert "virtmic" in names
    assert sum(device["default"] for device in inputs) == 1
    assert all(device["channels"] > 0 and device["sample_rate"] >= 8000 for device in inputs)
    with kwsrt.microphone("virtm") as microphone:  # a part of a name
        assert microphone.name == "virtmic"
    with pytest.raises(MicrophoneError, match="cannot open the microphone: No input device matching 'nothing'"):
        kwsrt.microphone("nothing")


# --- commands ------------------------------------------------------------------------------------------------------


@pytest.fixture
def kwsrt_command(tmp_path):
    """Run a command in a process of its own, in a folder of its own: (exit code, output, errors)."""

    def run(*arguments):
        found = {"PYTHONPATH": str(Path(kwsrt.__file__).parent.parent)}
        done = subprocess.run(
            [sys.executable, "-m", "kwsrt", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=60,
            cwd=tmp_path,
            env={**os.environ, **found},
        )
        return done.returncode, done.stdout, done.stderr

    return run


def test_listen_command(sound, kwsrt_command, tmp_path):
    expected = words(kwsrt.detect(WORDS, sample_rate=RATE, threshold=EASY))
    threading.Timer(4.0, sound.play, (WORDS, RATE)).start()
    code, out, err = kwsrt_command(
        "listen",
        "--device",
        "virtmic",
        "--threshold",
        EASY,
        "--seconds",
        8,
        "--json",
        "--save-detections",
        "kept",
        "--on-detect",
        'echo "$KWSRT_LABEL" >> heard.txt',
    )
    assert (code, err) == (0, "")
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["label"] for event in events] == expected
    assert set(events[0]) == {"file", "label", "score", "time", "start", "end"}
    assert events[0]["file"] == "virtmic"
    assert sorted((tmp_path / "heard.txt").read_text().split()) == sorted(expected)
    kept = sorted((tmp_path / "kept").iterdir())
    assert [path.stem.rpartition("-")[2] for path in kept] == expected
    for path, event in zip(kept[:-1], events, strict=False):
        rate, samples = wavfile.read(path)
        assert (rate, samples.dtype) == (16000, np.int16)
        assert len(samples) == pytest.approx(2 * 16000, abs=2)
        assert kwsrt.load().predict(samples[8100:24004])[event["label"]] > 0.5  # in the middle of what is kept


def test_record_command(sound, kwsrt_command, tmp_path):
    played = np.random.default_rng(3).integers(-20000, 20000, 8000).astype(np.int16)
    threading.Timer(3.5, sound.play, (played,)).start()
    code, out, err = kwsrt_command("record", "a.wav", "--seconds", 5)
    assert (code, out) == (0, "")
    assert "5.00 s in a.wav" in err
    rate, samples = wavfile.read(tmp_path / "a.wav")
    assert (rate, len(samples)) == (16000, 5 * 16000)
    assert find(samples, played) is not None
    code, out, err = kwsrt_command("record", "a.wav", "--seconds", 1)
    assert (code, out) == (2, "")
    assert "a.wav" in err
    assert wavfile.read(tmp_path / "a.wav")[1].shape == (80000,)


def test_devices_command(sound, kwsrt_command):
    code, out, _ = kwsrt_command("devices", "--json")
    assert code == 0
    assert "virtmic" in [json.loads(line)["name"] for line in out.splitlines()]
    code, out, _ = kwsrt_command("devices")
    assert code == 0
    assert out.count("* ") == 1


def test_commands_without_a_microphone(monkeypatch, capsys):
    from kwsrt.cli import main

    library = fake_sounddevice(monkeypatch)

    def refuse(**options):
        raise PortAudioError("Error querying device -1")

    library.RawInputStream = refuse
    for arguments in (["listen"], ["record", "never-written.wav"]):
        assert main(arguments) == 2
        assert capsys.readouterr().err == "kwsrt: error: cannot open the microphone: Error querying device -1\n"
    assert not Path("never-written.wav").exists()
    for arguments in (["listen", "--seconds", "0"], ["record", "x.wav", "--seconds", "-1"]):
        assert main(arguments) == 2
        assert "expected more than 0" in capsys.readouterr().err


def test_view_shows_level_scores_and_words(monkeypatch, bundled):
    rich = pytest.importorskip("rich.console", reason="rich is not installed")
    from kwsrt.cli.view import View

    fake_sounddevice(monkeypatch)
    listener = kwsrt.listen(model=bundled)
    view, stream, detector = View(listener), bundled.stream(), bundled.detector()
    for start in range(0, len(WORDS), 480):
        scores = stream.push(WORDS[start : start + 480])
        view.update(Step(WORDS[start : start + 480], scores, detector.push(scores)))
    console = rich.Console(width=120, record=True, file=io.StringIO())
    console.print(view.picture())
    drawn = console.export_text()
    assert f"commands12 on USB Mic, 16000 Hz, thin auto, {len(WORDS) // RATE} s" in drawn
    assert all(label in drawn for label in bundled.labels)
    assert " dB" in drawn
    for event in bundled.detector().push(bundled.stream().push(WORDS)):
        assert f"{event.time:8.2f} s  {event.label}  {event.score:.2f}" in drawn
