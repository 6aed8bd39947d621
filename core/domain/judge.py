"""Where a judge is: any server that speaks OpenAI's chat protocol."""

import math
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from core.errors import InvalidInput

MAX_URL_CHARS = 500
MAX_NAME_CHARS = 128
MOST_USD_PER_MILLION = 10_000.0
HOST = re.compile(r"[A-Za-z0-9._:-]+")
EXAMPLE = "https://judge.example.com/v1"


@dataclass(frozen=True, slots=True)
class JudgeEndpoint:
    """A judge and its price.

    Attributes:
        base_url: With or without `/v1`; no user, no query.
        model: Its name there.
        input_usd_per_million: Price of a million prompt tokens, $; 0 for one's own.
        output_usd_per_million: Price of a million answer tokens, $.

    Raises:
        InvalidInput: The address or a price cannot be used.
    """

    base_url: str
    model: str
    input_usd_per_million: float = 0.0
    output_usd_per_million: float = 0.0

    def __post_init__(self) -> None:
        problem = _why_unusable(self.base_url)
        if problem:
            raise InvalidInput(f"The judge's address {problem}.", f"Such as {EXAMPLE}.")
        if (
            not self.model.strip()
            or len(self.model) > MAX_NAME_CHARS
            or not self.model.isprintable()
        ):
            raise InvalidInput("The judge's model has no usable name.", "As its server calls it.")
        prices = (self.input_usd_per_million, self.output_usd_per_million)
        if not all(math.isfinite(p) and 0 <= p <= MOST_USD_PER_MILLION for p in prices):
            raise InvalidInput(
                "The judge's prices are not usable.",
                f"$ per million tokens, from 0 to {MOST_USD_PER_MILLION:,.0f}.",
            )

    @property
    def root(self) -> str:
        """Address without a trailing `/v1`."""
        return self.base_url.strip().rstrip("/").removesuffix("/v1").rstrip("/")

    @property
    def keeps_secrets(self) -> bool:
        """Whether a key may be sent: over TLS, or without leaving this host."""
        parts = urlsplit(self.base_url.strip())
        return parts.scheme == "https" or _is_loopback(parts.hostname or "")

    def to_params(self) -> dict[str, Any]:
        """Return JSON values, as jobs keep them. There is no key among them."""
        return {
            "base_url": self.base_url.strip(),
            "model": self.model.strip(),
            "input_usd_per_million": self.input_usd_per_million,
            "output_usd_per_million": self.output_usd_per_million,
        }


def _why_unusable(url: str) -> str | None:
    """Say what is wrong with an address."""
    text = url.strip()
    if not text or len(text) > MAX_URL_CHARS or not text.isprintable() or " " in text:
        return "is empty, too long or unprintable"
    try:
        parts = urlsplit(text)
        return _why_wrong(parts, parts.hostname or "", parts.port)
    except ValueError:
        return "cannot be read"


def _why_wrong(parts: SplitResult, host: str, _: int | None) -> str | None:
    if parts.scheme not in ("http", "https"):
        return "begins with neither http:// nor https://"
    if not HOST.fullmatch(host):
        return "names no host"
    if parts.username is not None or parts.password is not None:
        return "holds a user or password, which would be stored"
    if parts.query or parts.fragment:
        return "holds a query or a fragment"
    return None


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
