"""Reads the training part of MNIST for TensorFlow and PyTorch: gzip'd IDX files without the first 5000
images."""

import gzip
import os
import struct

import numpy as np

VALIDATION_SIZE = 5000


def read_idx(path):
    content = gzip.open(path).read()
    n_dimensions = struct.unpack(">I", content[:4])[0] & 0xFF
    shape = struct.unpack(f">{n_dimensions}I", content[4 : 4 + 4 * n_dimensions])
    return np.frombuffer(content, np.uint8, offset=4 + 4 * n_dimensions).reshape(shape)


def training_part(folder):
    """Returns the images as rows of 784 floats from 0 to 1, and the labels."""
    images = read_idx(os.path.join(folder, "train-images-idx3-ubyte.gz"))[VALIDATION_SIZE:]
    labels = read_idx(os.path.join(folder, "train-labels-idx1-ubyte.gz"))[VALIDATION_SIZE:]
    return images.reshape(-1, 784).astype(np.float32) / 255.0, labels.astype(np.int64)


class Batches:
    """Batches from one seeded permutation per epoch."""

    def __init__(self, n, batch_size, seed):
        self.n, self.batch_size = n, batch_size
        self.random = np.random.RandomState(seed)
        self.order, self.position = self.random.permutation(n), 0

    def next(self):
        if self.position + self.batch_size > self.n:
            self.order, self.position = self.random.permutation(self.n), 0
        self.position += self.batch_size
        return self.order[self.position - self.batch_size : self.position]
