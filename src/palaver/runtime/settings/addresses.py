"""Settings that say where the replicas of a service are."""

from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator

from palaver.runtime.replicas.addresses import SEPARATOR, read_entries

SEVERAL = "Several, with commas between or as a list, are replicas; a name stands for all its addresses."


def joined(given: Any) -> Any:
    """A list as one text: both are read."""
    if isinstance(given, list) and all(isinstance(one, str) for one in given):
        return SEPARATOR.join(given)
    return given


def checked_targets(given: str) -> str:
    """Addresses of gRPC. Raises `ValueError`."""
    for entry in read_entries(given) if given else ():
        if entry.scheme:
            raise ValueError(f"{entry.scheme}://{entry.host} is a URL, and not host and port")
    return given


def checked_urls(given: str) -> str:
    """Base URLs. Raises `ValueError`."""
    for entry in read_entries(given):
        if entry.host and not entry.scheme:
            raise ValueError(f"{entry.host}:{entry.port} is no URL: it begins with http://")
    return given


Targets = Annotated[str, BeforeValidator(joined), AfterValidator(checked_targets)]
Urls = Annotated[str, BeforeValidator(joined), AfterValidator(checked_urls)]
