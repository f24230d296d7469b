"""Features of images from a network in an ONNX file, such as Inception for the FID of papers."""
from __future__ import annotations

import hashlib
import importlib.util
import os
from pathlib import Path

import numpy as np

from ..system.errors import ArgumentError, one_line
from ..system.files import StrPath, open_regular
from ..system.opencv import cv2

_BATCH = 32  # images, if the network takes any number


class FeaturesModel:
    """A network whose outputs Fréchet distance, precision and recall compare.

    Parameters
    ----------
    path
        An ONNX file that contains the weights. The network has one input, images (N, C, H, W),
        float32, in [-1, 1]. N, H and W may be of any value or fixed; C is 1 (gray) or 3 (RGB). Its
        first output is the features, (N, d), or feature maps, (N, d, h, w), which are averaged.

    Attributes
    ----------
    digest : str
        SHA-256 of the file. Metrics of different networks are not comparable.

    Raises
    ------
    ArgumentError
        If onnxruntime is not installed, or the file is not such a network.
    OSError
        If the file cannot be read.
    """

    def __init__(self, path: StrPath) -> None:
        if importlib.util.find_spec("onnxruntime") is None:
            raise ArgumentError("features_model", "onnxruntime is not installed: pip install "
                                "'dcgan-mx[features-model]', or onnxruntime")
        import onnxruntime
        self._path = Path(path)
        with open_regular(self._path, follow=True) as f:
            raw = f.read()
        self.digest = hashlib.sha256(raw).hexdigest()
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors are raised
        # No weights from other files, which the digest would not cover.
        options.add_session_config_entry("session.model_external_initializers_file_folder_path",
                                         os.devnull)
        try:
            self._session = onnxruntime.InferenceSession(raw, options, ["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no other base
            raise self._error(f"onnxruntime cannot load it: {one_line(error)}; give an ONNX file "
                              "that contains its weights") from None
        inputs = self._session.get_inputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        if len(shape) != 4 or inputs[0].type != "tensor(float)" or shape[1] not in (1, 3):
            found = ", ".join(f"{x.name} {x.type} {x.shape}" for x in inputs)
            raise self._error("expected one input of float32 images, (N, 1, H, W) or (N, 3, H, W), "
                              f"but it has {found or 'no input'}: export another network")
        self._input, self._output = inputs[0].name, self._session.get_outputs()[0].name
        self._channels: int = shape[1]
        # None: of any value
        self._count, *self._size = (size if isinstance(size, int) else None
                                    for size in (shape[0], *shape[2:]))

    def extract(self, images: np.ndarray) -> np.ndarray:
        """Return the features, (N, d), float32, of images, (N, C, H, W), in [-1, 1].

        Images are scaled to the size of the input, if that is fixed: enlarged bilinearly, as for
        the FID of papers, or made smaller by averaging over areas. Gray images get three equal
        channels, and colors are averaged, if the network needs that. Raises ArgumentError if the
        network cannot process the images.
        """
        size = self._count or _BATCH
        return np.concatenate([self._run(images[i:i + size])
                               for i in range(0, len(images), size)])

    def _run(self, images: np.ndarray) -> np.ndarray:
        """Return the features of a batch, padded if the network needs a fixed number of images."""
        batch = np.stack([self._fit(image) for image in images])
        padding = (self._count or len(batch)) - len(batch)
        batch = np.concatenate([batch, np.repeat(batch[-1:], padding, 0)])
        try:
            features = self._session.run([self._output], {self._input: batch})[0]
        except Exception as error:  # onnxruntime's errors have no other base
            raise self._error(f"onnxruntime cannot process images of shape {batch.shape}: "
                              f"{one_line(error)}; export the network for this shape") from None
        if getattr(features, "ndim", 0) not in (2, 4) or len(features) != len(batch):
            raise self._error(f"its first output {self._output!r} has shape "
                              f"{np.shape(features)}: expected (N, d) or (N, d, h, w); export "
                              "another network")
        means = features.mean((2, 3)) if features.ndim == 4 else features
        return np.asarray(means[:len(images)], np.float32)

    def _fit(self, image: np.ndarray) -> np.ndarray:
        """Return an image, (C, H, W), with the channels and the size of the network's input."""
        if self._channels == 1:
            image = image.mean(0, keepdims=True)
        height, width = (new or old for new, old in zip(self._size, image.shape[1:]))
        if (height, width) != image.shape[1:]:
            smaller = height * width < image[0].size
            image = np.stack([cv2.resize(
                channel, (width, height),
                interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
                for channel in image])
        return np.ascontiguousarray(np.broadcast_to(image, (self._channels, height, width)),
                                    np.float32)

    def _error(self, problem: str) -> ArgumentError:
        return ArgumentError("features_model", f"{self._path}: {problem}")
