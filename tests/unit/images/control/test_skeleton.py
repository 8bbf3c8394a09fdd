"""Skeletons have OpenPose's joints, limbs and colours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from imagegen.images.control.skeleton import COLOURS, LIMBS, draw_skeletons, openpose_joints

# Somebody who faces us, in an image of 512 x 512: x, y of COCO's joints. Their left is on our right.
STANDING = [
    *((256, 80), (270, 66), (242, 66), (290, 75), (222, 75)),  # nose, left eye, right eye, left ear, right ear
    *((310, 140), (202, 140), (340, 210), (172, 210), (360, 290), (152, 290)),  # shoulders, elbows, wrists
    *((290, 290), (222, 290), (300, 380), (212, 380), (305, 470), (207, 470)),  # hips, knees, ankles
]
LEFT_EYE, RIGHT_EYE, LEFT_SHOULDER, RIGHT_SHOULDER, LEFT_WRIST, RIGHT_WRIST, LEFT_ANKLE = 1, 2, 5, 6, 9, 10, 15


def person() -> npt.NDArray[np.float32]:
    """STANDING as [1, 17, 3], all joints seen for sure."""
    return np.array([[(x, y, 0.9) for x, y in STANDING]], np.float32)


def colour(image: npt.NDArray[np.uint8], at: tuple[float, float]) -> tuple[int, ...]:
    """The colour at x, y."""
    return tuple(image[int(at[1]), int(at[0])].tolist())


def dimmed(limb: int) -> tuple[int, ...]:
    return tuple(int(value * 0.6) for value in COLOURS[limb])


def middle(first: int, second: int) -> tuple[float, float]:
    """Between two of COCO's joints."""
    return (STANDING[first][0] + STANDING[second][0]) / 2, (STANDING[first][1] + STANDING[second][1]) / 2


def test_nobody_is_a_black_image() -> None:
    image = draw_skeletons(np.zeros((0, 17, 3), np.float32), 48, 64)
    assert image.dtype == np.uint8
    assert image.shape == (48, 64, 3)
    assert not image.any()


def test_the_neck_is_the_middle_of_the_shoulders_and_as_sure_as_the_less_sure() -> None:
    people = person()
    people[0, LEFT_SHOULDER, 2] = 0.5
    joints = openpose_joints(people)
    assert joints.shape == (1, 18, 3)
    assert joints[0, 1].tolist() == [256, 140, 0.5]


def test_each_joint_has_its_colour() -> None:
    image = draw_skeletons(person(), 512, 512)
    # Of each side one, by OpenPose's numbers: right is warm, left green to blue.
    assert colour(image, STANDING[0]) == COLOURS[0] == (255, 0, 0)  # nose
    assert colour(image, middle(LEFT_SHOULDER, RIGHT_SHOULDER)) == COLOURS[1] == (255, 85, 0)  # neck
    assert colour(image, STANDING[RIGHT_SHOULDER]) == COLOURS[2] == (255, 170, 0)
    assert colour(image, STANDING[RIGHT_WRIST]) == COLOURS[4] == (170, 255, 0)
    assert colour(image, STANDING[LEFT_SHOULDER]) == COLOURS[5] == (85, 255, 0)
    assert colour(image, STANDING[LEFT_WRIST]) == COLOURS[7] == (0, 255, 85)
    assert colour(image, STANDING[LEFT_ANKLE]) == COLOURS[13] == (85, 0, 255)
    assert colour(image, STANDING[RIGHT_EYE]) == COLOURS[14] == (170, 0, 255)
    assert colour(image, STANDING[LEFT_EYE]) == COLOURS[15] == (255, 0, 255)


@pytest.mark.parametrize(
    ("limb", "ends"),
    [
        (2, (6, 8)),  # right upper arm
        (3, (8, 10)),  # right forearm
        (4, (5, 7)),  # left upper arm
        (5, (7, 9)),  # left forearm
        (7, (12, 14)),  # right thigh
        (8, (14, 16)),  # right shin
        (10, (11, 13)),  # left thigh
        (11, (13, 15)),  # left shin
    ],
)
def test_each_limb_has_its_colour_dimmed(limb: int, ends: tuple[int, int]) -> None:
    assert colour(draw_skeletons(person(), 512, 512), middle(*ends)) == dimmed(limb)


def test_limbs_from_the_neck_go_to_shoulders_hips_and_nose() -> None:
    image = draw_skeletons(person(), 512, 512)
    neck = middle(LEFT_SHOULDER, RIGHT_SHOULDER)
    ends = {0: RIGHT_SHOULDER, 1: LEFT_SHOULDER, 6: 12, 9: 11, 12: 0}
    for limb, end in ends.items():
        assert LIMBS[limb][0] == 1
        assert colour(image, ((neck[0] + STANDING[end][0]) / 2, (neck[1] + STANDING[end][1]) / 2)) == dimmed(limb)


@pytest.mark.parametrize(
    ("value", "new"), [(0, -1.0), (0, 512.0), (0, np.nan), (1, -1.0), (1, 512.0), (2, 0.29), (2, np.nan)]
)
def test_a_joint_that_is_unsure_outside_or_no_number_is_left_out_with_its_limb(value: int, new: float) -> None:
    people = person()
    people[0, RIGHT_WRIST, value] = new
    expected = draw_skeletons(person(), 512, 512)
    expected[208:, :179] = 0  # right forearm and wrist, but for the elbow at its edge
    image = draw_skeletons(people, 512, 512)
    assert np.array_equal(image[216:], expected[216:])


def test_without_a_shoulder_there_is_no_neck() -> None:
    people = person()
    people[0, LEFT_SHOULDER, 2] = 0.0
    assert colour(draw_skeletons(people, 512, 512), middle(LEFT_SHOULDER, RIGHT_SHOULDER)) == (0, 0, 0)


def test_everybody_is_drawn() -> None:
    both = np.concatenate([person() * 0.5, person() * 0.5])
    both[1, :, 0] += 256
    both[:, :, 2] = 1.0
    image = draw_skeletons(both, 256, 512)
    assert np.array_equal(image[:, :256], image[:, 256:])
    assert image.any()


@pytest.mark.parametrize(("side", "width"), [(512, 9), (1024, 17), (64, 3)])
def test_limbs_are_as_thick_as_after_scaling_from_512(side: int, width: int) -> None:
    people = np.zeros((1, 17, 3), np.float32)
    people[0, [6, 8]] = [(side * 0.25, side / 2, 1.0), (side * 0.75, side / 2, 1.0)]
    image = draw_skeletons(people, side, side)
    assert (image[:, side // 2].any(axis=1)).sum() == width
