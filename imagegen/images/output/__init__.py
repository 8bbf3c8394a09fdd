"""From generated frames to encoded files, base64 text or stored objects with a URL."""
