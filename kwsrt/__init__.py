"""kwsrt: on-device keyword spotting with truly 1-bit networks.

>>> import kwsrt
>>> for heard in kwsrt.detect("recording.wav"):
...     heard.label, heard.score, heard.time

`load` gives a Model (immutable, shared), `Model.predict` scores about a second, `Model.stream` follows one live source,
`detect` does the whole way from samples to events. Every exception derives from KwsrtError.
"""
from importlib.metadata import PackageNotFoundError, version

from kwsrt.capture import devices, microphone
from kwsrt.decision import Detection, Detector
from kwsrt.errors import AudioError, AudioWarning, KwsrtError, MicrophoneError, ModelFileError, OptionError, ThinError
from kwsrt.listening import listen
from kwsrt.model import Model, detect, load
from kwsrt.scores import Scores
from kwsrt.stream import Stream

try:
    __version__ = version("kwsrt")
except PackageNotFoundError:  # run from a checkout that was built in place
    __version__ = "0+unknown"

__all__ = ["AudioError", "AudioWarning", "Detection", "Detector", "KwsrtError", "MicrophoneError", "Model",
           "ModelFileError", "OptionError", "Scores", "Stream", "ThinError", "detect", "devices", "listen", "load",
           "microphone"]
