"""Every class of scheduler that a request may choose, with the options that change its arithmetic."""

from __future__ import annotations

from typing import Any

import diffusers

from imagegen.pipelines.schedulers import fitting_schedulers

BASE = diffusers.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1)
_UNIPC: dict[str, Any] = {"beta_schedule": "scaled_linear", "final_sigmas_type": "sigma_min"}
SCHEDULERS: dict[str, Any] = fitting_schedulers(BASE, 50) | {
    "lcm": diffusers.LCMScheduler(),
    "unipc-bh1-3": diffusers.UniPCMultistepScheduler(solver_type="bh1", solver_order=3, **_UNIPC),
    "unipc-eps": diffusers.UniPCMultistepScheduler(predict_x0=False, **_UNIPC),
    "ddpm-clip": diffusers.DDPMScheduler(clip_sample=True, variance_type="fixed_large"),
    "dpm-thresholds": diffusers.DPMSolverMultistepScheduler(thresholding=True),
    "flow": diffusers.FlowMatchEulerDiscreteScheduler(shift=3.0),
    "flow-heun": diffusers.FlowMatchHeunDiscreteScheduler(),
}
