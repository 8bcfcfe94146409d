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


class UseError(KwsrtError, RuntimeError, TypeError):
    """An object used as it cannot be: by two threads at once, as a copy, or without having been made.

    It is a TypeError as well because that is what Python raises for objects that cannot be copied or pickled.
    """


class MicrophoneError(KwsrtError, OSError):
    """No microphone, no PortAudio library, or a device that stopped."""


class AudioWarning(UserWarning):
    """Audio that is used, with something to know about it: channels cancel each other, a file was cut off."""


def not_free(thing: object, in_use: bool) -> UseError:
    """What to raise of an object that is in use already, or that was never made."""
    name = type(thing).__name__
    if in_use:
        return UseError(
            f"this {name} is in use by another thread, or by a call that has not returned: "
            "give each thread one of its own"
        )
    return UseError(f"this {name} was never made: its __init__ was not called; in a subclass, call super().__init__()")


def no_copy(thing: object, instead: str) -> UseError:
    """What to raise of an object with a state that cannot be copied. `instead` : what to do."""
    return UseError(f"a {type(thing).__name__} cannot be copied or pickled: {instead}")
