"""The plot of `perf.png`: time against size of the file, one panel an image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter, ScalarFormatter

from perf.png_report import TARGET_SIZE, Sample, cells

_MARKERS = "osv^DP"


def draw_plot(samples: Sequence[Sample], path: Path) -> Path:
    """Draw `TARGET_SIZE`, which is among the samples' sizes, into a PNG file; its path."""
    images = cells(samples)[TARGET_SIZE]
    figure = Figure(figsize=(11, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(f"PNG encoders at {TARGET_SIZE}, logarithmic: to the left is faster, below is smaller")
    for axes, (image, row) in zip(figure.subplots(2, 2).flat, images.items(), strict=True):
        for marker, (encoder, cell) in zip(_MARKERS, row.items(), strict=True):
            axes.scatter(cell.milliseconds, cell.file_bytes / 1000, marker=marker, s=70, label=encoder)
        axes.set_title(image)
        axes.set_xscale("log")
        axes.set_yscale("log")
        axes.set_xlim(0.6 * min(cell.milliseconds for cell in row.values()))
        kilobytes = [cell.file_bytes / 1000 for cell in row.values()]
        axes.set_ylim(0.5 * min(kilobytes), 2 * max(kilobytes))
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(ScalarFormatter())
            axis.set_minor_formatter(LogFormatter(labelOnlyBase=False, minor_thresholds=(2, 0.5)))
        axes.set_xlabel("ms")
        axes.set_ylabel("kB")
        axes.grid(alpha=0.3, which="both")
    figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=6)
    figure.savefig(path, dpi=110)
    return path
