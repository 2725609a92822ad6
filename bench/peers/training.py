"""A whole training step in PyTorch, as `facet bench --train` times it: forward pass in training mode,
softmax cross entropy of the network's logits (where it has embeddings only, of an ArcFace head with
1000 classes), backward pass, SGD with momentum and weight decay. bf16 means autocast: parameters, their
gradients, the head and the loss are float32. On a GPU the step can be compiled, or one CUDA graph."""

import contextlib
import functools
import math

import torch
from torch import nn
from torch.nn import functional as F

from zoo import MODELS

HEAD_CLASSES = 1000
MARGIN, SCALE = 0.5, 64


class ArcFaceHead(nn.Module):
    """ArcFace whose margin the gradient passes straight through."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(HEAD_CLASSES, width).normal_(0, 0.01))

    def forward(self, embedding, labels):
        cosine = F.linear(F.normalize(embedding), F.normalize(self.weight)).clamp(-1, 1)
        with torch.no_grad():
            target = cosine.gather(1, labels[:, None])
            sine = (1 - target.square()).sqrt()
            margin = torch.zeros_like(cosine).scatter_(
                1, labels[:, None], target * math.cos(MARGIN) - sine * math.sin(MARGIN) - target)
        return F.cross_entropy((cosine + margin) * SCALE, labels)


class Loss(nn.Module):
    """Of a model's outputs."""

    def __init__(self, model, outputs):
        super().__init__()
        names = MODELS[model].outputs
        logits = [i for i, name in enumerate(names) if name.endswith("logits")]
        self.index = logits[0] if logits else names.index(MODELS[model].embedding)
        width = outputs[self.index].shape[1]
        self.head = None if logits else ArcFaceHead(width)
        self.classes = width if logits else HEAD_CLASSES

    def forward(self, outputs, labels):
        y = outputs[self.index].float()
        return self.head(y, labels) if self.head else F.cross_entropy(y, labels)


class Trained(nn.Module):
    """A model and its loss, in one forward pass."""

    def __init__(self, module, loss, precision, device):
        super().__init__()
        self.module, self.loss = module, loss
        self.precision, self.device = precision, device

    def autocast(self):
        if self.precision == "f32":
            return contextlib.nullcontext()
        # Converted weights that are kept from step to step would not survive the capture of a graph.
        return torch.autocast(self.device.type, torch.bfloat16, cache_enabled=self.device.type == "cpu")

    def forward(self, x, labels):
        with self.autocast():
            outputs = self.module(x)
        return self.loss(outputs, labels)


def compile_mode(device):
    """Of torch.compile: on a GPU with CUDA graphs and the kernels that were fastest when tried."""
    return "default" if device.type == "cpu" else "max-autotune"


def training_step(model, module, x, precision, way, where):
    """A function that takes one step on `x` and returns the loss, a tensor. Changes `module`. `way`: "eager",
    "compile" or "graph"; `where`: a place of places.py."""
    module = module.train().to(where.device, memory_format=torch.channels_last)
    x = x.to(where.device, memory_format=torch.channels_last)
    with torch.no_grad():  # two images tell the outputs' shapes, at little cost of memory
        loss = Loss(model, module(x[:2])).to(where.device)
    labels = (torch.arange(len(x)) * 37 % loss.classes).to(where.device)
    trained = Trained(module, loss, precision, where.device)
    parameters = [p for p in trained.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-4, momentum=0.9, weight_decay=5e-4, fused=True)
    forget = functools.partial(optimizer.zero_grad, set_to_none=True)
    if way == "compile":
        torch._dynamo.reset()
        trained = torch.compile(trained, dynamic=False, mode=compile_mode(where.device))

    def step():
        forget()
        if way == "compile":
            torch.compiler.cudagraph_mark_step_begin()
        value = trained(x, labels)
        value.backward()
        optimizer.step()
        return value.detach()

    return where.captured(step, before=forget) if way == "graph" else step
