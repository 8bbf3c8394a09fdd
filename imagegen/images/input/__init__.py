"""From what a client sent as an image (URL, data URL, base64, bytes) to RGB pixels, guarded against hostile input."""
