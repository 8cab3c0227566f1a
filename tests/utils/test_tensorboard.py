"""TensorBoard by tensorboardX, which takes numbers and NumPy arrays: what it writes are the values of tensors."""

from __future__ import annotations

import io

import numpy as np
import tensorboardX
from event_files import event_values
from PIL import Image

import tengen.functional as F
import tengen.module as M
from tengen import Tensor


def test_what_is_event_values(tmp_path):
    net = M.Linear(2, 3)
    image = F.concat([F.ones((1, 4, 5)), F.zeros((2, 4, 5))])
    with tensorboardX.SummaryWriter(str(tmp_path)) as writer:
        for step in range(3):
            writer.add_scalar("loss", Tensor(0.5 * step).item(), step)
        writer.add_image("image", image.numpy(), 0)
        writer.add_images("images", F.stack([image, image]).numpy(), 0)
        for name, parameter in net.named_parameters():
            writer.add_histogram(name, parameter.numpy(), 0)
        writer.add_text("text", "said", 0)
    found = event_values(tmp_path)
    assert [found["loss", step].simple_value for step in range(3)] == [0.0, 0.5, 1.0]
    assert (found["image", 0].image.height, found["image", 0].image.width) == (4, 5)
    assert (found["images", 0].image.height, found["images", 0].image.width) == (4, 10)
    pixels = np.asarray(Image.open(io.BytesIO(found["image", 0].image.encoded_image_string)))
    np.testing.assert_array_equal(pixels, np.broadcast_to([255, 0, 0], (4, 5, 3)))
    weight = net.weight.numpy()
    histogram = found["weight", 0].histo
    assert (histogram.num, histogram.min, histogram.max) == (6, weight.min(), weight.max())
    np.testing.assert_allclose(histogram.sum, weight.sum(dtype=np.float64), rtol=1e-5)
