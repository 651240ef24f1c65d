"""The Hugging Face hub, asked once whether it has something: nobody waits for a library's retries, or reads them."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from suite.errors import first_line

PATIENCE = 10.0
"""Seconds that the hub has for its first answer."""

MEMORY = 60.0
"""Seconds for which a hub out of reach is not asked again."""

_out_of_reach: dict[str, float] = {}
"""When an endpoint did not answer, by its address."""


class NotFetched(Exception):
    """The hub did not give it and no copy is here; the text is the reason, part of a line."""


def fetch(
    download: Callable[[bool], str], repository: str, *, revision: str | None = None, dataset: bool = False
) -> Path:
    """What `download` gives, from the hub where that answers, else from the copy that an earlier call has left here.

    Args:
        download: fetches it; told whether only the copy here counts.

    Raises:
        NotFetched: no answer, no such repository, no access, or an error while fetching.
    """
    with _unheard():
        why = _refusal(repository, revision, dataset)
        try:
            return Path(download(bool(why)))
        except Exception as error:  # the client raises many unrelated types: network, permission, a full disk
            raise NotFetched(why or first_line(error)) from error


def is_here(repository: str, revision: str | None = None) -> bool:
    """Whether a copy of a model's description is here, and so nearly always of the model; nothing is asked."""
    from huggingface_hub import try_to_load_from_cache

    return isinstance(try_to_load_from_cache(repository, "config.json", revision=revision), str)


def _refusal(repository: str, revision: str | None, dataset: bool) -> str:
    """Why the hub does not give it, "" where it would."""
    import httpx
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    api = HfApi()
    silent = f"no answer from {api.endpoint}"
    if time.monotonic() - _out_of_reach.get(api.endpoint, -MEMORY) < MEMORY:
        return silent
    kind = "dataset" if dataset else "model"
    try:
        api.repo_info(repository, repo_type=kind, revision=revision, timeout=PATIENCE)
    except OfflineModeIsEnabled:
        return "offline mode is on: HF_HUB_OFFLINE"
    except GatedRepoError:
        return "it is gated: ask for access there, and log in with 'hf auth login'"
    except RevisionNotFoundError:
        return f"it has no revision {revision!r}"
    except RepositoryNotFoundError:
        return "no such repository, or no access to it"
    except HfHubHTTPError as error:
        return f"{api.endpoint} answers {error.response.status_code}"
    except (httpx.HTTPError, OSError) as error:
        _out_of_reach[api.endpoint] = time.monotonic()
        return f"{silent}: {first_line(error)}"
    except Exception:  # an answer that the client does not understand, of a mirror: the download will show
        return ""
    return ""


@contextlib.contextmanager
def _unheard() -> Iterator[None]:
    """Show no word of the client; its progress bars stay."""
    from huggingface_hub.utils import logging as theirs  # sets the level when it is first imported

    log = theirs.get_logger("huggingface_hub")
    level = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(level)
