"""Every exception that kwsrt raises on purpose; all of them derive from KwsrtError. And its only warning."""


class KwsrtError(Exception):
    """Base of all kwsrt exceptions: the message says what is wrong and what to do."""


class AudioError(KwsrtError, ValueError):
    """Audio that cannot be used: wrong dtype, shape or sample rate, empty, NaN or infinite samples, unreadable file."""


class ModelFileError(KwsrtError, ValueError):
    """A model file that is missing, damaged, truncated, of another format or of a newer version."""


class ThinError(KwsrtError, ValueError):
    """A thinning level that the model does not have."""


class OptionError(KwsrtError, ValueError):
    """A front-end, layer or decision option outside its range."""


class MicrophoneError(KwsrtError, OSError):
    """No microphone, no PortAudio library, or a device that stopped."""


class AudioWarning(UserWarning):
    """Audio that is used, with something to know about it: channels cancel each other, a file was cut off."""
