"""The one exception by which a step of loading says that an image cannot be used."""

from __future__ import annotations


class Refused(Exception):
    """An image was refused.

    The message is shown to the client, behind the field's name: it names what is wrong and what is allowed,
    and never an internal address, a path or the text of a library's exception.
    """
