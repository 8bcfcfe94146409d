"""Train the keyword spotting network: python -m tools.train.train CONFIG --data FOLDER --out FOLDER. See README.md."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import logging
import math
import os
import sys
import time
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from kwsrt.cli import picture
from kwsrt.cli.output import guarded, shown
from kwsrt.errors import KwsrtError, OptionError
from kwsrt.files import check_writable
from kwsrt.format import MAGIC
from tools import card

from . import data
from .checkpoints import checkpoint, load_model, save
from .distil import hidden_loss
from .measure import accuracies, calibrate, predict
from .network import Layer, Network, default_config
from .recipe import Stage, loss_of, make_optimizer, rate_at
from .rounding import Grids, grids_of, round_for_file, rounded
from .sampling import Bucket, Mix, augment, buckets, cepstra, draw, hushed, mixed
from .ship import ship
from .start import write_start
from .team import Team

T = TypeVar("T")
log = logging.getLogger("train")
#: a clip whose variants look like a hidden word with this mean probability is left out
SUSPECT_PROBABILITY = 0.2
#: a cut of a long recording without keywords is hard where the keywords together have this probability
HARD_PROBABILITY = 0.3


class Run:
    """Everything the stages of one call share."""

    def __init__(self, config: dict[str, Any], arguments: argparse.Namespace):
        self.team = Team()
        self.device = self.team.device
        self.out = Path(arguments.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.labels = data.labels_of(arguments.labels or config.get("labels", "12"))
        self.seed = int(config.get("seed", 1) if arguments.seed is None else arguments.seed)
        self.mix = built(Mix, config.get("mix", {}), "[mix]")
        paths = {name: getattr(arguments, name) for name in ("voices", "speech", "noise")}
        self.hidden = [word for word in config.get("hidden", data.COMMANDS) if word in self.labels]
        given = {"root": arguments.data, "labels": self.labels, **paths, **config.get("data", {})}
        self.settings = built(data.DataConfig, given, "[data]")
        self.provenance = card.told(config.get("about", {}))
        self.provenance |= {"dataset": arguments.dataset, "licence": arguments.licence, "seed": self.seed}
        self.history: list[str] = []  #: stages that the network in training went through before
        shared = config.get("every_stage", {})
        self.stages = [built(Stage, {**shared, **values}, "[[stage]]") for values in config.get("stage", [])]
        names = [stage.name for stage in self.stages]
        strange = [name for name in arguments.stage or () if name not in (*names, "none")]
        if strange or not names:
            raise OptionError(f"--stage {' '.join(strange)}: the config's stages are {', '.join(names) or 'missing'}")
        cache = Path(arguments.cache or self.out / "cache")
        #: recordings that cannot be used, with the reason
        self.left_out: dict[str, str] = {}
        if self.team.leads:
            self.left_out = data.prepare(self.settings, cache, arguments.workers, log.info)
        self.team.wait()
        self.samples = data.training_samples(self.settings, cache)
        self.features = torch.from_numpy(self.samples.features)
        self.slack = torch.from_numpy(self.samples.slack).float()
        self.label = torch.from_numpy(self.samples.label).long()
        self.cepstra = cepstra(self.settings.frontend)
        self.quiet = torch.from_numpy(data.silent_frame(self.settings.frontend)).float()
        self.validation = data.validation_samples(self.settings, cache)
        if arguments.init and self.team.leads and not (self.out / "start.pt").exists():
            chosen = torch.from_numpy(draw(buckets(self.samples, self.labels, self.mix, None), 1024, (self.seed, 0)))
            features = self.batch(chosen, torch.Generator().manual_seed(self.seed))
            write_start(Path(arguments.init), self.out / "start.pt", features)
        self.team.wait()
        counts = {name: len(samples) for name, samples in self.validation.items()}
        log.info("%d training samples, validation %s, %d processes", len(self.samples), counts, self.team.size)

    def batch(self, chosen: Tensor, random: torch.Generator) -> Tensor:
        """Augmented features [n, frames, bins] of the samples with the numbers `chosen` [n].

        Two batches in five lack the lead, where there is one: as a stream begins, and as a clip is heard."""
        x = augment(self.features[chosen], self.slack[chosen], self.settings.span, random, self.cepstra)
        if self.settings.lead and torch.rand((), generator=random) < 0.4:
            x = x[:, self.settings.lead :]
        if self.mix.hushed:
            x = hushed(x, self.quiet, self.mix.hushed, random)
        return x.to(self.device)

    def suspects(self, stage: Stage, model: Network) -> data.Array:
        """Suspect samples [n] bool that `model` takes for no hidden word, judged once a stage and kept in a file."""

        def judge() -> data.Array:
            numbers = np.flatnonzero(self.samples.group == data.GROUPS.index("suspect"))
            probability = self.probabilities(model, numbers)
            words = [self.labels.index(word) for word in self.hidden]
            source = self.samples.source[numbers]
            mean = np.bincount(source, probability[:, words].max(1, initial=0)) / np.maximum(1, np.bincount(source))
            return numbers[mean[source] < SUSPECT_PROBABILITY]

        return self.judged(self.out / f"{stage.name}.suspects.pt", judge)

    def hard(self, stage: Stage) -> data.Array | None:
        """Cuts of long recordings [n] bool in which the stage's miner finds keywords, judged once and kept in a file;
        None without a miner."""
        if not stage.miner or data.UNKNOWN not in self.labels:
            return None

        def judge() -> data.Array:
            unknown = self.labels.index(data.UNKNOWN)
            long = self.samples.group == data.GROUPS.index("long")
            numbers = np.flatnonzero(long & (self.samples.label == unknown))
            model, _ = load_model(self.out / f"{stage.miner}.pt", self.device)
            words = [index for index, label in enumerate(self.labels) if not label.startswith("_")]
            return numbers[self.probabilities(model, numbers)[:, words].sum(1) >= HARD_PROBABILITY]

        return self.judged(self.out / f"{stage.name}.hard.pt", judge)

    def judged(self, file: Path, judge: Callable[[], data.Array]) -> data.Array:
        """Samples [n] bool whose numbers `judge` gives, or those that an earlier call has kept in `file`."""
        if file.exists():
            chosen = torch.load(file, weights_only=True).numpy()
            if len(chosen) == len(self.samples):
                return np.asarray(chosen)
        chosen = np.zeros(len(self.samples), bool)
        chosen[judge()] = True
        log.info("%s: %d of %d samples", file.stem, chosen.sum(), len(chosen))
        if self.team.leads:
            save(torch.from_numpy(chosen), file)
        return chosen

    def probabilities(self, model: Network, numbers: data.Array) -> data.Array:
        """What `model` gives each label, float32 [len(numbers), classes], for the middle of these samples."""
        if not len(numbers):
            return np.zeros((0, len(self.labels)), np.float32)
        margin = self.settings.margin
        seen = self.samples.features[numbers, margin : margin + self.settings.span]
        return np.asarray(predict(model, seen, self.device, only="full")["full"].softmax(1).numpy())

    def start(self, stage: Stage) -> Network:
        """The stage's network at its start: random, or with the weights of the stage it begins from."""
        seed = self.seed + stage.seed
        torch.manual_seed(seed)
        network = default_config(stage.planes)
        network.update(frames=self.settings.frames, bins=self.settings.width)
        network.update(stage.network)
        model = Network(network, len(self.labels), stage.method, stage.weights != "float").to(self.device)
        missing, self.history = {"all"}, []
        if stage.init and (stage.init != "start" or (self.out / "start.pt").exists()):
            first, *others = [stage.init] if isinstance(stage.init, str) else stage.init
            _, saved = load_model(self.out / f"{first}.pt", self.device)
            if saved["labels"] != self.labels:
                raise OptionError(f"stage {first} has other labels")
            self.history = saved["train"].get("history", [])
            states = [load_model(self.out / f"{name}.pt", self.device)[1]["state"] for name in others]
            state = mean_of([saved["state"], *states])
            state = levels_added(state, list(saved["network"]["levels"]), list(model.levels))
            missing = set(model.load_state_dict(state, strict=False).missing_keys)
            if any(".act." not in name for name in missing):
                raise OptionError(f"stage {stage.init} is another network: {sorted(missing)[:3]}")
        if stage.planes and missing:
            parts = buckets(self.samples, self.labels, self.mix, None)
            chosen = torch.from_numpy(draw(parts, 1024, (seed, 0)))
            middle = torch.Generator().manual_seed(seed)
            model.calibrate(self.batch(chosen, middle))
        if stage.weights == "frozen":
            for layer in model.modules():
                if isinstance(layer, Layer) and layer.kind == "binary":
                    layer.weight.requires_grad_(False)
        return model

    def train(self, stage: Stage) -> Path:
        """Train a stage, going on where an earlier call was cut off; path of its checkpoint."""
        done, resume = self.out / f"{stage.name}.pt", self.out / f"{stage.name}.resume.pt"
        if done.exists():
            log.info("%s: already there", done)
            return done
        teachers = [load_model(self.out / f"{name}.pt", self.device)[0] for name in stage.teachers]
        model = self.start(stage)
        grids = grids_of(model, stage.spread) if stage.spread else None
        optimizer = make_optimizer(model, stage)
        average = {n: v.clone() for n, v in model.state_dict().items()} if stage.ema else None
        first, spent = 0, 0.0
        if resume.exists():
            state = torch.load(resume, map_location=self.device, weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            average, first, spent = state["average"], state["epoch"], state["seconds"]
            log.info("%s: going on after epoch %d", stage.name, first)
        began = time.monotonic() - spent
        for epoch in range(first, stage.epochs):
            use_suspects = epoch >= stage.suspects_from * stage.epochs
            kept = self.suspects(stage, teachers[0] if teachers else model) if use_suspects else None
            parts = buckets(self.samples, self.labels, self.mix, kept, self.hard(stage))
            loss = self.epoch(stage, model, teachers, optimizer, average, parts, epoch, grids)
            self.team.average([*model.buffers(), *(average or {}).values()])
            seconds = time.monotonic() - began
            report = f"{stage.name} epoch {epoch + 1}/{stage.epochs} loss {loss:.4f} {seconds:.0f} s"
            if epoch + 1 == stage.epochs:
                self.finish(stage, model, average, parts, grids)
                if self.team.leads:
                    self.keep(stage, model, epoch + 1, seconds, report, done)
                    resume.unlink(missing_ok=True)
            elif self.team.leads:
                progress = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
                save({**progress, "epoch": epoch + 1, "seconds": seconds}, resume)
                if (epoch + 1) % stage.validate:
                    log.info(report)
                else:
                    with rounded(model, grids):
                        self.keep(stage, model, epoch + 1, seconds, report, self.out / f"{stage.name}.last.pt")
        self.team.wait()
        return done

    def finish(
        self,
        stage: Stage,
        model: Network,
        average: dict[str, Tensor] | None,
        parts: list[Bucket],
        grids: Grids | None,
    ) -> None:
        """What the last epoch leaves, made into the network that is kept.

        The norms' statistics become the mean over many batches of the finished weights (what training leaves is a mean
        over the last few, and signs downstream amplify its noise); then the numbers are rounded to what the file
        stores, and the scores calibrated."""
        if average is not None:
            model.load_state_dict(average)
        if stage.weights != "frozen":
            self.settle(stage, model, parts)
        round_for_file(model, grids)
        temperature = calibrate(model, self.validation["recorded"], self.device)
        log.info("%s: scores calibrated with temperature %.3f", stage.name, temperature)

    @torch.no_grad()
    def settle(self, stage: Stage, model: Network, parts: list[Bucket]) -> None:
        """Measure the norms' statistics anew, over many batches."""
        model.train()
        seed = self.seed + stage.seed
        order = torch.from_numpy(draw(parts, stage.settle * stage.batch, (seed, stage.epochs)))
        random = torch.Generator().manual_seed(seed)
        momentum = model.momentum
        for number, chosen in enumerate(order.split(stage.batch)):
            model.momentum = 1 / (number + 1)
            model(self.batch(chosen, random))
        model.momentum = momentum

    def keep(self, stage: Stage, model: Network, epochs: int, seconds: float, report: str, path: Path) -> None:
        """Validate the model, log the report and write a checkpoint.

        Before the last epoch that is the model as it is: the moving average has norm statistics that are none of its
        own until `finish`, and says little."""
        accuracy = accuracies(model, self.validation, self.device)
        effort = f"{epochs} epochs of {stage.samples}, {seconds / 60:.0f} min, processes: {self.team.size}"
        train = {
            **self.provenance,
            "recipe": {**told(stage), "mix": dataclasses.asdict(self.mix)},
            "history": [*self.history, f"{stage.name} ({effort})"],
            "epochs": epochs,
            "samples": epochs * (stage.samples // stage.batch) * stage.batch,
            "seconds": round(seconds),
            "processes": self.team.size,
            "validation": accuracy,
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "torch": str(torch.__version__),
        }
        save(checkpoint(model, self.labels, self.settings.frontend, train), path)
        log.info(report + "".join(f" {name} {value:.4f}" for name, value in accuracy.items()))

    def epoch(
        self,
        stage: Stage,
        model: Network,
        teachers: list[Network],
        optimizer: torch.optim.Optimizer,
        average: dict[str, Tensor] | None,
        parts: list[Bucket],
        epoch: int,
        grids: Grids | None,
    ) -> float:
        """One epoch; the mean loss. All that is random follows from the seed, the epoch's number and the process's."""
        # tuned is what runs: with the statistics that the norms were left with, not those of the batch
        model.train(stage.weights != "frozen")
        team = self.team
        seed = self.seed + stage.seed
        order = torch.from_numpy(draw(parts, stage.samples, (seed, epoch)))
        random = torch.Generator().manual_seed((seed * 100003 + epoch) * 101 + team.rank)
        shares = np.random.default_rng((seed, epoch, 1 + team.rank))
        per_epoch = stage.samples // stage.batch
        losses = []
        bar = tqdm(range(per_epoch), desc=f"{stage.name} {epoch + 1}/{stage.epochs}", leave=False,
                   disable=not (team.leads and sys.stderr.isatty()))  # fmt: skip
        for step in bar:
            chosen = order[step * stage.batch : (step + 1) * stage.batch][team.rank :: team.size]
            x = self.batch(chosen, random)
            x, target = mixed(x, self.label[chosen].to(self.device), len(self.labels), stage.mixup, shares)
            for group in optimizer.param_groups:
                group["lr"] = group["relative"] * rate_at(epoch * per_epoch + step, stage.epochs * per_epoch, stage)
            with rounded(model, grids):
                loss = self.loss(stage, model, teachers, x, target)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
            team.average(p.grad for p in model.parameters() if p.grad is not None)
            optimizer.step()
            model.clamp()
            if average is not None:
                torch._foreach_lerp_(list(average.values()), list(model.state_dict().values()), 1 - stage.ema)
            losses.append(loss.detach())
        mean = torch.stack(losses).mean()
        team.average([mean])
        if not math.isfinite(mean.item()):
            raise KwsrtError(f"loss {mean.item()} in epoch {epoch + 1} of {stage.name}")
        return mean.item()

    def loss(self, stage: Stage, model: Network, teachers: list[Network], x: Tensor, target: Tensor) -> Tensor:
        """The stage's loss of a batch x [n, frames, bins], target [n, classes]."""
        soft = None
        own: dict[str, list[Tensor]] | None = {} if stage.hidden else None
        shown: dict[str, list[Tensor]] | None = {} if stage.hidden else None
        if teachers and (stage.distil or stage.hidden):
            with torch.no_grad():
                logits = [
                    teacher(x, "full", hidden=None if number else shown)["full"]
                    for number, teacher in enumerate(teachers)
                ]
                soft = torch.stack([(values / stage.temperature).softmax(1) for values in logits]).mean(0)
        total = loss_of(model(x, hidden=own, parts=stage.parts), target, soft if stage.distil else None, stage)
        if own is not None and shown is not None:
            total = total + stage.hidden_weight * hidden_loss(own["full"], shown["full"], stage.hidden)
        return total


def built(kind: Callable[..., T], values: dict[str, Any], where: str) -> T:
    """A dataclass of a config's `values`; OptionError where it has no such field or lacks one."""
    known = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    strange = sorted(values.keys() - known.keys())
    if strange:
        raise OptionError(f"{where} of the config has no setting {', '.join(strange)}; it has {', '.join(known)}")
    no_default = (dataclasses.MISSING, dataclasses.MISSING)
    needed = [n for n, field in known.items() if (field.default, field.default_factory) == no_default]
    missing = [name for name in needed if name not in values]
    if missing:
        raise OptionError(f"{where} of the config lacks {', '.join(missing)}")
    return kind(**values)


def told(stage: Stage) -> dict[str, Any]:
    """What a checkpoint says of its stage: what differs from the defaults, and where it comes from."""
    plain = dataclasses.asdict(Stage("", stage.planes, stage.epochs))
    always = ("planes", "samples", "init", "teachers")
    return {key: value for key, value in dataclasses.asdict(stage).items() if key in always or value != plain[key]}


def mean_of(states: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of networks of one shape, tensor by tensor: of several ends of one way, better than each ("model soups",
    Wortsman et al., 2022)."""
    if any(state.keys() != states[0].keys() for state in states):
        raise OptionError("networks of different shapes have no mean")
    return {
        name: torch.stack([state[name] for state in states]).mean(0) if values.is_floating_point() else values
        for name, values in states[0].items()
    }


def levels_added(state: dict[str, Tensor], has: list[str], wanted: list[str]) -> dict[str, Tensor]:
    """A network's state with the `wanted` thinning levels: one that it lacks starts as a copy of its thinnest."""
    added = {
        name.replace(f".{has[-1]}", f".{level}"): values
        for level in wanted
        if level not in has
        for name, values in state.items()
        if has[-1] in name.split(".")
    }
    return {**state, **added}


def count(text: str) -> int:
    """A number of threads or processes, from the command line."""
    number = int(text)
    if number < 1:
        raise ValueError
    return number


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line, see README.md."""
    parser = argparse.ArgumentParser(prog="python -m tools.train.train", description=__doc__)
    parser.add_argument("config", help="a .toml file or the name of one in tools/train/configs")
    parser.add_argument("--data", required=True, help="folder in the layout of Speech Commands")
    parser.add_argument("--out", required=True, help="folder for checkpoints (a later call goes on from there)")
    parser.add_argument("--cache", help="folder for cached features (default OUT/cache)")
    parser.add_argument("--voices", nargs="*", default=[], help="more folders in that layout: synthetic voices")
    parser.add_argument("--speech", nargs="*", default=[], help="long recordings without keywords, or folders of them")
    parser.add_argument("--noise", nargs="*", default=[], help="long noise recordings, or folders of them")
    parser.add_argument("--init", metavar="FILE", help='packed model or kept weights (.npz): the stage "start"')
    parser.add_argument("--labels", help='"12", "20", "35" or words with commas (default: the config\'s)')
    parser.add_argument("--seed", type=int, help="of the training runs (default: the config's)")
    parser.add_argument("--ship", metavar="MODEL.kws", help="pack the last stage there, and write its card beside it")
    parser.add_argument("--set", nargs="*", default=[], type=tomllib.loads, metavar="KEY=VALUE",
                        help="other values for the config, in TOML: data.frontend.window=640")  # fmt: skip
    parser.add_argument("--stage", nargs="*", help="only these stages (default all); none: features alone")
    parser.add_argument("--threads", type=count, default=0, help="of torch, a process (default: cores / processes)")
    parser.add_argument("--workers", type=count, default=os.cpu_count() or 1, help="processes that make the cache")
    parser.add_argument("--dataset", default="", help="name of the data, for the checkpoint")
    parser.add_argument("--licence", default="", help="licence of the data, for the checkpoint")
    return parser.parse_args(argv)


def merged(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """The config with the changes, tables within tables merged too."""
    both = {name: config[name] for name in config.keys() & changes.keys()}
    tables = {
        name: merged(old, changes[name])
        for name, old in both.items()
        if isinstance(old, dict) and isinstance(changes[name], dict)
    }
    return {**config, **changes, **tables}


def config_of(name: str, changes: list[dict[str, Any]]) -> dict[str, Any]:
    """A config by its name in configs/ or its path, with the changes. OptionError where it cannot be read."""
    path = Path(name)
    if not path.suffix:
        path = Path(__file__).parent / "configs" / f"{name}.toml"
    try:
        return functools.reduce(merged, changes, tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except FileNotFoundError:
        there = sorted(file.stem for file in (Path(__file__).parent / "configs").glob("*.toml"))
        raise OptionError(f"no config {name}; there are {', '.join(there)}, or give a .toml file") from None
    except (OSError, ValueError) as error:
        raise OptionError(f"{path}: cannot read the config: {error}") from None


def run_stages(arguments: argparse.Namespace) -> int:
    """All that a call does; 0, or 1 where recordings were left out."""
    config = config_of(arguments.config, arguments.set)
    if arguments.ship:
        check_ship(Path(arguments.ship))
    level = logging.INFO if Team().leads else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    run = Run(config, arguments)
    torch.set_num_threads(arguments.threads or max(1, (os.cpu_count() or 1) // run.team.size))
    for stage in run.stages:
        if not arguments.stage or stage.name in arguments.stage:
            run.train(stage)
    if arguments.ship and run.team.leads:
        negatives = data.held_out(arguments.speech, run.settings.hold_out)
        usable = [path for path in negatives if str(path) not in run.left_out]
        ship(run.out / f"{run.stages[-1].name}.pt", Path(arguments.ship), run.settings, usable, run.left_out)
    run.team.leave()
    if not run.left_out:
        return 0
    path, why = next(iter(run.left_out.items()))
    log.warning("%d recordings were left out, such as %s", len(run.left_out), shown(f"{path}: {why}"))
    return 1


def check_ship(path: Path) -> None:
    """Whether a packed file, its card and picture can be written there; not after hours of training.

    OptionError if not, or where a picture needs what is not installed."""
    picture.check(path.with_suffix(".png"))
    check_writable(path, replaces=MAGIC)
    if path.suffix != ".kws":
        raise OptionError(f"--ship {path}: expected a file name that ends in .kws")
    folder = path.resolve().parent
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise OptionError(f"--ship {path}: {folder} is no folder that can be written to")


def main(argv: list[str] | None = None) -> int:
    """Run the stages of a config.

    0; 1 where recordings were left out, which cannot be used; 2 after an error, which takes one line."""
    arguments = parse(argv)
    return guarded(lambda: run_stages(arguments), "train")


if __name__ == "__main__":
    sys.exit(main())
