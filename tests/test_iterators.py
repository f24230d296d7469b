import cv2
import numpy as np
import pytest

from dcgan_mx import MnistIter, RandIter

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 28, 28), np.uint8)


def reference(images):
    """The example's preparation of all digits at once."""
    X = np.asarray([cv2.resize(x, (64, 64)) for x in images])
    X = X.astype(np.float32) / (255.0 / 2) - 1.0
    return np.tile(X.reshape((-1, 1, 64, 64)), (1, 3, 1, 1))


def epoch(it):
    return [batch.data[0].asnumpy() for batch in it]


def test_batches_are_the_examples_to_the_bit():
    expected = {x.tobytes() for x in reference(IMAGES)}
    seen = np.concatenate(epoch(MnistIter(IMAGES, 5)))
    assert seen.shape == (20, 3, 64, 64) and seen.dtype == np.float32
    assert {x.tobytes() for x in seen} < expected
    assert len({x.tobytes() for x in seen}) == 20


def test_a_full_epoch_has_every_image_once_in_an_order_of_its_own():
    it = MnistIter(IMAGES, 23, (1, 28, 28))
    orders = []
    for _ in range(3):
        data, = epoch(it)
        pixels = np.rint((data[:, 0] + 1) * 127.5).astype(np.uint8)
        orders.append([next(i for i, x in enumerate(IMAGES) if (x == p).all()) for p in pixels])
        it.reset()
    assert all(sorted(order) == list(range(23)) for order in orders)
    assert orders[0] != orders[1] != orders[2] != orders[0]


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_seek_is_where_reading_on_leads_with_any_threads(threads):
    reading, seeking = MnistIter(IMAGES, 4, seed=3), MnistIter(IMAGES, 4, seed=3, threads=threads)
    for n_epoch in range(2):
        for n, batch in enumerate(reading):
            seeking.seek(n_epoch, n)
            np.testing.assert_array_equal(batch.data[0].asnumpy(),
                                          seeking.next().data[0].asnumpy())
        reading.reset()
    seeking.seek(0, 0)
    reading.seek(0, 0)
    np.testing.assert_array_equal(epoch(reading), epoch(seeking))


def test_reset_before_the_first_batch_skips_no_epoch():
    it = MnistIter(IMAGES, 4)
    it.reset()
    np.testing.assert_array_equal(epoch(it), epoch(MnistIter(IMAGES, 4)))


def test_seeds_differ():
    first, second = (epoch(MnistIter(IMAGES, 4, seed=seed)) for seed in (0, 1))
    assert (np.array(first) != np.array(second)).any()


def test_mnist_iter_describes_its_batches():
    it = MnistIter(IMAGES, 4, (1, 32, 16))
    assert [(d.name, d.shape) for d in it.provide_data] == [("data", (4, 1, 32, 16))]
    assert it.provide_label == [] and it.num_batches == 5
    assert it.next().data[0].shape == (4, 1, 32, 16)


@pytest.mark.parametrize("num_parts", [2, 3])
def test_parts_of_a_batch_make_it_up(num_parts):
    """Images and noise: what the parts return one beside the other is what one part returns."""
    parts = [(MnistIter(IMAGES, 3, num_parts=num_parts, part_index=i),
              RandIter(3, 7, 5, num_parts, i)) for i in range(num_parts)]
    whole = MnistIter(IMAGES, 3 * num_parts), RandIter(3 * num_parts, 7, 5)
    assert {images.num_batches for images, _ in parts} == {whole[0].num_batches}
    for _ in range(2):
        for _ in range(whole[0].num_batches):
            for kind in range(2):
                joined = np.concatenate([part[kind].next().data[0].asnumpy() for part in parts])
                np.testing.assert_array_equal(joined, whole[kind].next().data[0].asnumpy())
        for images in (whole[0], *(part[0] for part in parts)):
            with pytest.raises(StopIteration):
                images.next()
            images.reset()


@pytest.mark.parametrize("part_index", [-1, 2])
def test_a_part_that_there_is_not(part_index):
    with pytest.raises(ValueError, match=f"part_index is {part_index}: give 0 to num_parts"):
        RandIter(4, 5, num_parts=2, part_index=part_index)


@pytest.mark.parametrize("kwargs, words", [
    ({"batch_size": 12, "num_parts": 2}, "batch_size is 12: give 1 to 11, .* for each of 2"),
    ({"batch_size": 0}, "batch_size is 0: give 1 to 23"),
    ({"batch_size": 24}, "batch_size is 24: give 1 to 23"),
    ({"images": IMAGES.astype(np.float32)}, "images is float32"),
    ({"images": IMAGES[0]}, r"images is uint8 of shape \(28, 28\)"),
    ({"threads": 0}, "threads is 0"),
    ({"part_index": 1}, "part_index is 1: give 0")])
def test_bad_input(kwargs, words):
    with pytest.raises(ValueError, match=words):
        MnistIter(**{"images": IMAGES, "batch_size": 4, **kwargs})


def test_noise_is_normal_endless_and_a_function_of_seed_and_number():
    it = RandIter(1000, 100, seed=5)
    assert [(d.name, d.shape) for d in it.provide_data] == [("rand", (1000, 100, 1, 1))]
    batches = [it.next().data[0].asnumpy() for _ in range(3)]
    x = batches[0].ravel()
    assert x.dtype == np.float32
    # four standard errors of 100,000 draws
    assert abs(x.mean()) < 4 / np.sqrt(1e5)
    assert abs(x.var() - 1) < 4 * np.sqrt(2 / 1e5)
    assert abs((x ** 4).mean() - 3) < 4 * np.sqrt(96 / 1e5)
    assert abs(np.corrcoef(x, batches[1].ravel())[0, 1]) < 4 / np.sqrt(1e5)
    it.seek(1)
    np.testing.assert_array_equal(it.next().data[0].asnumpy(), batches[1])
    assert (RandIter(1000, 100, seed=6).next().data[0].asnumpy() != batches[0]).any()
