"""What can go wrong with the embedded stores, each as one line for the person who has to act."""


class EmbeddedError(Exception):
    """The embedded stores can not run; the message says why and what to do."""


class DataInUse(EmbeddedError):  # noqa: N818 - a fact about the data, named as the reader would say it
    """Another farebox works on the same data."""
