"""Writes the *.pth files beside this script: what torch.save makes of small state_dicts.

    python tests/data/make_torch_files.py

Element i of every tensor, in row-major order, is (i + first) / 8 with a `first` of its own; the tests
know the formula.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

FOLDER = Path(__file__).resolve().parent


def count(shape, first, dtype=torch.float32):
    size = torch.Size(shape)
    return ((torch.arange(size.numel(), dtype=torch.float64) + first) / 8).to(dtype).reshape(size)


def network():
    """The module of tests/formats/torch_file_test.cpp and tests/runtime/weights_files_test.cpp."""
    module = nn.Sequential(OrderedDict(conv=nn.Conv2d(2, 3, 3), bn=nn.BatchNorm2d(3),
                                       fc=nn.Linear(3, 4)))
    for first, tensor in enumerate(module.state_dict().values()):
        if tensor.is_floating_point():
            tensor.copy_(count(tensor.shape, first))
        else:
            tensor.fill_(7)
    return module


def main():
    module = network()
    torch.save(module.state_dict(), FOLDER / "state_dict.pth")

    # A whole checkpoint, from wrapped modules and in half precision, with what else people save.
    wrapped = OrderedDict((f"module._orig_mod.{key}", value.half() if value.is_floating_point()
                           else value) for key, value in module.state_dict().items())
    optimizer = torch.optim.Adam(module.parameters())
    torch.save({"epoch": 3, "best": 0.5, "name": "net", "seed": 2**63 - 1, "huge": 2**200,
                "shape": torch.Size([1, 2]), "dtype": torch.float32, "device": torch.device("cpu"),
                "history": [1.0, None, (True, b"x")], "classes": {1, 2},
                "optimizer": optimizer.state_dict(), "state_dict": wrapped},
               FOLDER / "checkpoint.pth")

    # Every dtype, and tensors that are views.
    base = count((4, 6), 0)
    torch.save({"f64": count((2, 3), 1, torch.float64), "f32": count((2, 3), 2),
                "f16": count((2, 3), 3, torch.float16), "bf16": count((2, 3), 4, torch.bfloat16),
                "i64": torch.arange(-3, 3), "i32": torch.arange(-3, 3, dtype=torch.int32),
                "i8": torch.arange(-3, 3, dtype=torch.int8),
                "u8": torch.arange(250, 256, dtype=torch.uint8),
                "bool": torch.tensor([True, False, True]), "scalar": torch.tensor(2.5),
                "none": torch.zeros(0, 3), "parameter": nn.Parameter(count((3,), 5)),
                "base": base, "rows": base[1:3], "transposed": base.t(), "column": base[:, 2],
                "every_other": base[::2, 1::2], "repeated": count((1, 3), 6).expand(2, 3)},
               FOLDER / "views.pth")
    torch.save({"weight": count((2, 3), 0)}, FOLDER / "protocol_4.pth", pickle_protocol=4)
    torch.save({"weight": count((2, 3), 0)}, FOLDER / "legacy.pth",
               _use_new_zipfile_serialization=False)
    torch.save({"weight": torch.zeros(2, dtype=torch.uint16)}, FOLDER / "uint16.pth")
    torch.save(module, FOLDER / "module.pth")


if __name__ == "__main__":
    main()
