"""Where the channels of images stand."""

__all__ = ["checked_format"]


def checked_format(name: str, given: str | None, *, first: bool = True) -> str:
    """``data_format`` of a layer or function; None is channels last.

    Parameters
    ----------
    name : str
        Of the layer or function, for errors.
    given : {"channels_last", "channels_first"} or None
    first : bool
        Whether channels first are possible.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if given in (None, "channels_last") or (first and given == "channels_first"):
        return given or "channels_last"
    allowed = "allowed are 'channels_last' and 'channels_first'"
    if not first:
        allowed = "only 'channels_last' is supported; move the axis of the channels"
    raise ValueError(f"{name}: data_format is {given!r}; {allowed}")
