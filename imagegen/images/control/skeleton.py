"""Poses drawn as OpenPose does: the colours tell a ControlNet which limb is which, and left from right."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from imagegen.images.control.opencv import opencv

# OpenPose's 18 joints in its order, each by its number among COCO's 17; the neck, which COCO lacks, is computed.
# nose, neck, right shoulder, elbow, wrist, left shoulder, elbow, wrist, right hip, knee, ankle, left hip, knee, ankle,
# right eye, left eye, right ear, left ear
_NECK = 1
_FROM_COCO = [0, -1, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
_COCO_SHOULDERS = [5, 6]

# Pairs of joints, and the colours of both limbs and joints: annotator/openpose/util.py of
# github.com/lllyasviel/ControlNet-v1-1-nightly, which counts joints from 1 and never draws its last two limbs. Limbs
# dimmed, joints above them and bright: as that of github.com/Mikubill/sd-webui-controlnet and DWPose.
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10)),
    *((1, 11), (11, 12), (12, 13), (1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
COLOURS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0)),
    *((0, 255, 0), (0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255)),
    *((0, 0, 255), (85, 0, 255), (170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
_LIMB_BRIGHTNESS = 0.6
_LOWEST_SCORE = 0.3  # of a joint that is drawn, as DWPose has it
_RADIUS_PX, _RADIUS_AT_PX = 4, 512  # half a limb's width, in images whose short side is that long


def openpose_joints(people: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """OpenPose's joints from COCO's: the neck is the middle of the shoulders, as sure as the less sure of them.

    Args:
        people: float32 [people, 17, 3], each x and y in pixels and a score 0..1.

    Returns:
        float32 [people, 18, 3], the same of OpenPose's joints.
    """
    joints = people[:, _FROM_COCO]  # [people, 18, 3]
    shoulders = people[:, _COCO_SHOULDERS]
    joints[:, _NECK, :2] = shoulders[:, :, :2].mean(axis=1)
    joints[:, _NECK, 2] = shoulders[:, :, 2].min(axis=1)
    return joints


def draw_skeletons(people: npt.NDArray[np.float32], height: int, width: int) -> npt.NDArray[np.uint8]:
    """Everybody's skeleton on black; joints that are unsure or outside of the image are left out.

    Args:
        people: float32 [people, 17, 3], COCO's joints, each x and y in pixels and a score 0..1.
        height: of the image, in pixels.
        width: the same.

    Returns:
        uint8 RGB [height, width, 3].
    """
    cv2 = opencv()
    canvas = np.zeros((height, width, 3), np.uint8)
    radius = max(1, round(_RADIUS_PX * min(height, width) / _RADIUS_AT_PX))
    joints = openpose_joints(people)
    x, y, scores = joints[:, :, 0], joints[:, :, 1], joints[:, :, 2]
    # Comparisons with what is no number are false: such joints are left out too.
    seen = (scores >= _LOWEST_SCORE) & (x >= 0) & (x < width) & (y >= 0) & (y < height)
    for (start, end), colour in zip(LIMBS, COLOURS, strict=False):  # one colour more is for joints alone
        dimmed = tuple(int(value * _LIMB_BRIGHTNESS) for value in colour)
        for person in np.flatnonzero(seen[:, start] & seen[:, end]):
            cv2.fillConvexPoly(canvas, _limb(joints[person, start], joints[person, end], radius), dimmed)
    for joint, colour in enumerate(COLOURS):
        for person in np.flatnonzero(seen[:, joint]):
            cv2.circle(canvas, (int(x[person, joint]), int(y[person, joint])), radius, colour, thickness=-1)
    return canvas


def _limb(start: npt.NDArray[np.float32], end: npt.NDArray[np.float32], radius: int) -> npt.NDArray[np.int32]:
    """The outline, int32 [points, 2], of an ellipse from one joint to another."""
    (middle_x, middle_y), (along_x, along_y) = (start[:2] + end[:2]) / 2, end[:2] - start[:2]
    angle = round(math.degrees(math.atan2(along_y, along_x)))
    axes = (int(math.hypot(along_x, along_y) / 2), radius)
    outline: npt.NDArray[np.int32] = opencv().ellipse2Poly((int(middle_x), int(middle_y)), axes, angle, 0, 360, 1)
    return outline
