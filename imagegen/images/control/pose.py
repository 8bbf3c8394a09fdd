"""Who stands how in an image: a detector finds people, ViTPose their joints; both models of transformers."""

from __future__ import annotations

from concurrent.futures import Executor

import numpy as np
import numpy.typing as npt
from PIL import Image

from imagegen.api.errors import NonFinite
from imagegen.images.control.pretrained import load_pretrained
from imagegen.images.control.skeleton import draw_skeletons

MOST_PEOPLE = 20
"""People of one image whose poses are drawn: those that the detector is surest of. It bounds time and memory."""

_JOINTS = 17  # of COCO, which the skeleton is drawn from
_LOWEST_SCORE = 0.3  # of a person, as in transformers' documentation of ViTPose
_COCO_EXPERT = 0  # of ViTPose++, which has one for each data set it was trained on


class PoseEstimator:
    """Makes images of skeletons. Safe from any thread.

    Args:
        pose_model: a folder or hub id of ViTPose or ViTPose++ for COCO's 17 joints.
        pose_detector: one of a detector that knows people, such as RT-DETR.
        executor: where the models run; one thread, so that torch's own threads are not multiplied.

    Raises:
        ValueError: one of them cannot be loaded, or is another model.
        NonFinite: the weights of one are broken.
    """

    def __init__(self, pose_model: str, pose_detector: str, executor: Executor) -> None:
        self._executor = executor
        self._detection, self._detector = load_pretrained("pose_detector", pose_detector, "AutoModelForObjectDetection")
        names = {name.lower(): label for label, name in self._detector.config.id2label.items()}
        if "person" not in names:
            raise ValueError(f"parameter pose_detector: {pose_detector} detects no 'person'")
        self._person = int(names["person"])
        self._estimation, self._model = load_pretrained("pose_model", pose_model, "VitPoseForPoseEstimation")
        if self._model.config.num_labels != _JOINTS:
            found = self._model.config.num_labels
            raise ValueError(f"parameter pose_model: {pose_model} has {found} joints; COCO's {_JOINTS} are needed")
        # What loads but does not run ends the start too.
        blank = np.zeros((64, 64, 3), np.uint8)
        self(blank)
        executor.submit(self._joints, blank, [[0.0, 0.0, 64.0, 64.0]]).result()

    def __call__(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """The skeletons in uint8 RGB [H, W, 3], on black: uint8 RGB [H, W, 3]. All black where nobody is.

        Raises:
            NonFinite: a model computed what is no number.
        """
        people = self._executor.submit(self._people, pixels).result()
        return draw_skeletons(people, *pixels.shape[:2])

    def _people(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """The joints of everybody, float32 [people, 17, 3]."""
        boxes = self._boxes(pixels)
        return self._joints(pixels, boxes) if boxes else np.zeros((0, _JOINTS, 3), np.float32)

    def _boxes(self, pixels: npt.NDArray[np.uint8]) -> list[list[float]]:
        """Where people are, each x, y, width and height in pixels, those that the detector is surest of."""
        import torch

        with torch.inference_mode():
            outputs = self._detector(**self._detection(images=Image.fromarray(pixels), return_tensors="pt"))
            if not (outputs.logits.isfinite().all() and outputs.pred_boxes.isfinite().all()):
                raise NonFinite("control_preprocess", "broken weights in pose_detector of image_preprocess")
            (found,) = self._detection.post_process_object_detection(
                outputs, threshold=_LOWEST_SCORE, target_sizes=[pixels.shape[:2]]
            )
            is_person = found["labels"] == self._person
            surest = found["scores"][is_person].argsort(descending=True, stable=True)[:MOST_PEOPLE]
            corners = found["boxes"][is_person][surest].tolist()
        boxes = [[left, top, right - left, bottom - top] for left, top, right, bottom in corners]
        return [box for box in boxes if min(box[2:]) >= 1]  # out of nothing no person can be cut

    def _joints(self, pixels: npt.NDArray[np.uint8], boxes: list[list[float]]) -> npt.NDArray[np.float32]:
        """The joints of the person in each box, float32 [boxes, 17, 3]: x and y in pixels, and a score 0..1."""
        import torch

        with torch.inference_mode():
            inputs = self._estimation(Image.fromarray(pixels), boxes=[boxes], return_tensors="pt")
            if self._model.config.backbone_config.num_experts > 1:
                inputs["dataset_index"] = torch.full((len(boxes),), _COCO_EXPERT)
            outputs = self._model(**inputs)
            if not outputs.heatmaps.isfinite().all():
                raise NonFinite("control_preprocess", "broken weights in pose_model of image_preprocess")
            (people,) = self._estimation.post_process_pose_estimation(outputs, boxes=[boxes])
            joints = [torch.cat([person["keypoints"], person["scores"][:, None]], dim=1) for person in people]
            return np.asarray(torch.stack(joints).float().numpy())
