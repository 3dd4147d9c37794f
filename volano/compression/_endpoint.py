"""A language model behind an OpenAI-compatible address that says what rows should be called.

``POST {url}/chat/completions``, one row a request. What it says counts only if it is one of the
names; every usable answer is kept on disk, so that no row is paid for twice.
"""

from __future__ import annotations

import email.utils
import hashlib
import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from volano.errors import AssetError
from volano.spec import EndpointSpec

__all__ = ["Endpoint", "Told"]

TRIES = 4
"""How often a request is sent that was answered with 408, 409, 429 or 5xx, or not at all."""

FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0
ASKED_AGAIN = 1
"""How often a row is asked about again whose answer is none of the names."""

TIMEOUT_S = 60.0
MOST_CHARACTERS = 20_000
"""Of a row's cells; what is longer is cut."""

_AGAIN = {408, 409, 425, 429, 500, 502, 503, 504, 529}


@dataclass
class Told:
    """What an endpoint said of some rows.

    Attributes:
      codes: Of each row the place of its name, -1 where none was usable.
      counts: ``asked`` rows, ``cached`` ones among them, ``unusable`` answers, ``requests`` sent,
        ``tokens_in`` and ``tokens_out`` that they cost, as the endpoint counts them.
    """

    codes: list[int]
    counts: dict[str, int] = field(default_factory=dict)


class Endpoint:
    """Asks, checks, tries again, and remembers.

    Args:
      spec: Where and what to ask, and which columns may be sent.
      names: The classes.
      cache: A file of answers, one JSON object a line; made when it is not there.
      step: Told how far it is; may raise.
    Raises:
      AssetError: The variable with the key is not set (ASSET-109).
    """

    def __init__(
        self,
        spec: EndpointSpec,
        names: Sequence[str],
        cache: Path,
        *,
        step: Callable[[str, float, float], None] = lambda label, done, total: None,
    ) -> None:
        self._spec, self._names, self._cache, self._step = spec, list(names), cache, step
        self._places = {name.casefold().strip(): place for place, name in enumerate(names)}
        self._key = os.environ.get(spec.key) if spec.key else None
        if spec.key and not self._key:
            raise AssetError(
                109,
                f"the environment has no variable {spec.key!r} with the endpoint's key",
                where="compress.endpoint.key",
                expected="a variable that is set where the turn runs",
                fix=f"export {spec.key}=...",
            )
        self._lock = threading.Lock()
        self._known = self._remembered()
        self._counts = dict.fromkeys(
            ("asked", "cached", "unusable", "requests", "tokens_in", "tokens_out"), 0
        )

    def label(self, rows: Sequence[Mapping[str, str]]) -> Told:
        """What rows should be called.

        Args:
          rows: Column -> cell; only the columns that the spec names are sent.
        Raises:
          AssetError: The endpoint cannot be reached, or refuses (ASSET-110).
        """
        self._counts["asked"] += len(rows)
        codes = [-1] * len(rows)
        done = 0

        def ask(place: int) -> None:
            nonlocal done
            codes[place] = self._asked(rows[place])
            with self._lock:
                done += 1
                self._step("asking the endpoint", done, len(rows))

        with ThreadPoolExecutor(self._spec.at_once) as pool:
            asked = [pool.submit(ask, place) for place in range(len(rows))]
            try:
                for each in asked:
                    each.result()
            finally:
                pool.shutdown(cancel_futures=True)
        self._counts["unusable"] += codes.count(-1)
        return Told(codes, dict(self._counts))

    def _asked(self, row: Mapping[str, str]) -> int:
        messages = self._messages(row)
        digest = hashlib.sha256(json.dumps([self._spec.model, messages]).encode()).hexdigest()
        with self._lock:
            if digest in self._known:
                self._counts["cached"] += 1
                return self._places.get(self._known[digest].casefold().strip(), -1)
        place = -1
        for _ in range(1 + ASKED_AGAIN):
            said = self._answer(messages)
            place = self._place(said)
            if place >= 0:
                break
            messages = [
                *messages,
                {"role": "assistant", "content": said[:500]},
                {"role": "user", "content": "That is none of the names. Answer with one of them."},
            ]
        if place >= 0:
            self._remember(digest, self._names[place])
        return place

    def _messages(self, row: Mapping[str, str]) -> list[dict[str, str]]:
        names = json.dumps(self._names, ensure_ascii=False)
        system = (
            f"{self._spec.instruction}\n"
            f"Answer with exactly one of these names and nothing else: {names}"
        )
        sent = {name: row.get(name, "")[:MOST_CHARACTERS] for name in self._spec.columns}
        return [
            {"role": "system", "content": system},
            {"role": "user", "content": json.dumps(sent, ensure_ascii=False)},
        ]

    def _place(self, said: str) -> int:
        """The name that an answer is: bare, in quotes, or as the one value of a JSON object."""
        text = said.strip()
        if text.startswith("```"):
            text = text.strip("`").removeprefix("json").strip()
        try:
            value = json.loads(text)
            if isinstance(value, dict) and len(value) == 1:
                (value,) = value.values()
            text = value if isinstance(value, str) else text
        except ValueError:
            pass
        return self._places.get(text.strip().rstrip(".").casefold(), -1)

    def _answer(self, messages: Sequence[Mapping[str, str]]) -> str:
        body = {
            "model": self._spec.model,
            "messages": messages,
            "temperature": 0,
            "max_tokens": self._spec.max_tokens,
        }
        found = self._sent(json.dumps(body).encode())
        usage = found.get("usage") or {}
        with self._lock:
            self._counts["tokens_in"] += int(usage.get("prompt_tokens") or 0)
            self._counts["tokens_out"] += int(usage.get("completion_tokens") or 0)
        try:
            return str(found["choices"][0]["message"]["content"] or "")
        except (KeyError, IndexError, TypeError):
            return ""

    def _sent(self, body: bytes) -> dict[str, Any]:
        """One request, tried again where that may help."""
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        # S310: the spec takes http and https alone.
        request = urllib.request.Request(  # noqa: S310
            f"{self._spec.url.rstrip('/')}/chat/completions", body, headers
        )
        pause, why = FIRST_PAUSE_S, ""
        for attempt in range(TRIES):
            with self._lock:
                self._counts["requests"] += 1
            wait = pause
            try:
                with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                    found = json.loads(answer.read())
                    return found if isinstance(found, dict) else {}
            except urllib.error.HTTPError as error:
                why = f"HTTP {error.code}"
                if error.code not in _AGAIN:
                    raise self._lost(
                        f"{why}: {error.read(300).decode('utf-8', 'replace')}"
                    ) from None
                wait = max(wait, _seconds(error.headers.get("Retry-After")))
            except (OSError, http.client.HTTPException, ValueError) as error:
                why = str(getattr(error, "reason", error)) or type(error).__name__
            if attempt + 1 < TRIES:
                time.sleep(min(wait, LONGEST_PAUSE_S))
                pause *= 2
        raise self._lost(why)

    def _lost(self, why: str) -> AssetError:
        return AssetError(
            110,
            f"the endpoint does not answer ({' '.join(why.split())[:200]})",
            where=self._spec.url,
            expected="an OpenAI-compatible address, such as https://HOST/v1",
            fix="volano turn   (rows that were answered are not asked again)",
        )

    def _remembered(self) -> dict[str, str]:
        found = {}
        if self._cache.exists():
            for line in self._cache.read_text(encoding="utf-8", errors="replace").splitlines():
                # The last line of a killed run may be cut off.
                try:
                    entry = json.loads(line)
                    found[str(entry["of"])] = str(entry["name"])
                except (ValueError, KeyError, TypeError):
                    continue
        return found

    def _remember(self, digest: str, name: str) -> None:
        line = json.dumps({"of": digest, "name": name}, ensure_ascii=False) + "\n"
        with self._lock:
            self._known[digest] = name
            self._cache.parent.mkdir(parents=True, exist_ok=True)
            with self._cache.open("a", encoding="utf-8") as file:
                file.write(line)


def _seconds(header: str | None) -> float:
    """What ``Retry-After`` asks for: seconds or a date."""
    if not header:
        return 0.0
    try:
        return float(header)
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (TypeError, ValueError):
        return 0.0
