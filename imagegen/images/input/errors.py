"""The exceptions by which a step of loading says that an image cannot be used.

    ImageError              invalid_image            malformed, damaged, empty, or no image at all
    ├── TooLarge            too_large                over a limit of bytes or pixels
    ├── UnsupportedFormat   unsupported_media_type   a format that is known but not accepted
    ├── UrlNotAllowed       url_not_allowed          a scheme, host or address that is not fetched from
    └── FetchFailed         fetch_failed             the remote server's status, a timeout, a broken connection

The client sees `<field>: <code>: <message>` for each image that was refused.
"""

from __future__ import annotations


class ImageError(Exception):
    """An input image or mask cannot be used.

    The message is shown to the client, behind the field's name: it names what is wrong and what is allowed,
    and never an internal address, a path or the text of a library's exception.

    Attributes:
        code: stable word for programs, by which the message starts.
    """

    code = "invalid_image"

    def __str__(self) -> str:
        return f"{self.code}: {super().__str__()}"


class TooLarge(ImageError):
    """The image has more bytes or pixels than allowed."""

    code = "too_large"


class UnsupportedFormat(ImageError):
    """The image is in a known format that is not accepted."""

    code = "unsupported_media_type"


class UrlNotAllowed(ImageError):
    """The URL is not one to fetch from. One text for every reason: it must not help to map the server's network."""

    code = "url_not_allowed"

    def __init__(self) -> None:
        super().__init__("this URL is not fetched; give an http(s) URL of a public host that the server allows")


class FetchFailed(ImageError):
    """The image could not be fetched from its URL."""

    code = "fetch_failed"
