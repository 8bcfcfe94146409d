"""Speech Commands folders to cached int8 features for training and validation.

Every clip is augmented several times on the waveform when the cache is made; the cache keeps a few frames more than the
network sees, so that training can still shift in time by cropping. A cache folder's name is a hash of all that went
into it. Samples come as groups (see GROUPS), so that training can set how much of each it wants.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import audio
from kwsrt.cli.output import shown
from kwsrt.clips import NOISE, clips_in
from kwsrt.errors import AudioError, OptionError
from kwsrt.frontend import FrontEnd

from .folders import Found, read_audio, survey
from .heldout import held_out_noise, held_out_speech, is_held_out_word
from .recordings import Recording, recordings_of
from .scenes import Augmenter
from .sounds import RATE, random_cut

Array = NDArray[Any]
COMMANDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
OTHERS = """
    backward bed bird cat dog follow forward happy house learn marvin sheila tree visual wow
""".split()
UNKNOWN, SILENCE = "_unknown_", "_silence_"
LABEL_SETS = {"12": [*COMMANDS, UNKNOWN, SILENCE], "20": COMMANDS + DIGITS, "35": COMMANDS + DIGITS + OTHERS}
#: where a training sample comes from: a recorded clip, a synthetic voice, a keyword mostly outside the window,
#: a cut of a long recording (speech or noise), a clip of a folder whose labels are not trusted, a keyword within
#: running speech, a sound of a voice that is no word
GROUPS = ("recorded", "synthetic", "partial", "long", "suspect", "running", "nonsense")
#: clips of words that stand before and after others, and are joined to what is no word
NEIGHBOURS = 3000
AUGMENTATION = 3  # raise it where the same settings make other samples than before
DEFAULT_FRONTEND: dict[str, Any] = {
    "kind": "log-mel",
    "sample_rate": RATE,
    "window": 1024,
    "hop": 480,
    "n_fft": 1024,
    "bins": 32,
    "n_mfcc": 0,
    "fmin": 20.0,
    "fmax": 7600.0,
    "floor": 1e-7,
    "offset": -12.0,
    "step": 0.5,
}


#: (kind, path or None, variants, label, group, slack)
Job = tuple[str, Path | None, int, int, int, int]


@dataclass
class DataConfig:
    """What to read and how to augment it. Times are samples at 16 kHz, levels dB."""

    root: str = ""
    voices: list[str] = field(default_factory=list)  #: further Speech Commands folders, of synthetic voices
    speech: list[str] = field(default_factory=list)  #: folders of long recordings without keywords: _unknown_
    noise: list[str] = field(default_factory=list)  #: folders of long noise recordings: _silence_ and mixing
    suspects: list[str] = field(default_factory=list)  #: folders below root whose clips may hide a keyword
    labels: list[str] = field(default_factory=lambda: list(LABEL_SETS["12"]))
    frontend: dict[str, Any] = field(default_factory=dict)  #: options other than DEFAULT_FRONTEND's
    frames: int = 32  #: of the window that a word lies in
    lead: int = 0  #: frames before it, the past that a causal network remembers
    margin: int = 4  #: extra frames cached on each side
    target: int = 24000  #: augmented samples wanted per keyword
    unknown_target: int = 16000  #: the same, per word of the unknown class
    most_variants: int = 60  #: of one keyword clip
    most_unknown_variants: int = 40  #: of one clip of an unknown word
    suspect_variants: int = 14
    voice_variants: int = 8  #: of one synthetic clip of a keyword, and half as many again of an unknown word
    partials: int = 30000
    running: int = 0  #: keywords within running speech
    nonsense: int = 0  #: sounds of voices that are no word
    speech_cuts: int = 50000
    silence_cuts: int = 25000
    strength: float = 1.0  #: of tempo, microphones and rooms; 0 is none of them
    talk: float = 0.0  #: share of the words, whole and partial, under which somebody else talks
    hold_out: int = 4  #: every n-th long speech recording is kept out of training, for false-alarm counts
    seed: int = 1

    def __post_init__(self) -> None:
        self.frontend = {**DEFAULT_FRONTEND, **self.frontend}

    @property
    def width(self) -> int:
        """Features of a frame."""
        return int(self.frontend["n_mfcc"] or self.frontend["bins"])

    @property
    def span(self) -> int:
        """Frames that the network gets in training."""
        return self.lead + self.frames

    def key(self, part: str) -> str:
        """Hash over everything that changes a part's cached features: part name, dash, 16 hex digits."""
        values = {**asdict(self), "augmentation": AUGMENTATION}
        for later in ("talk", "lead", "running", "nonsense"):
            if not values[later]:
                del values[later]  # samples are those of before it was there
        if part == "recorded":
            del values["voices"], values["voice_variants"]
        if part == "validation":
            values["clips"] = "as predict hears them"  # they were once put into zeros
        digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
        return f"{part}-{digest[:16]}"


@dataclass
class Samples:
    """Cached features. `features` int8 [n, frames, bins]; the other arrays [n]: `label` index into the labels,
    `group` index into GROUPS, `slack` frames a crop may move away from the middle, `source` index of the clip."""

    features: Array
    label: Array
    group: Array
    slack: Array
    source: Array

    def __len__(self) -> int:
        return len(self.label)


def labels_of(name: str) -> list[str]:
    """Labels of a named set ("12", "20", "35") or of a comma-separated word list. OptionError if empty or repeated."""
    labels = LABEL_SETS.get(name) or [word.strip() for word in name.split(",") if word.strip()]
    if len(labels) < 2 or len(set(labels)) != len(labels):
        raise OptionError(f"need at least two different labels, got {name!r}")
    return list(labels)


def long_files(paths: list[str]) -> list[Path]:
    """Audio files, and those in folders (not below them), sorted by name. AudioError where there are none."""
    found: list[Path] = []
    for path in map(Path, paths):
        if not path.exists():
            raise AudioError(f"{path}: no such recording or folder of recordings")
        inside = clips_in(path) if path.is_dir() else [path]
        if not inside:
            raise AudioError(f"{path}: no recordings found in the folder")
        found += inside
    return sorted(found)


def held_out(paths: list[str], every: int) -> list[Path]:
    """Of the long recordings every `every`-th, which is kept out of training for counting false alarms."""
    return long_files(paths)[every - 1 :: every]


def split_noise(recording: Recording, training: bool) -> Recording:
    """The first four fifths of a noise recording train, the rest validates."""
    cut = len(recording) * 4 // 5
    return recording.part(0, cut) if training else recording.part(cut, len(recording))


#: a worker process's Augmenter and speech recordings
_state: dict[str, Any] = {}


def _start_worker(config: DataConfig, noises: list[Recording], speech: list[Recording], words: list[Array]) -> None:
    _state.update(augmenter=Augmenter(config, noises, speech, words), speech=speech)


def _work(job: tuple[str, Path | None, int, tuple[int, int]]) -> Array:
    """Features [variants, frames, bins] of one job (kind, path or None, variants, seed)."""
    kind, path, variants, seed = job
    augmenter = _state["augmenter"]
    rng = np.random.default_rng(seed)
    if kind == "silence":
        return np.stack([augmenter.silence(rng) for _ in range(variants)])
    if kind == "speech":
        return np.stack([augmenter.cut(_state["speech"], rng) for _ in range(variants)])
    assert path is not None
    clip = read_audio(path, RATE)
    return np.stack([getattr(augmenter, kind)(clip, rng) for _ in range(variants)])


def _plan(config: DataConfig, part: str, found: Found) -> list[Job]:
    """(kind, path, variants, label, group, slack) for all that a part ("recorded", "synthetic") of the cache holds."""
    labels, margin = config.labels, config.margin
    index = {label: i for i, label in enumerate(labels)}
    unknown = index.get(UNKNOWN)
    plan: list[Job] = []
    if part == "synthetic":
        for root in config.voices:
            for word, path in trained_on(found, root):
                label = index.get(word, unknown)
                if label is not None:
                    variants = config.voice_variants if word in index else config.voice_variants * 3 // 2
                    plan.append(("word", path, variants, label, 1, margin))
        return plan
    clips = trained_on(found, config.root)
    by_word: dict[str, list[Path]] = {}
    for word, path in clips:
        by_word.setdefault(word, []).append(path)
    for word, paths in by_word.items():
        if word in config.suspects:
            group, variants = 4, config.suspect_variants
        elif word in index:
            group, variants = 0, min(config.most_variants, -(-config.target // len(paths)))
        else:
            group, variants = 0, min(config.most_unknown_variants, -(-config.unknown_target // len(paths)))
        label = index.get(word, unknown)
        if label is not None:
            plan += [("word", path, variants, label, group, margin) for path in paths]
    if unknown is not None:
        keywords = [path for word, path in clips if word in index]
        rng = np.random.default_rng(config.seed)
        running = config.running if config.speech else 0
        for kind, count, slack in (("partial", config.partials, 1), ("running", running, margin),
                                   ("nonsense", config.nonsense, margin)):  # fmt: skip
            chosen = rng.permutation(len(keywords))[:count]
            each = max(1, count // max(1, len(chosen)))
            plan += [(kind, keywords[i], each, unknown, GROUPS.index(kind), slack) for i in chosen]
        if config.speech:
            plan += [("speech", None, 50, unknown, 3, margin)] * (config.speech_cuts // 50)
    if SILENCE in index:
        plan += [("silence", None, 50, index[SILENCE], 3, margin)] * (-(-config.silence_cuts // 50))
    return plan


def silent_frame(frontend: dict[str, Any]) -> Array:
    """Features int8 [bins] of digital silence."""
    hearing = FrontEnd(**frontend)
    return np.asarray(hearing.quantized(np.zeros(hearing.window, np.int16))[0])


def trained_on(found: Found, root: str) -> list[tuple[str, Path]]:
    """The training clips of a folder, (word, path) each, without the words that are held out (heldout.py)."""
    return [(word, path) for word, path in found.clips[root]["training"] if not is_held_out_word(word)]


def noise_files(config: DataConfig) -> list[Path]:
    """The recordings of background noise, without those that are held out (heldout.py).

    AudioError where a path of `config.noise` holds none."""
    own = Path(config.root) / NOISE
    files = sorted([*(clips_in(own) if own.is_dir() else []), *long_files(config.noise)])
    return [file for file in files if not held_out_noise(file.name)]


def _noises(config: DataConfig, training: bool, found: Found, folder: Path) -> list[Recording]:
    files = [file for file in noise_files(config) if str(file) not in found.left_out]
    pieces = [split_noise(recording, training) for recording in recordings_of(files, RATE, folder)]
    return [piece for piece in pieces if len(piece)]


def _speech(config: DataConfig, found: Found, folder: Path) -> list[Recording]:
    unheard = {*held_out(config.speech, config.hold_out), *map(Path, found.left_out)}
    kept = [file for file in long_files(config.speech) if file not in unheard and not held_out_speech(str(file))]
    return recordings_of(kept, RATE, folder)


def _neighbours(config: DataConfig, found: Found) -> list[Array]:
    clips = [path for word, path in trained_on(found, config.root) if word not in config.suspects]
    chosen = np.random.default_rng(config.seed).permutation(len(clips))[:NEIGHBOURS]
    return [read_audio(clips[i], RATE) for i in chosen]


def look_through(config: DataConfig, workers: int = 2, log: Callable[[str], None] = lambda text: None) -> Found:
    """Read all recordings once: what can be used. AudioError, which names the folder, where training makes no sense."""
    wanted = set(config.labels)
    every_word = UNKNOWN in wanted
    others = [*noise_files(config), *long_files(config.speech)]
    found = survey([config.root, *config.voices], config.labels, lambda word: every_word or word in wanted,
                   others, RATE, workers, log)  # fmt: skip
    if SILENCE in wanted and not any(str(file) not in found.left_out for file in noise_files(config)):
        log(f"no recordings of noise, neither in {Path(config.root) / NOISE} nor given: {SILENCE} is trained on "
            "very faint noise alone, and no clip is mixed with noise")  # fmt: skip
    return found


def prepare(
    config: DataConfig, cache: str | Path, workers: int = 2, log: Callable[[str], None] = lambda text: None
) -> dict[str, str]:
    """Make all that training needs below `cache`, where it is not there yet; {path: reason} of what was left out.

    Everything is read before anything is made. AudioError and OptionError where the folders cannot be used."""
    cache = Path(cache)
    parts = ["recorded", *["synthetic"] * bool(config.voices)]
    made = [cache / config.key(part) for part in parts]
    made += [cache / f"validation-{config.key('validation')}" / f"{part}.npz" for part in parts]
    notes = cache / f"{config.key('validation')}.left-out.json"
    if not all(path.exists() for path in made):
        found = look_through(config, workers, log)
        cache.mkdir(parents=True, exist_ok=True)
        notes.write_text(json.dumps(found.left_out, indent=1), encoding="utf-8")
        training_samples(config, cache, workers, log, found)
        validation_samples(config, cache, found=found)
    left_out = json.loads(notes.read_text(encoding="utf-8")) if notes.exists() else {}
    for path, why in left_out.items():
        log(shown(f"left out: {path}: {why}"))
    return dict(left_out)


def training_samples(
    config: DataConfig,
    cache: str | Path,
    workers: int = 2,
    log: Callable[[str], None] = lambda text: None,
    found: Found | None = None,
) -> Samples:
    """Training features [n, frames + 2 margin, bins], made and cached below `cache` if not there yet.

    `found` is what `look_through` returned; by default it is called where something must be made. The source numbers
    of synthetic clips follow those of the recorded ones."""
    parts = ("recorded", "synthetic")[: 2 if config.voices else 1]
    if found is None and not all((Path(cache) / config.key(part)).exists() for part in parts):
        found = look_through(config, workers, log)
    made = [_training_part(config, part, Path(cache), workers, log, found) for part in parts]
    if len(made) > 1:
        made[1].source += 1 + made[0].source.max()
    return Samples(**{f.name: np.concatenate([getattr(p, f.name) for p in made]) for f in fields(Samples)})


def _training_part(
    config: DataConfig, part: str, cache: Path, workers: int, log: Callable[[str], None], found: Found | None
) -> Samples:
    folder = cache / config.key(part)
    if not folder.exists():
        assert found is not None
        plan = _plan(config, part, found)
        counts = np.array([job[2] for job in plan])
        total, frames = int(counts.sum()), config.span + 2 * config.margin
        log(f"making {total} samples of {len(plan)} sources in {folder}")
        unfinished = folder.with_name(folder.name + f".{os.getpid()}.tmp")
        unfinished.mkdir(parents=True)
        out = np.lib.format.open_memmap(unfinished / "features.npy", "w+", np.int8, (total, frames, config.width))
        noises, speech = _noises(config, True, found, cache), _speech(config, found, cache)
        state = (config, noises, speech, _neighbours(config, found))
        jobs = [(job[0], job[1], job[2], (config.seed, i)) for i, job in enumerate(plan)]
        at = 0
        # an executor, not a Pool, which waits for ever where a worker is killed
        with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), _start_worker, state) as pool:
            for made in pool.map(_work, jobs, chunksize=16):
                out[at : at + len(made)] = made
                at += len(made)
        out.flush()
        per_clip = {"label": 3, "group": 4, "slack": 5}
        meta = {name: np.repeat([job[column] for job in plan], counts) for name, column in per_clip.items()}
        meta["source"] = np.repeat(np.arange(len(plan)), counts)
        np.savez(unfinished / "meta.npz", allow_pickle=False, **meta)
        (unfinished / "config.json").write_text(json.dumps(asdict(config), indent=1))
        if folder.exists():
            shutil.rmtree(unfinished)
        else:
            unfinished.rename(folder)
    meta = np.load(folder / "meta.npz")
    return Samples(
        np.load(folder / "features.npy", mmap_mode="r"),
        **{name: meta[name] for name in ("label", "group", "slack", "source")},
    )


def heard(path: str | Path, frontend: FrontEnd, length: int) -> Array:
    """Features int8 [frames, bins] of a clip in a window of `length` samples: what `kwsrt.Model.predict` makes of it.

    AudioError for a clip that cannot be used."""
    return np.asarray(frontend.quantized(audio.middle(audio.load(path, frontend.sample_rate), length)))


def validation_samples(
    config: DataConfig, cache: str | Path, split: str = "validation", found: Found | None = None
) -> dict[str, Samples]:
    """{"recorded": ..., "synthetic": ...}: unchanged clips of a split, features int8 [n, frames, bins].

    Silence (a tenth of a word's clips, at least 10, of the noise kept out of training) belongs to "recorded". Words of
    `suspects` are left out; "synthetic" is missing where there are no voices with clips of that split."""
    folder = Path(cache) / f"{split}-{config.key('validation')}"
    index = {label: i for i, label in enumerate(config.labels)}
    length = (config.frames - 1) * config.frontend["hop"] + config.frontend["window"]
    result = {}
    for group, roots in enumerate(([config.root], config.voices)):
        if not roots:
            continue
        file = folder / f"{GROUPS[group]}.npz"
        if not file.exists():
            found = found or look_through(config)
            frontend = FrontEnd(**config.frontend)
            features, label = [], []
            for root in roots:
                for word, path in found.clips[root][split]:
                    wanted = index.get(word, index.get(UNKNOWN))
                    if word not in config.suspects and wanted is not None:
                        features.append(heard(path, frontend, length))
                        label.append(wanted)
            noises = _noises(config, False, found, folder)
            if group == 0 and SILENCE in index and noises:
                rng = np.random.default_rng(config.seed)
                for _ in range(max(10, round(0.1 * len(label) / len(index)))):
                    cut = random_cut(noises, length, rng) * rng.uniform(0, 1)
                    features.append(frontend.quantized(np.rint(cut * 32767).astype(np.int16)))
                    label.append(index[SILENCE])
            folder.mkdir(parents=True, exist_ok=True)
            shape = (len(features), config.frames, config.width)
            with open(folder / f".{os.getpid()}.tmp", "wb") as fh:
                np.savez(fh, features=np.reshape(features, shape).astype(np.int8), label=np.array(label, int))
            os.replace(folder / f".{os.getpid()}.tmp", file)
        saved = np.load(file)
        count = len(saved["label"])
        if not count:
            continue
        zeros = np.zeros(count, np.int64)
        result[GROUPS[group]] = Samples(saved["features"], saved["label"], zeros + group, zeros, np.arange(count))
    return result
