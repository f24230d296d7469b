import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from dcgan_mx.metrics.features_model import FeaturesModel
from dcgan_mx.system.errors import ArgumentError

RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(size=(5, 3, 4, 4)).astype(np.float32)
CONVOLUTION = helper.make_node("Conv", ["images", "weights"], ["maps"], strides=[4, 4])
IDENTITY = helper.make_node("Identity", ["images"], ["same"])


def write_model(path, shape, weights=WEIGHTS, nodes=(CONVOLUTION,), kind=TensorProto.FLOAT):
    """Write a network, by default a convolution with stride 4; return the path."""
    output = nodes[-1].output[0]
    graph = helper.make_graph(
        nodes, "features", [helper.make_tensor_value_info("images", kind, shape)],
        [helper.make_tensor_value_info(output, kind, None)],
        [numpy_helper.from_array(weights, "weights")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    path.write_bytes(model.SerializeToString())
    return path


def compute(images, weights=WEIGHTS):
    """The features by definition: the mean of the convolution over all places."""
    n, c, height, width = images.shape
    blocks = images.reshape(n, c, height // 4, 4, width // 4, 4).astype(float)
    return np.einsum("nciyjx,dcyx->nd", blocks, weights) / (height * width / 16)


def make_images(n, c, size):
    return RNG.uniform(-1, 1, (n, c, size, size)).astype(np.float32)


def enlarge(images, size):
    return np.array([[Image.fromarray(channel).resize((size, size), Image.BILINEAR)
                      for channel in image] for image in images])


@pytest.mark.parametrize("count", [None, "n", 1, 7, 50])
def test_features_match_definition_for_any_number_of_images(count, tmp_path):
    path = write_model(tmp_path / "net.onnx", [count, 3, "height", "width"])
    model, images = FeaturesModel(path), make_images(40, 3, 16)
    features = model.extract(images)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, compute(images), rtol=1e-5, atol=1e-6)
    assert model.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_images_are_scaled_to_a_fixed_input(tmp_path):
    model = FeaturesModel(write_model(tmp_path / "net.onnx", ["n", 3, 32, 32]))
    small, large = make_images(3, 3, 16), make_images(3, 3, 64)
    np.testing.assert_allclose(model.extract(small), compute(enlarge(small, 32)), rtol=1e-4,
                               atol=1e-5)
    halved = large.reshape(3, 3, 32, 2, 32, 2).mean((3, 5))
    np.testing.assert_allclose(model.extract(large), compute(halved), rtol=1e-4, atol=1e-5)


def test_channels_are_repeated_or_averaged(tmp_path):
    color = FeaturesModel(write_model(tmp_path / "color.onnx", ["n", 3, 16, 16]))
    gray = FeaturesModel(write_model(tmp_path / "gray.onnx", ["n", 1, 16, 16], WEIGHTS[:, :1]))
    images = make_images(3, 3, 16)
    mean = images.mean(1, keepdims=True)
    np.testing.assert_allclose(color.extract(mean), compute(np.repeat(mean, 3, 1)), rtol=1e-4,
                               atol=1e-5)
    np.testing.assert_allclose(gray.extract(images), compute(mean, WEIGHTS[:, :1]), rtol=1e-4,
                               atol=1e-5)


def test_flat_features_are_used_as_they_are(tmp_path):
    flatten = helper.make_node("Flatten", ["maps"], ["flat"])
    model = FeaturesModel(write_model(tmp_path / "net.onnx", ["n", 3, 8, 8],
                                      nodes=[CONVOLUTION, flatten]))
    features = model.extract(make_images(3, 3, 8))
    assert features.shape == (3, 5 * 2 * 2)


@pytest.mark.parametrize("shape, kind, parts", [
    (["n", 8, 8, 3], TensorProto.FLOAT, "expected one input of float32 images"),
    (["n", "c", 8, 8], TensorProto.FLOAT, "['n', 'c', 8, 8]"),
    (["n", 3, 8, 8], TensorProto.DOUBLE, "tensor(double)")])
def test_other_inputs_are_rejected(shape, kind, parts, tmp_path):
    path = write_model(tmp_path / "net.onnx", shape, nodes=[IDENTITY], kind=kind)
    with pytest.raises(ArgumentError) as raised:
        FeaturesModel(path)
    assert str(path) in raised.value.problem and parts in raised.value.problem


def test_other_outputs_and_sizes_are_rejected(tmp_path):
    squeeze = helper.make_node("ReduceMean", ["maps"], ["rows"], axes=[3], keepdims=0)
    model = FeaturesModel(write_model(tmp_path / "rows.onnx", ["n", 3, 8, 8],
                                      nodes=[CONVOLUTION, squeeze]))
    with pytest.raises(ArgumentError, match=r"'rows' has shape \(3, 5, 2\): expected \(N, d\)"):
        model.extract(make_images(3, 3, 8))
    model = FeaturesModel(write_model(tmp_path / "any.onnx", ["n", 3, "h", "w"]))
    with pytest.raises(ArgumentError, match=r"shape \(3, 3, 2, 2\): .*; export the network"):
        model.extract(make_images(3, 3, 2))  # smaller than the kernel


def test_weights_in_another_file_are_rejected(tmp_path, monkeypatch):
    """They would not be part of the digest."""
    path = write_model(tmp_path / "net.onnx", ["n", 3, 8, 8])
    onnx.save_model(onnx.load(path), path, save_as_external_data=True, location="weights",
                    size_threshold=0)
    assert (tmp_path / "weights").exists()
    for folder in (tmp_path, tmp_path.parent):
        monkeypatch.chdir(folder)
        with pytest.raises(ArgumentError, match="weights.*give an ONNX file that contains"):
            FeaturesModel(path)


def test_other_files_are_rejected(tmp_path):
    (tmp_path / "net.onnx").write_bytes(b"no network")
    with pytest.raises(ArgumentError, match="onnxruntime cannot load it: "):
        FeaturesModel(tmp_path / "net.onnx")
    with pytest.raises(FileNotFoundError):
        FeaturesModel(tmp_path / "missing.onnx")
