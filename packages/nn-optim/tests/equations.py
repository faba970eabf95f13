"""The equations of the optimizers, written down as in their sources, for one parameter."""

import numpy as np
from nn_optim import SGD, Adagrad, Adam, AdamW, Lion, RMSprop

__all__ = ["EQUATIONS"]


def sgd(x, gradients, lr=0.01, momentum=0.0, nesterov=False, weight_decay=0.0):
    """Compute the equations of `SGD`, written down as in its sources."""
    v = np.zeros_like(x)
    for g in gradients:
        d = g + weight_decay * x
        v = momentum * v + d
        x = x - lr * (d + momentum * v if nesterov else v)
    return x


def adam(
    x, gradients, lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.0, amsgrad=False
):
    """Compute algorithm 1 of Kingma and Ba (2015), line by line."""
    m, v, largest = (np.zeros_like(x) for _ in range(3))
    for t, g in enumerate(gradients, 1):
        d = g + weight_decay * x
        m = beta1 * m + (1 - beta1) * d
        v = beta2 * v + (1 - beta2) * d**2
        corrected_m = m / (1 - beta1**t)
        largest = np.maximum(largest, v)
        corrected_v = (largest if amsgrad else v) / (1 - beta2**t)
        x = x - lr * corrected_m / (np.sqrt(corrected_v) + epsilon)
    return x


def adamw(
    x, gradients, lr=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01, amsgrad=False
):
    """Compute algorithm 2 of Loshchilov and Hutter (2019), whose alpha is 1 and eta `lr`."""
    m, v, largest = (np.zeros_like(x) for _ in range(3))
    for t, g in enumerate(gradients, 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g**2
        largest = np.maximum(largest, v)
        second = largest if amsgrad else v
        adapted = m / (1 - beta1**t) / (np.sqrt(second / (1 - beta2**t)) + epsilon)
        x = x - lr * (adapted + weight_decay * x)
    return x


def rmsprop(
    x,
    gradients,
    lr=0.01,
    alpha=0.99,
    epsilon=1e-8,
    momentum=0.0,
    centered=False,
    weight_decay=0.0,
):
    """Compute the equations of `RMSprop`, written down as in its sources."""
    v, m, b = (np.zeros_like(x) for _ in range(3))
    for g in gradients:
        d = g + weight_decay * x
        v = alpha * v + (1 - alpha) * d**2
        m = alpha * m + (1 - alpha) * d
        b = momentum * b + d / (np.sqrt(v - m**2 if centered else v) + epsilon)
        x = x - lr * b
    return x


def adagrad(x, gradients, lr=0.01, epsilon=1e-10, weight_decay=0.0, initial_accumulator_value=0.0):
    """Compute equation 1 of Duchi et al. (2011) with the diagonal."""
    s = np.full_like(x, initial_accumulator_value)
    for g in gradients:
        d = g + weight_decay * x
        s = s + d**2
        x = x - lr * d / (np.sqrt(s) + epsilon)
    return x


def lion(x, gradients, lr=0.0001, beta1=0.9, beta2=0.99, weight_decay=0.0):
    """Compute algorithm 2 of Chen et al. (2023)."""
    m = np.zeros_like(x)
    for g in gradients:
        c = beta1 * m + (1 - beta1) * g
        x = x - lr * (np.sign(c) + weight_decay * x)
        m = beta2 * m + (1 - beta2) * g
    return x


EQUATIONS = {
    SGD: sgd,
    Adam: adam,
    AdamW: adamw,
    RMSprop: rmsprop,
    Adagrad: adagrad,
    Lion: lion,
}
