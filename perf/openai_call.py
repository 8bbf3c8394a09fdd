"""A request of the load test to a server with OpenAI's images API."""

from __future__ import annotations

import base64
from typing import Any

import requests

from imagegen_client import GenerateResult
from imagegen_client.errors import DeadlineExceeded, ServerUnreachable
from perf.answer_check import WrongAnswer
from perf.wanted import Wanted

_TIMEOUT_S = 600.0


class OpenAIClient:
    """Blocking, for one user: generations for text alone, edits for what starts from an image.

    Args:
        url: of the server, without a path.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        self._session = requests.Session()
        self._session.trust_env = False  # the proxies of the environment are not what is measured

    def generate(self, wanted: Wanted) -> GenerateResult:
        """The images.

        Raises:
            ServerUnreachable, DeadlineExceeded: there is no answer.
            WrongAnswer: the answer is an error, its kind the API's code, or cannot be read.
        """
        try:
            answer = self._post(wanted)
        except requests.Timeout as error:
            raise DeadlineExceeded(str(error)) from error
        except requests.RequestException as error:
            raise ServerUnreachable(str(error)) from error
        if answer.status_code != 200:
            raise WrongAnswer(*_refusal(answer))
        try:
            data = answer.json()["data"]
            images = tuple(base64.b64decode(image["b64_json"], validate=True) for image in data)
            return GenerateResult(images, (), tuple(int(image["seed"]) for image in data), {})
        except (ValueError, KeyError, TypeError) as error:
            raise WrongAnswer("unreadable answer", error) from error

    def close(self) -> None:
        """Close the connection."""
        self._session.close()

    def _post(self, wanted: Wanted) -> requests.Response:
        values = wanted.values()
        if "image" not in values:
            return self._session.post(f"{self._url}/v1/images/generations", json=values, timeout=_TIMEOUT_S)
        files: dict[str, Any] = {}
        for name in ("image", "mask"):
            if name in values:
                files[name] = (f"{name}.png", values.pop(name), "image/png")
        return self._session.post(f"{self._url}/v1/images/edits", data=values, files=files, timeout=_TIMEOUT_S)


def _refusal(answer: requests.Response) -> tuple[str, str]:
    """Kind and details of an error."""
    details = answer.text[:500]
    try:
        error: dict[str, Any] = answer.json()["error"]
        return str(error.get("code") or error.get("type") or f"status {answer.status_code}"), details
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"status {answer.status_code}", details
