"""From what a client sent as an image (URL, data URL, base64, bytes) to RGB pixels, safe against hostile input."""
