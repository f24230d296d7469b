import shutil

import numpy as np
import pytest
from helpers.networks import split

from dcgan_mx.data.datasets import read_mnist
from dcgan_mx.metrics.linear_probe import Features, svm_error
from dcgan_mx.runs import checkpoint
from dcgan_mx.runs.checkpoint import list_checkpoints
from dcgan_mx.system.runtime import mx


def test_features_are_layers_pooled_to_4x4(run_dir):
    features = Features(run_dir, (3, 16, 16))
    images = np.random.default_rng(0).uniform(-1, 1, (120, 3, 16, 16)).astype(np.float32)
    found = features.extract(images)
    text, params, _ = checkpoint.load_network(list_checkpoints(run_dir)[0], "D")
    internals = mx.sym.load_json(text).get_internals()
    parts = []
    for name in ("dact1", "dact2"):  # 8x8 and 4x4 places
        executor = internals[f"{name}_output"].simple_bind(mx.cpu(), grad_req="null",
                                                           data=images.shape)
        executor.copy_params_from(*split(params), allow_extra_params=True)
        output = executor.forward(is_train=False, data=mx.nd.array(images))[0].asnumpy()
        n, channels, side, _ = output.shape
        parts.append(output.reshape(n, channels, 4, side // 4, 4, side // 4).max((3, 5))
                     .reshape(n, -1))
    expected = np.concatenate(parts, 1)
    assert features.count == expected.shape[1] == (8 + 16) * 16
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_svm_matches_scikit_learn(mnist_root):
    """Predictions differ only where scores are almost equal."""
    from sklearn.svm import LinearSVC  # here, because the import takes a second
    images, labels, tests, test_labels = read_mnist(mnist_root)
    examples, tests = (part[:600].reshape(600, -1).astype(np.float32) for part in (images, tests))
    found = svm_error(examples, labels[:600], tests, test_labels[:600], c=100)
    # Both arrays are normalized now. LinearSVC sums the loss, ours is the mean.
    theirs = LinearSVC(C=100 / 600, loss="squared_hinge", dual=False, tol=1e-6)
    expected = (theirs.fit(examples, labels[:600]).predict(tests) != test_labels[:600]).mean()
    assert found == pytest.approx(expected, abs=0.007) and 0.1 < found < 0.3


def test_rejects_images_of_other_shape_and_runs_without_d(run_dir, tmp_path):
    for shape in ((1, 16, 16), (3, 8, 8)):
        with pytest.raises(ValueError, match=r"\A.*not fit this network.*\Z"):  # one line
            Features(run_dir, shape)
    with pytest.raises(ValueError, match="has no checkpoint"):
        Features(tmp_path, (3, 16, 16))
    folder = shutil.copytree(list_checkpoints(run_dir)[0], tmp_path / "step-00000005")
    (folder / "D-0000.params").unlink()
    with pytest.raises(ValueError, match="D-0000.params: No such file"):
        Features(folder, (3, 16, 16))
