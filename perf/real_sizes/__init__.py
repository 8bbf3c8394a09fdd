"""Questions that only a checkpoint of real size answers: starts, readiness, crashes, responses in time."""
