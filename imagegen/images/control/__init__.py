"""From a photo to the image that a ControlNet takes: edges, depth or poses, where a request asks for it."""
