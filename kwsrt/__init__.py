"""kwsrt: on-device keyword spotting with truly 1-bit networks.

>>> import kwsrt
>>> for heard in kwsrt.detect("recording.wav"):
...     heard.label, heard.score, heard.time

`load` gives a Model (immutable, shared), `Model.predict` scores about a second, `Model.stream` follows one live source,
`detect` does the whole way from samples to events. Every exception derives from KwsrtError.
"""

import os
from importlib.machinery import PathFinder
from importlib.metadata import PackageNotFoundError, version

if os.path.exists(f"{__path__[0]}/frontend.pyx") and PathFinder.find_spec("kwsrt.frontend", __path__) is None:
    from kwsrt._checkout import installed

    # The sources of a checkout, not built in place. Python finds them first for whoever works in the checkout.
    __file__, __path__ = installed(__path__[0])

from kwsrt.capture import devices, microphone
from kwsrt.decision import Detection, Detector
from kwsrt.errors import (
    AudioError,
    AudioWarning,
    KwsrtError,
    MicrophoneError,
    ModelFileError,
    OptionError,
    ThinError,
    UseError,
)
from kwsrt.listening import listen
from kwsrt.model import Model, detect, load
from kwsrt.scores import Scores
from kwsrt.stream import Stream

try:
    __version__ = version("kwsrt")
except PackageNotFoundError:  # run from a checkout that was built in place
    __version__ = "0+unknown"

__all__ = [
    "AudioError",
    "AudioWarning",
    "Detection",
    "Detector",
    "KwsrtError",
    "MicrophoneError",
    "Model",
    "ModelFileError",
    "OptionError",
    "Scores",
    "Stream",
    "ThinError",
    "UseError",
    "detect",
    "devices",
    "listen",
    "load",
    "microphone",
]
