"""The progress bar as a hook and a logger."""
from __future__ import annotations

import warnings

from ..engine.progress import ProgressBar
from .base import Logger, Record


class Progress(ProgressBar, Logger):
    """A hook that counts steps in a progress bar, and a logger that shows metrics and warnings.

    Its parameters are those of `dcgan_mx.engine.progress.ProgressBar`.
    """

    def log(self, record: Record) -> None:
        """Show the metrics of a training record, or warn."""
        if record.kind == "training":
            self.show(record.values)
        elif record.kind == "warning":
            warnings.warn(f"step {record.step}: {record.values['message']}", RuntimeWarning,
                          stacklevel=2)
