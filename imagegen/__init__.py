"""What the image-generation models share: public tensors, validation, errors, configuration, answers."""

__version__ = "0.2.0"
