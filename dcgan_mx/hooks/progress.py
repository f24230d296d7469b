"""The progress bar as a hook and a logger."""
from __future__ import annotations

from ..engine.progress import ProgressBar
from .base import Logger, Record


class Progress(ProgressBar, Logger):
    """A hook that counts steps in a progress bar, and a logger that shows metrics beside it.

    Its parameters are those of `dcgan_mx.engine.progress.ProgressBar`.
    """

    def log(self, record: Record) -> None:
        """Show the metrics of a training record."""
        if record.kind == "training":
            self.show(record.values)
