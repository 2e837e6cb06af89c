"""What to say when a verb needs packages that come with an extra."""

from __future__ import annotations

#: Packages of this distribution; that one of them is missing is a fault, not a missing extra.
_OWN_PACKAGES = ("api_client", "worker", "migrations")


def is_missing_extra(error: BaseException) -> bool:
    """Whether ``error`` means that a package of someone else is not installed."""
    return (
        isinstance(error, ModuleNotFoundError)
        and (error.name or "").partition(".")[0] not in _OWN_PACKAGES
    )


#: Verbs that start a broker of their own, too.
_WITH_A_BROKER = ("zdk demo", "zdk up")


def missing_extra_message(verb: str = "this") -> str:
    """What to do about it."""
    extra = "embedded" if verb in _WITH_A_BROKER else "worker"
    return f"{verb} needs pip install 'zdk-storage[{extra}]'"
