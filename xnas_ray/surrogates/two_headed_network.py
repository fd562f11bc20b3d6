"""Small networks with two heads over one encoder of architectures, many trained side by side in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8
ROWS = 256
"""Rows at a time where thousands are read: no product is larger than those of the training, and memory is bounded."""

PROXIES = 2


@dataclass(frozen=True)
class Phase:
    """How a part of the parameters is trained.

    Attributes:
        epochs: passes over the rows.
        batch: rows of a step, at most; the batches of an epoch are of equal size but for one row.
        learning_rate: of Adam.
    """

    epochs: int
    batch: int
    learning_rate: float


@dataclass(frozen=True)
class Layer:
    """A fully connected layer of every member: views into the parameters.

    Attributes:
        weights: members x inputs x outputs.
        biases: members x 1 x outputs.
    """

    weights: np.ndarray
    biases: np.ndarray

    def forward(self, x: np.ndarray) -> np.ndarray:
        """Members x rows x outputs, from members x rows x inputs or rows x inputs that all members share."""
        found = np.matmul(x, self.weights)
        found += self.biases
        return found

    def backward(self, x: np.ndarray, delta: np.ndarray, gradient: Layer) -> None:
        """Write the gradient of this layer.

        Args:
            x: what it read, members x rows x inputs.
            delta: gradient of what it gave, members x rows x outputs.
            gradient: where the result goes.
        """
        np.matmul(x.transpose(0, 2, 1), delta, out=gradient.weights)
        delta.sum(axis=1, keepdims=True, out=gradient.biases)

    def below(self, delta: np.ndarray, active: np.ndarray) -> np.ndarray:
        """Gradient of what the layer read, where a ReLU gave it: members x rows x inputs."""
        found = np.matmul(delta, self.weights.transpose(0, 2, 1))
        found *= active > 0
        return found


class TwoHeadedNetworks:
    """M networks: ``e = relu(A a)``, ``proxies = P e``, ``accuracy = v relu(H [e, r])``, each layer with biases.

    ``a`` says what is built and ``r`` how it is trained. All parameters are one flat vector, ordered so that what a
    phase trains is one piece of it: the proxy head, the encoder, the accuracy head.

    Args:
        members: M.
        architecture: columns of ``a``; without any there is no embedding.
        recipe: columns of ``r``.
        width: units of the embedding ``e`` and of the hidden layer.

    Attributes:
        flat: every parameter, zero at first.
        proxy, encoder, hidden, output: the layers P, A, H and v.
        pretrained: the piece that pretraining changes, proxy head and encoder.
        head: the accuracy head, H and v.
        accuracy: encoder and accuracy head.
    """

    def __init__(self, members: int, architecture: int, recipe: int, width: int) -> None:
        self.sizes = (members, architecture, recipe, width)
        embedding = width if architecture else 0
        shapes = [(embedding, PROXIES), (architecture, embedding), (embedding + recipe, width), (width, 1)]
        starts = np.cumsum([0, *((inputs + 1) * outputs * members for inputs, outputs in shapes)]).tolist()
        self.flat = np.zeros(starts[-1])
        layers = []
        for (inputs, outputs), start in zip(shapes, starts, strict=False):
            cut = start + members * inputs * outputs
            weights = self.flat[start:cut].reshape(members, inputs, outputs)
            biases = self.flat[cut : cut + members * outputs].reshape(members, 1, outputs)
            layers.append(Layer(weights, biases))
        self.proxy, self.encoder, self.hidden, self.output = layers
        self.pretrained = slice(0, starts[2])
        self.head = slice(starts[2], starts[4])
        self.accuracy = slice(starts[1], starts[4])

    def like(self) -> TwoHeadedNetworks:
        """Others of the same sizes, all zero."""
        return TwoHeadedNetworks(*self.sizes)

    def copy(self) -> TwoHeadedNetworks:
        """Others with the same parameters."""
        found = self.like()
        found.flat[:] = self.flat
        return found

    def draw(self, generator: np.random.Generator) -> None:
        """Initialise every weight (Glorot & Bengio 2010, uniform); biases are 0."""
        self.flat[:] = 0.0
        for layer in (self.proxy, self.encoder, self.hidden, self.output):
            limit = np.sqrt(6 / max(1, layer.weights.shape[1] + layer.weights.shape[2]))
            layer.weights[:] = generator.uniform(-limit, limit, layer.weights.shape)

    # ---- what they say ----------------------------------------------------------------------------------------------

    def embed(self, architecture: np.ndarray) -> np.ndarray:
        """Embeddings, members x rows x width; of no width without columns."""
        found = self.encoder.forward(architecture)
        return np.maximum(found, 0, out=found)

    def judge(self, embedding: np.ndarray, recipe: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the accuracy head read, its hidden units and its values: members x rows x (inputs, width, 1)."""
        shared = np.broadcast_to(recipe, (*embedding.shape[:2], recipe.shape[-1]))
        inputs = np.concatenate([embedding, shared], axis=2)
        hidden = self.hidden.forward(inputs)
        np.maximum(hidden, 0, out=hidden)
        return inputs, hidden, self.output.forward(hidden)

    def proxies(self, architecture: np.ndarray) -> np.ndarray:
        """Both proxies of many rows, members x rows x 2."""
        parts = [self.proxy.forward(self.embed(rows)) for rows in _pieces(architecture)]
        return np.concatenate(parts, axis=1)

    def accuracies(self, architecture: np.ndarray, recipe: np.ndarray) -> np.ndarray:
        """The accuracy head's values of many rows, members x rows."""
        parts = zip(_pieces(architecture), _pieces(recipe), strict=True)
        return np.concatenate([self.judge(self.embed(a), r)[2][..., 0] for a, r in parts], axis=1)

    # ---- gradients --------------------------------------------------------------------------------------------------

    def proxy_gradient(self, gradient: TwoHeadedNetworks, architecture: np.ndarray, target: np.ndarray) -> None:
        """Gradient of the mean Huber loss of both proxies.

        Args:
            gradient: where that of ``pretrained`` goes.
            architecture: members x rows x columns.
            target: members x rows x 2.
        """
        embedding = self.embed(architecture)
        delta = _huber(self.proxy.forward(embedding) - target) / (target.shape[1] * PROXIES)
        self.proxy.backward(embedding, delta, gradient.proxy)
        self.encoder.backward(architecture, self.proxy.below(delta, embedding), gradient.encoder)

    def head_gradient(
        self, gradient: TwoHeadedNetworks, embedding: np.ndarray, recipe: np.ndarray, target: np.ndarray, scale: float
    ) -> np.ndarray:
        """Gradient of the mean Huber loss ``huber(scale v - target)`` in the accuracy head.

        Args:
            gradient: where that of ``head`` goes.
            embedding: members x rows x width.
            recipe: members x rows x columns.
            target: members x rows, in percentage points.
            scale: percentage points of one unit of the output.

        Returns:
            The gradient of the embedding, where it is active: members x rows x width.
        """
        inputs, hidden, output = self.judge(embedding, recipe)
        delta = _huber(scale * output - target[..., None]) * (scale / target.shape[1])
        self.output.backward(hidden, delta, gradient.output)
        delta = self.output.below(delta, hidden)
        self.hidden.backward(inputs, delta, gradient.hidden)
        return self.hidden.below(delta, inputs)[..., : embedding.shape[2]]

    def accuracy_gradient(
        self,
        gradient: TwoHeadedNetworks,
        architecture: np.ndarray,
        recipe: np.ndarray,
        target: np.ndarray,
        scale: float,
    ) -> None:
        """Gradient of the same loss in the encoder as well; ``architecture`` is members x rows x columns."""
        embedding = self.embed(architecture)
        delta = self.head_gradient(gradient, embedding, recipe, target, scale)
        self.encoder.backward(architecture, delta, gradient.encoder)


def train(
    networks: TwoHeadedNetworks,
    part: slice,
    phase: Phase,
    rows: int,
    write_gradient: Callable[[TwoHeadedNetworks, np.ndarray], None],
    generator: np.random.Generator,
) -> None:
    """Minimise a loss by Adam (Kingma & Ba 2015) in one piece of the parameters; every member shuffles for itself.

    Args:
        networks: changed in place.
        part: which parameters.
        phase: epochs, batch and learning rate.
        rows: how many there are.
        write_gradient: given somewhere to write and the rows of a batch, members x batch, writes the gradient of
            ``part`` there.
        generator: of the orders.
    """
    gradient = networks.like()
    values, slope = networks.flat[part], gradient.flat[part]
    first_moment, second_moment = np.zeros_like(values), np.zeros_like(values)
    orders = np.tile(np.arange(rows), (networks.sizes[0], 1))
    batches = -(-rows // phase.batch)
    step = 0
    for _ in range(phase.epochs):
        orders = generator.permuted(orders, axis=1)
        for batch in np.array_split(orders, batches, axis=1):
            write_gradient(gradient, batch)
            step += 1
            first_moment += (1 - BETA_1) * (slope - first_moment)
            second_moment += (1 - BETA_2) * (slope**2 - second_moment)
            spread = np.sqrt(second_moment / (1 - BETA_2**step))
            spread += EPSILON
            values -= phase.learning_rate / (1 - BETA_1**step) * first_moment / spread


def _huber(error: np.ndarray) -> np.ndarray:
    """Derivative of the Huber loss with delta 1."""
    return np.clip(error, -1.0, 1.0)


def _pieces(rows: np.ndarray) -> list[np.ndarray]:
    """Some rows at a time; one piece of none where there are none."""
    return [rows[start : start + ROWS] for start in range(0, max(1, len(rows)), ROWS)]
