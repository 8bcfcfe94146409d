"""Hours of audio through a stream and a detector, as fast as this machine goes: python -m tests.soak [--hours 8]

Chunks of random lengths, words, noise and digital silence. Fails when memory grows, when a decision is missing or late
by a sample, when scores are no distribution, or when the detections are not those of the first minutes over and over. A
short one runs in test_soak.py.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.io import wavfile

import kwsrt

RECORDING = Path(__file__).parent / "recordings" / "commands.wav"
GROWTH = 2 << 20


def resident():
    """Bytes of this process's memory that are in RAM."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def programme(stream):
    """About a minute of words, noise and silence whose length is a whole number of decisions."""
    rng = np.random.default_rng(0)
    words = wavfile.read(RECORDING)[1]
    parts = [words, np.zeros(5 * 16000), 800 * rng.standard_normal(10 * 16000), words // 3, np.zeros(16000), words]
    samples = np.concatenate(parts).astype(np.int16)
    return np.pad(samples, (0, -len(samples) % stream.stride))


def soak(hours, thin="auto", report=lambda text: None):
    """Detections a round; AssertionError when something is wrong."""
    model, rng = kwsrt.load(), np.random.default_rng(1)
    stream, detector = model.stream(thin=thin, gate=-70.0), model.detector()
    samples = programme(stream)
    rounds = max(4, round(hours * 3600 / (len(samples) / model.sample_rate)))
    made, first, grown_from = 0, None, None
    for number in range(rounds):
        heard, at = [], 0
        while at < len(samples):
            length = int(rng.choice([1, 160, 480, 1024, 16000]))
            scores = stream.push(samples[at : at + length])
            assert scores.ends.tolist() == [stream.window + stream.stride * (made + i) for i in range(len(scores))]
            assert np.abs(scores.values.sum(1) - 1).max(initial=0) < 1e-5
            made += len(scores)
            heard += detector.push(scores)
            at += length
        begun = number * len(samples) / model.sample_rate
        events = [(event.label, round(event.time - begun, 3)) for event in heard]
        if number == 1:  # the first round lacks what the end of the one before leaves to be heard
            first, grown_from = events, resident()
        elif number > 1:
            assert events == first, f"round {number}"
            assert resident() - grown_from < GROWTH, f"{resident() - grown_from} bytes more in round {number}"
        if number % 100 == 0:
            report(f"{begun / 3600:.2f} h, {made} decisions, {resident() >> 20} MiB")
    assert made == (rounds * len(samples) - stream.window) // stream.stride + 1
    return first


def main():
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=8)
    parser.add_argument("--thin", default="auto")
    arguments = parser.parse_args()
    heard = soak(arguments.hours, arguments.thin, print)
    print(f"{arguments.hours} h: {len(heard)} detections in every round")
    return 0


if __name__ == "__main__":
    sys.exit(main())
