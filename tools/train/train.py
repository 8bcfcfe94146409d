"""Train the keyword spotting network: python -m tools.train.train CONFIG --data FOLDER --out FOLDER. See README.md."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import logging
import math
import os
import sys
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from . import binarize, data
from .network import Network, default_config
from .rounding import round_for_file

log = logging.getLogger("train")
LEVEL_WEIGHTS = {"full": 1.0, "half": 0.5, "quarter": 0.25}
SUSPECT_PROBABILITY = 0.1
#: (sample numbers, share of an epoch)
Bucket = tuple[data.Array, float]


@dataclass
class Stage:
    """One training run. `rate` is the peak learning rate, `decay` the weight decay of full-precision weights."""

    name: str
    planes: int
    epochs: int
    samples: int = 32768  #: per epoch
    batch: int = 256
    init: str = ""  #: stage whose weights it starts from ("binary.last": its last checkpoint that is not rounded)
    teacher: str = ""  #: stage whose logits it distils and who judges suspects (default that of init)
    optimizer: str = "adamw"  #: or "sgd"
    rate: float = 2e-3
    decay: float = 0.0
    warmup: float = 0.02  #: fraction of all steps
    threshold_rate: float = 0.1  #: learning rate of thresholds and scales, relative
    method: str = "learned"  #: quantiser gradients, see binarize.METHODS
    distil: float = 0.0  #: weight of the teacher's softened logits against 1 - distil of the labels
    temperature: float = 2.0
    ema: float = 0.0  #: decay of the moving average of the weights that is validated and saved; 0 is off
    suspects_from: float = 1.0  #: fraction of the epochs after which filtered suspects are used; 1 is never
    validate: int = 2  #: epochs between validations
    settle: int = 150  #: batches over which the finished network's norm statistics are measured anew

    def __post_init__(self) -> None:
        if self.optimizer not in ("adamw", "sgd") or self.method not in binarize.METHODS or self.epochs < 1:
            raise ValueError(f"stage {self}")


@dataclass
class Mix:
    """Shares of an epoch, see configs/kws12.toml."""

    unknown: float = 0.17
    silence: float = 0.05
    synthetic: float = 0.12
    partial: float = 0.2
    long: float = 0.2
    suspect: float = 0.22


def buckets(samples: data.Samples, labels: list[str], mix: Mix, kept: data.Array | None) -> list[Bucket]:
    """(sample numbers, share of the epoch) of every label and group that has samples; the shares add up to 1.

    `kept` bool [n]: suspects that may be used, None for none of them."""
    special = {data.UNKNOWN: mix.unknown, data.SILENCE: mix.silence}
    words = [label for label in labels if label not in special]
    rest = (1 - sum(share for label, share in special.items() if label in labels)) / max(1, len(words))
    found = []
    for index, label in enumerate(labels):
        of_group = {}
        for group, name in enumerate(data.GROUPS):
            chosen = (samples.label == index) & (samples.group == group)
            if name == "suspect":
                chosen &= False if kept is None else kept
            if chosen.any():
                of_group[name] = np.flatnonzero(chosen)
        shares = {name: getattr(mix, name, 0.0) for name in of_group if name != "recorded"}
        if label == data.SILENCE:
            shares = {"long": 1.0}
        elif label != data.UNKNOWN:
            shares = {name: share for name, share in shares.items() if name == "synthetic"}
        if "recorded" in of_group:
            shares["recorded"] = max(0.0, 1 - sum(shares.values()))
        total = sum(shares.values())
        for name, share in shares.items():
            if name in of_group and total > 0:
                found.append((of_group[name], special.get(label, rest) * share / total))
    whole = sum(share for _, share in found)
    return [(numbers, share / whole) for numbers, share in found]


def draw(parts: list[Bucket], count: int, seed: tuple[int, ...]) -> data.Array:
    """`count` sample numbers of the buckets in random order; no repeats before a bucket is used up."""
    rng = np.random.default_rng(seed)
    wanted = np.floor(np.cumsum([0.0] + [share for _, share in parts]) * count + 1e-6).astype(int)
    order = []
    for (numbers, _), need in zip(parts, np.diff(wanted), strict=True):
        rounds = [rng.permutation(numbers) for _ in range(-(-need // len(numbers)))]
        order.append(np.concatenate(rounds)[:need] if rounds else numbers[:0])
    return rng.permutation(np.concatenate(order))


def augment(features: Tensor, slack: Tensor, frames: int, random: torch.Generator) -> Tensor:
    """Random crop, level, tilt and masks: int8 [n, frames + 2 margin, bins] to float32 of whole numbers
    [n, frames, bins]. `slack` [n]: how far a crop may be from the middle."""
    n, _, bins = features.shape
    margin = (features.shape[1] - frames) // 2

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=random)

    start = margin + torch.round((uniform(n) * 2 - 1) * slack).long()
    rows = start[:, None] + torch.arange(frames)
    x = features[torch.arange(n)[:, None], rows].float()
    line = torch.linspace(-1, 1, bins)
    x = x + (uniform(n, 1, 1) * 12 - 6) + (uniform(n, 1, 1) * 12 - 6) * line
    mean = x.mean((1, 2), keepdim=True)
    for axis, size, position in ((1, frames, torch.arange(frames)), (2, bins, torch.arange(bins))):
        width = torch.floor(uniform(n) * 5) * (uniform(n) < 0.4)
        first = torch.floor(uniform(n) * (size - width + 1))
        masked = (position >= first[:, None]) & (position < (first + width)[:, None])
        x = torch.where(masked.unsqueeze(3 - axis), mean, x)
    return torch.clamp(torch.round(x), -127, 127)


@torch.no_grad()
def predict(
    model: Network, features: data.Array, device: torch.device | str, batch: int = 512, only: str | None = None
) -> dict[str, Tensor]:
    """{level: logits float32 [n, classes]} in evaluation mode."""
    was = model.training
    model.eval()
    parts = [
        model(torch.from_numpy(np.array(features[at : at + batch])).to(device), only)
        for at in range(0, len(features), batch)
    ]
    model.train(was)
    return {level: torch.cat([part[level] for part in parts]).float().cpu() for level in parts[0]}


def accuracies(model: Network, sets: dict[str, data.Samples], device: torch.device | str) -> dict[str, float]:
    """{"full": 0.93, "full_balanced": ..., "full_synthetic": ...}: plain and class-balanced accuracy per level of the
    recorded clips, plain accuracy of the synthetic ones."""
    result = {}
    for name, samples in sets.items():
        label = torch.from_numpy(np.asarray(samples.label)).long()
        for level, logits in predict(model, samples.features, device).items():
            right = (logits.argmax(1) == label).double()
            if name == "recorded":
                result[level] = round(right.mean().item(), 5)
                per_class = [right[label == c].mean().item() for c in label.unique()]
                result[f"{level}_balanced"] = round(float(np.mean(per_class)), 5)
            else:
                result[f"{level}_{name}"] = round(right.mean().item(), 5)
    return result


def save(value: object, path: Path) -> None:
    """torch.save that leaves the old file or the new one, never half of one."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with open(unfinished, "wb") as fh:
        torch.save(value, fh)
        fh.flush()
        os.fsync(fh.fileno())
    os.replace(unfinished, path)


def checkpoint(
    model: Network, state: dict[str, Tensor], labels: list[str], frontend: dict[str, Any], train: dict[str, Any]
) -> dict[str, Any]:
    """A checkpoint in the format that tools/convert.py reads (plain values and float32 tensors)."""
    return {
        "format": "kwsrt-checkpoint",
        "version": 1,
        "network": model.config,
        "labels": list(labels),
        "frontend": dict(frontend),
        "state": {name: value.detach().float().cpu().clone() for name, value in state.items()},
        "train": train,
    }


def load_model(path: Path, device: torch.device | str = "cpu") -> tuple[Network, dict[str, Any]]:
    """Network in evaluation mode and the checkpoint it came from. ValueError for another format."""
    saved = torch.load(path, map_location=device, weights_only=True)
    if not isinstance(saved, dict) or saved.get("format") != "kwsrt-checkpoint" or saved.get("version") != 1:
        raise ValueError(f"{path} is no kwsrt checkpoint of version 1")
    model = Network(saved["network"], len(saved["labels"])).to(device)
    model.load_state_dict(saved["state"])
    return model.eval(), saved


def make_optimizer(model: Network, stage: Stage) -> torch.optim.Optimizer:
    """Full-precision weights decay, latent binary ones, norms, slopes and quantiser parameters do not."""
    groups: dict[str, list[Tensor]] = {"weights": [], "free": [], "quantizers": []}
    binary = {id(m.weight) for m in model.modules() if getattr(m, "kind", "") == "binary"}
    for name, parameter in model.named_parameters():
        if ".act." in name:
            groups["quantizers"].append(parameter)
        elif parameter.dim() > 1 and id(parameter) not in binary:
            groups["weights"].append(parameter)
        else:
            groups["free"].append(parameter)
    settings = [
        {"params": groups["weights"], "weight_decay": stage.decay, "relative": 1.0},
        {"params": groups["free"], "weight_decay": 0.0, "relative": 1.0},
        {"params": groups["quantizers"], "weight_decay": 0.0, "relative": stage.threshold_rate},
    ]
    settings = [s for s in settings if s["params"]]
    if stage.optimizer == "sgd":
        return torch.optim.SGD(settings, stage.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(settings, stage.rate, fused=True)


def rate_at(step: int, steps: int, stage: Stage) -> float:
    """Learning rate of a step: linear warm-up, then half a cosine down to 0."""
    warm = max(1, round(stage.warmup * steps))
    if step < warm:
        return stage.rate * (step + 1) / warm
    return stage.rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def loss_of(logits: dict[str, Tensor], label: Tensor, soft: Tensor | None, stage: Stage) -> Tensor:
    """Cross-entropy of the levels, weighted, mixed with that against the teacher's softened logits."""
    total = torch.zeros((), device=label.device)
    for level, values in logits.items():
        loss = F.cross_entropy(values, label)
        if soft is not None:
            # over their temperature squared, gradients of softened logits have the labels' size
            softened = F.cross_entropy(values / stage.temperature, soft) * stage.temperature**2
            loss = (1 - stage.distil) * loss + stage.distil * softened
        total = total + LEVEL_WEIGHTS.get(level, 0.25) * loss
    return total


class Run:
    """Everything the stages of one call share."""

    def __init__(self, config: dict[str, Any], arguments: argparse.Namespace):
        self.out = Path(arguments.out)
        self.out.mkdir(parents=True, exist_ok=True)
        self.labels = data.labels_of(arguments.labels or config.get("labels", "12"))
        self.seed = int(config.get("seed", 1))
        self.mix = Mix(**config.get("mix", {}))
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.compile = arguments.compile
        paths = {name: getattr(arguments, name) for name in ("voices", "speech", "noise")}
        self.hidden = [word for word in config.get("hidden", data.COMMANDS) if word in self.labels]
        self.settings = data.DataConfig(
            root=arguments.data, labels=self.labels, seed=self.seed, **paths, **config.get("data", {})
        )
        self.provenance = {"dataset": arguments.dataset, "licence": arguments.licence, "seed": self.seed}
        self.stages = [Stage(**values) for values in config["stage"]]
        cache = Path(arguments.cache or self.out / "cache")
        self.samples = data.training_samples(self.settings, cache, arguments.workers, log.info)
        self.features = torch.from_numpy(self.samples.features)
        self.slack = torch.from_numpy(self.samples.slack).float()
        self.label = torch.from_numpy(self.samples.label).long()
        self.validation = data.validation_samples(self.settings, cache)
        counts = {name: len(samples) for name, samples in self.validation.items()}
        log.info("%d training samples, validation %s, on %s", len(self.samples), counts, self.device)

    def suspects(self, stage: Stage, model: Network) -> data.Array:
        """Suspect samples [n] bool that `model` takes for no hidden word, judged once a stage and kept in a file."""
        file = self.out / f"{stage.name}.suspects.pt"
        if file.exists():
            kept = torch.load(file, weights_only=True).numpy()
            if len(kept) == len(self.samples):
                return kept
        numbers = np.flatnonzero(self.samples.group == data.GROUPS.index("suspect"))
        kept = np.zeros(len(self.samples), bool)
        if len(numbers):
            margin = self.settings.margin
            seen = self.samples.features[numbers][:, margin : margin + self.settings.frames]
            probability = predict(model, seen, self.device, only="full")["full"].softmax(1).numpy()
            words = [self.labels.index(word) for word in self.hidden]
            worst = np.zeros(self.samples.source.max() + 1)
            np.maximum.at(worst, self.samples.source[numbers], probability[:, words].max(1, initial=0))
            kept[numbers] = worst[self.samples.source[numbers]] < SUSPECT_PROBABILITY
        log.info("%d of %d suspect samples kept", kept.sum(), len(numbers))
        save(torch.from_numpy(kept), file)
        return kept

    def train(self, stage: Stage) -> Path:
        """Train a stage, going on where an earlier call was cut off; path of its checkpoint."""
        done, resume = self.out / f"{stage.name}.pt", self.out / f"{stage.name}.resume.pt"
        if done.exists():
            log.info("%s: already there", done)
            return done
        torch.manual_seed(self.seed)
        network = default_config(stage.planes)
        network.update(frames=self.settings.frames, bins=self.settings.frontend["bins"])
        model = Network(network, len(self.labels), stage.method).to(self.device)
        teacher, missing = None, {"all"}
        if stage.init:
            start, saved = load_model(self.out / f"{stage.init}.pt", self.device)
            teacher = load_model(self.out / f"{stage.teacher}.pt", self.device)[0] if stage.teacher else start
            if saved["labels"] != self.labels:
                raise ValueError(f"stage {stage.init} has other labels")
            missing = set(model.load_state_dict(saved["state"], strict=False).missing_keys)
            if any(".act." not in name for name in missing):
                raise ValueError(f"stage {stage.init} is another network: {sorted(missing)[:3]}")
        parts = buckets(self.samples, self.labels, self.mix, None)
        if stage.planes and missing:
            chosen = torch.from_numpy(draw(parts, 1024, (self.seed, 0)))
            middle = torch.Generator().manual_seed(self.seed)
            model.calibrate(augment(self.features[chosen], self.slack[chosen], self.settings.frames, middle))
        optimizer = make_optimizer(model, stage)
        average = {n: v.clone() for n, v in model.state_dict().items()} if stage.ema else None
        first, spent = 0, 0.0
        if resume.exists():
            state = torch.load(resume, map_location=self.device, weights_only=True)
            model.load_state_dict(state["model"])
            optimizer.load_state_dict(state["optimizer"])
            average, first, spent = state["average"], state["epoch"], state["seconds"]
            log.info("%s: going on after epoch %d", stage.name, first)
        if self.compile:
            model.compile()
            if teacher is not None:
                teacher.compile(evaluation=True)
        accuracy: dict[str, float] = {}
        began = time.monotonic() - spent
        for epoch in range(first, stage.epochs):
            use_suspects = epoch >= stage.suspects_from * stage.epochs
            kept = self.suspects(stage, teacher or model) if use_suspects else None
            parts = buckets(self.samples, self.labels, self.mix, kept)
            loss = self.epoch(stage, model, teacher, optimizer, average, parts, epoch)
            seconds = time.monotonic() - began
            last = epoch + 1 == stage.epochs
            progress = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average}
            if not last:
                save({**progress, "epoch": epoch + 1, "seconds": seconds}, resume)
            else:
                if average is not None:
                    model.load_state_dict(average)
                average = None
                self.settle(stage, model, parts)
                round_for_file(model)
            text = f"{stage.name} epoch {epoch + 1}/{stage.epochs} loss {loss:.4f} {seconds:.0f} s"
            if last or (epoch + 1) % stage.validate == 0:
                accuracy = self.validate(model, average)
                text += "".join(f" {name} {value:.4f}" for name, value in accuracy.items())
            log.info(text)
            train = {
                **self.provenance,
                "recipe": {**dataclasses.asdict(stage), "mix": dataclasses.asdict(self.mix)},
                "epochs": epoch + 1,
                "samples": (epoch + 1) * (stage.samples // stage.batch) * stage.batch,
                "seconds": round(seconds),
                "validation": accuracy,
                "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
                "torch": str(torch.__version__),
            }
            state = average or model.state_dict()
            values = checkpoint(model, state, self.labels, self.settings.frontend, train)
            save(values, done if last else self.out / f"{stage.name}.last.pt")
        return done

    def settle(self, stage: Stage, model: Network, parts: list[Bucket]) -> None:
        """Measure the norms' statistics anew, as the mean over many batches of the finished weights.

        What training leaves is a mean over the last few batches; signs downstream amplify its noise."""
        model.train()
        order = torch.from_numpy(draw(parts, stage.settle * stage.batch, (self.seed, stage.epochs)))
        random = torch.Generator().manual_seed(self.seed)
        momentum = model.momentum
        for number, chosen in enumerate(order.split(stage.batch)):
            model.momentum = 1 / (number + 1)
            model(augment(self.features[chosen], self.slack[chosen], self.settings.frames, random).to(self.device))
        model.momentum = momentum

    def validate(self, model: Network, average: dict[str, Tensor] | None) -> dict[str, float]:
        """Accuracies of the model, or of the moving average of its weights."""
        if average is None:
            return accuracies(model, self.validation, self.device)
        own = {name: value.clone() for name, value in model.state_dict().items()}
        model.load_state_dict(average)
        result = accuracies(model, self.validation, self.device)
        model.load_state_dict(own)
        return result

    def epoch(
        self,
        stage: Stage,
        model: Network,
        teacher: Network | None,
        optimizer: torch.optim.Optimizer,
        average: dict[str, Tensor] | None,
        parts: list[Bucket],
        epoch: int,
    ) -> float:
        """One epoch; the mean loss. All that is random follows from the seed and the epoch's number."""
        model.train()
        order = torch.from_numpy(draw(parts, stage.samples, (self.seed, epoch)))
        random = torch.Generator().manual_seed(self.seed * 100003 + epoch)
        per_epoch = stage.samples // stage.batch
        losses = []
        bar = tqdm(range(per_epoch), desc=f"{stage.name} {epoch + 1}/{stage.epochs}", leave=False,
                   disable=not sys.stderr.isatty())  # fmt: skip
        for step in bar:
            chosen = order[step * stage.batch : (step + 1) * stage.batch]
            x = augment(self.features[chosen], self.slack[chosen], self.settings.frames, random).to(self.device)
            label = self.label[chosen].to(self.device)
            soft = None
            if teacher is not None and stage.distil:
                with torch.no_grad():
                    soft = (teacher(x, "full")["full"] / stage.temperature).softmax(1)
            for group in optimizer.param_groups:
                group["lr"] = group["relative"] * rate_at(epoch * per_epoch + step, stage.epochs * per_epoch, stage)
            loss = loss_of(model(x), label, soft, stage)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            model.clamp()
            if average is not None:
                with torch.no_grad():
                    for name, value in model.state_dict().items():
                        average[name].lerp_(value, 1 - stage.ema)
            losses.append(loss.detach())
        mean = torch.stack(losses).mean().item()
        if not math.isfinite(mean):
            raise FloatingPointError(f"loss {mean} in epoch {epoch + 1} of {stage.name}")
        return mean


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Command line, see README.md."""
    parser = argparse.ArgumentParser(prog="python -m tools.train.train", description=__doc__)
    parser.add_argument("config", help="a .toml file or the name of one in tools/train/configs")
    parser.add_argument("--data", required=True, help="folder in the layout of Speech Commands")
    parser.add_argument("--out", required=True, help="folder for checkpoints (a later call goes on from there)")
    parser.add_argument("--cache", help="folder for cached features (default OUT/cache)")
    parser.add_argument("--voices", nargs="*", default=[], help="more folders in that layout: synthetic voices")
    parser.add_argument("--speech", nargs="*", default=[], help="folders of long recordings without keywords")
    parser.add_argument("--noise", nargs="*", default=[], help="folders of long noise recordings")
    parser.add_argument("--labels", help='"12", "20", "35" or words with commas (default: the config\'s)')
    parser.add_argument("--stage", nargs="*", help="only these stages (default all)")
    parser.add_argument("--compile", action="store_true", help="torch.compile the training passes")
    parser.add_argument("--threads", type=int, default=0, help="torch threads (default torch's choice)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that make the cache")
    parser.add_argument("--dataset", default="", help="name of the data, for the checkpoint")
    parser.add_argument("--licence", default="", help="licence of the data, for the checkpoint")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Run the stages of a config."""
    arguments = parse(argv)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    path = Path(arguments.config)
    if not path.suffix:
        path = Path(__file__).parent / "configs" / f"{arguments.config}.toml"
    run = Run(tomllib.loads(path.read_text()), arguments)
    for stage in run.stages:
        if not arguments.stage or stage.name in arguments.stage:
            run.train(stage)
    return 0


if __name__ == "__main__":
    sys.exit(main())
