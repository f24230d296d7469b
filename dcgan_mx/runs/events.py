"""TensorBoard's event files, in the format of tensorboardX."""
from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any, Mapping

import numpy as np

from ..system.files import StrPath


class EventFile:
    """The events of a training that starts at a step; TensorBoard hides earlier runs' later steps.

    tensorboardX's `SummaryWriter` does not work here: it writes from a thread that ends at the
    first OSError, and ten events later the training would block forever.
    """

    def __init__(self, folder: StrPath, step: int = 0) -> None:
        import tensorboardX  # noqa: F401  an extra: fail here if it is missing
        self._folder = self._path = Path(folder)
        # TensorBoard reads files in the order of their names; the clock may have been set back.
        names = self._folder.glob(f"events.out.tfevents.{'[0-9]' * 10}.*")
        newest = max((int(path.name.split(".")[3]) for path in names), default=0)
        self._step, self._started = step, max(int(time.time()), newest + 1)
        self._writer: Any = None

    def add(self, step: int, scalars: Mapping[str, float],
            images: Mapping[str, np.ndarray]) -> None:
        """Add scalars and images, (H, W, C), uint8; after an OSError, start a new file."""
        from tensorboardX import RecordWriter, summary
        from tensorboardX.proto.event_pb2 import Event, SessionLog
        event = Event(step=step)
        for name, value in scalars.items():
            event.summary.MergeFrom(summary.scalar(name, value))
        for name, pixels in images.items():
            event.summary.MergeFrom(summary.image(name, pixels, dataformats="HWC"))
        events = [event]
        try:
            if self._writer is None:
                self._folder.mkdir(exist_ok=True)
                name = f"events.out.tfevents.{self._started:010d}.{self._step:08d}"
                if self._path != self._folder / name:
                    self._path = self._folder / name
                    with open(self._path, "x"):  # tensorboardX would write through a link
                        pass
                self._writer = RecordWriter(str(self._path))
                start = SessionLog(status=SessionLog.START)
                events = [Event(file_version="brain.Event:2"),
                          Event(step=self._step + 1, session_log=start), event]
            for each in events:
                each.wall_time = time.time()
                self._writer.write(each.SerializeToString())
            self._writer.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                self.close()
            error.filename = str(self._path)
            raise
        self._step = step

    def close(self) -> None:
        """Close the file, if one is open."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
