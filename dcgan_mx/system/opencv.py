"""OpenCV as `cv2`, without its change of the environment."""
from .loader_path import keep_library_path

with keep_library_path():
    import cv2

__all__ = ["cv2"]
