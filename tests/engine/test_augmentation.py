"""Shifts and noise: positions, gradients, random numbers, and a training with them."""
import numpy as np
import pytest
from helpers.small import assert_same_state, small_trainer, step_and_resume

from dcgan_mx.engine.augmentation import Augmentation, Change, apply, apply_to_gradient
from dcgan_mx.system.runtime import mx

SHAPE = (3, 16, 16)


def draw_images(n=4, shape=SHAPE, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (n, *shape)).astype(np.float32)


def shift_by_hand(images, shifts, fill):
    """The definition, pixel by pixel: out[y + down, x + right] = image[y, x]."""
    shifted = np.full_like(images, fill)
    _, _, height, width = images.shape
    for i, (down, right) in enumerate(shifts):
        for y in range(height):
            for x in range(width):
                if 0 <= y + down < height and 0 <= x + right < width:
                    shifted[i, :, y + down, x + right] = images[i, :, y, x]
    return shifted


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 16, 16), (3, 5, 7)])
def test_images_and_gradients_are_shifted_by_the_definition(shape):
    images = draw_images(6, shape)
    shifts = np.array([(0, 0), (3, 0), (-4, 0), (0, 2), (0, -1), (4, -3)])
    shifted = apply(Change(shifts, None), mx.nd.array(images)).asnumpy()
    np.testing.assert_array_equal(shifted, shift_by_hand(images, shifts, -1))
    back = apply_to_gradient(Change(shifts, None), mx.nd.array(images)).asnumpy()
    np.testing.assert_array_equal(back, shift_by_hand(images, -shifts, 0))


def test_shifts_are_uniform_and_independent():
    """Over 30,000 shifts: each frequency within five standard deviations; no correlation."""
    augmentation = Augmentation(2, 0, 7, (100, *SHAPE))
    drawn = np.array([[change.shifts for change in augmentation.draw(step)] for step in range(150)])
    assert drawn.shape == (150, 2, 100, 2)
    for part in (drawn[:, 0], drawn[:, 1], drawn[..., 0], drawn[..., 1]):
        counts = [(part == value).sum() for value in range(-2, 3)]
        n = sum(counts)
        assert n == part.size
        assert np.abs(np.array(counts) - n / 5).max() < 5 * np.sqrt(n * 0.2 * 0.8)
    columns = drawn.transpose(0, 2, 1, 3).reshape(-1, 4)
    assert np.abs(np.corrcoef(columns, rowvar=False) - np.eye(4)).max() < 5 / np.sqrt(len(columns))


def test_noise_is_normal_and_independent():
    """Mean and variance of 76,800 values within five standard errors."""
    augmentation = Augmentation(0, 0.3, 7, (100, *SHAPE))
    noises = [change.noise for step in range(2) for change in augmentation.draw(step)]
    values, n = np.array(noises, np.float64) / 0.3, 100 * 768
    for value in values:
        assert abs(value.mean()) < 5 / np.sqrt(n)
        assert abs(value.var() - 1) < 5 * np.sqrt(2 / n)
    between = np.corrcoef(values.reshape(4, -1))
    assert np.abs(between - np.eye(4)).max() < 5 / np.sqrt(n)
    images = draw_images(100)
    seen = apply(Change(None, noises[0]), mx.nd.array(images)).asnumpy()
    np.testing.assert_array_equal(seen, images + noises[0])
    assert apply_to_gradient(Change(None, noises[0]), seen) is seen


def test_workers_share_the_changes_of_a_larger_batch():
    """Two workers of 30 images draw what one process draws for 60, which differs in each step."""
    whole = [change for step in range(3)
             for change in Augmentation(4, 1, 5, (60, *SHAPE)).draw(step)]
    parts = [[change for step in range(3)
              for change in Augmentation(4, 1, 5, (30, *SHAPE), 2, i).draw(step)] for i in range(2)]
    assert len({change.noise.tobytes() for change in whole}) == 6
    for change, *of_workers in zip(whole, *parts):
        for i in range(2):
            together = np.concatenate([part[i] for part in of_workers])
            np.testing.assert_array_equal(together, change[i])


@pytest.mark.parametrize("options", [{}, {"g_loss": "saturating"}, {"ctx": [mx.cpu(0), mx.cpu(1)]}])
def test_step_equals_one_on_images_changed_by_hand(options, make_batches, parameters):
    """D is trained on changed images; the gradient that G gets is shifted back."""
    shifting, plain = (small_trainer(translate=n, instance_noise=noise, **options)
                       for n, noise in ((4, 0.5), (0, 0)))
    batch, rbatch = make_batches(1, 4, SHAPE, nz=5)[0]
    of_fakes, of_reals = Augmentation(4, 0.5, 0, (4, *SHAPE)).draw(0)
    shifting.step(batch, rbatch)

    modD, modG = plain.modD, plain.modG
    modG.forward(rbatch, is_train=True)
    images = modG.get_outputs()[0].asnumpy()
    np.testing.assert_array_equal(shifting.outG.asnumpy(), images)
    fake = shift_by_hand(images, of_fakes.shifts, -1) + of_fakes.noise
    real = shift_by_hand(batch.data[0].asnumpy(), of_reals.shifts, -1) + of_reals.noise
    saturating = "g_loss" in options
    seen = [[mx.nd.array(array)] for array in (fake, real)]
    modD.forward(mx.io.DataBatch(seen[0], [mx.nd.zeros((4,))]), is_train=True)
    modD.backward()
    plain._modD_accum.forward(mx.io.DataBatch(seen[1], [mx.nd.ones((4,))]), is_train=True)
    plain._modD_accum.backward()
    modD.update()
    label = mx.nd.zeros((4,)) if saturating else mx.nd.ones((4,))
    plain._modDG.forward(mx.io.DataBatch(seen[0], [label]), is_train=True)
    plain._modDG.backward()
    gradient = shift_by_hand(plain._modDG.get_input_grads()[0].asnumpy(), -of_fakes.shifts, 0)
    gradient = -gradient if saturating else gradient
    np.testing.assert_array_equal(shifting.diffD.asnumpy(), gradient)
    modG.backward([mx.nd.array(gradient)])
    modG.update()
    ours, theirs = parameters(shifting), parameters(plain)
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


def test_resumed_training_has_the_same_changes(make_batches):
    trainer, resumed = (small_trainer(translate=4, instance_noise=0.5) for _ in range(2))
    for step, _ in step_and_resume(trainer, resumed, make_batches(6, 4, SHAPE, nz=5), 3):
        if step > 3:
            assert_same_state(trainer.get_state(), resumed.get_state())


def test_shifts_beyond_the_image_are_rejected():
    with pytest.raises(ValueError, match="^translate: 16 is not below 16, the size of an image"):
        small_trainer(translate=16)
