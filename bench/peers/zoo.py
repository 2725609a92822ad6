"""The peers by the names that `facet models` uses, with the same default options."""

from dataclasses import dataclass
from functools import partial
from typing import Callable

from dcr import Dcr
from iresnet import BLOCKS, IResNet
from lesa import LesaResNet
from lscnn import LsCnn


@dataclass(frozen=True)
class Peer:
    build: Callable  # keyword arguments -> module; its forward returns a tuple, one per output
    size: int  # height and width of the input [N, 3, size, size]
    outputs: tuple
    embedding: str  # the output that reduced precision is judged by

    def input_shape(self, batch):
        return (batch, 3, self.size, self.size)


MODELS = {
    "lscnn": Peer(LsCnn, 128, ("embedding", "logits"), "embedding"),
    "dcr": Peer(Dcr, 120, ("trunk_embeddings", "branch_embeddings", "branch_logits"),
                "branch_embeddings"),
    "lesa_resnet50": Peer(LesaResNet, 224, ("logits",), "logits"),
    "lesa_wrn50": Peer(partial(LesaResNet, 128), 224, ("logits",), "logits"),
}
for _depth in BLOCKS:
    for _mla in (False, True):
        MODELS[f"{'mla' if _mla else 'arcface'}_iresnet{_depth}"] = Peer(
            partial(IResNet, _depth, _mla), 112, ("embedding",), "embedding")
