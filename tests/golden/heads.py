"""Losses of a task's own head and their gradients to its outputs, by PyTorch: python tests/golden/heads.py > tests/golden/heads.json"""

import json

import torch
from torch.nn import functional as F


def pinball(z, target, levels):
    error = target - z
    return torch.maximum(levels * error, (levels - 1) * error).mean()


def case(name, loss, outputs, targets, parameters, function):
    z = torch.tensor(outputs, dtype=torch.float64, requires_grad=True)
    value = function(z)
    value.backward()
    return {
        "name": name,
        "loss": loss,
        "outputs": outputs,
        "targets": targets,
        "parameters": parameters,
        "value": value.item(),
        "gradient": z.grad.tolist(),
    }


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


four, weights = [0.5, -1.25, 3.0, 0.25], [0.5, 2.0, 1.0, 4.0]
levels = [0.125, 0.5, 0.875]
cases = [
    case("cross-entropy", "softmax", four, [1], [], lambda z: F.cross_entropy(z, torch.tensor(1))),
    case(
        "cross-entropy, a class that weighs more",
        "softmax",
        four,
        [3],
        weights,
        lambda z: F.cross_entropy(z, torch.tensor(3), weight=tensor(weights), reduction="sum"),
    ),
    case(
        "cross-entropy far from the answer",
        "softmax",
        [500.0, -500.0, 0.0, 1.0],
        [1],
        [],
        lambda z: F.cross_entropy(z, torch.tensor(1)),
    ),
    case(
        "labels by themselves",
        "sigmoid",
        four,
        [1, 0, 0, 1],
        [],
        lambda z: F.binary_cross_entropy_with_logits(z, tensor([1, 0, 0, 1])),
    ),
    case(
        "labels by themselves, the right ones of which weigh more",
        "sigmoid",
        four,
        [1, 1, 0, 0],
        weights,
        lambda z: F.binary_cross_entropy_with_logits(z, tensor([1, 1, 0, 0]), pos_weight=tensor(weights)),
    ),
    case(
        "labels by themselves, far from the answer",
        "sigmoid",
        [500.0, -500.0, 0.0, 30.0],
        [0, 1, 1, 1],
        [],
        lambda z: F.binary_cross_entropy_with_logits(z, tensor([0, 1, 1, 1])),
    ),
    case("squared error", "squared", [0.75], [-1.5], [], lambda z: F.mse_loss(z[0], tensor(-1.5))),
    case("Huber, near", "huber", [0.75], [0.5], [0.5], lambda z: F.huber_loss(z[0], tensor(0.5), delta=0.5)),
    case("Huber, far", "huber", [0.75], [-3.0], [0.5], lambda z: F.huber_loss(z[0], tensor(-3.0), delta=0.5)),
    case("quantiles, one above", "pinball", [-1.0, 0.5, 2.0], [0.75], levels, lambda z: pinball(z, 0.75, tensor(levels))),
    case("quantiles, all below", "pinball", [-1.0, 0.5, 2.0], [9.0], levels, lambda z: pinball(z, 9.0, tensor(levels))),
]
print(json.dumps({"torch": torch.__version__, "cases": cases}, indent=1))
