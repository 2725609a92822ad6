"""Writes the peers as ONNX files with a dynamic batch and the golden fill as weights.

    python bench/peers/export.py --cache DIR MODEL...

Each file is checked by onnx.checker and run in ONNX Runtime against PyTorch at two batch sizes. A
file that these sources and this PyTorch wrote before is kept; its path is printed either way.
"""

import argparse
import hashlib
import logging
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from golden import filled, sample_input
from zoo import MODELS

OPSET = 18
SOURCES = ("lscnn.py", "dcr.py", "iresnet.py", "lesa.py", "zoo.py", "golden.py", "export.py")
TOLERANCE = 1e-4  # relative l2 error of float32 against float32


def version_stamp(model, opset):
    """Changes with the peers' sources, the exporter and the opset."""
    state = hashlib.sha256()
    for name in SOURCES:
        state.update(Path(__file__).with_name(name).read_bytes())
    return f"{model} opset {opset} torch {torch.__version__} {state.hexdigest()[:16]}"


def stamp_of(path):
    try:
        properties = onnx.load(path, load_external_data=False).metadata_props
    except Exception:  # whatever a damaged file raises: it is written anew
        return None
    return next((p.value for p in properties if p.key == "stamp"), None)


def write(model, path, opset):
    module = filled(model)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Traced at batch 2, since a 1 would be taken for a constant.
        program = torch.onnx.export(
            module, (sample_input(model, 2),), dynamo=True, opset_version=opset, verbose=False,
            input_names=["input"], output_names=list(MODELS[model].outputs),
            dynamic_shapes=({0: torch.export.Dim("N")},))
    proto = program.model_proto
    if proto.opset_import[0].version != opset:
        raise RuntimeError(f"the exporter wrote opset {proto.opset_import[0].version} instead of "
                           f"{opset}; try 18 or later")
    proto.metadata_props.add(key="stamp", value=version_stamp(model, opset))
    onnx.checker.check_model(proto, full_check=True)
    if not proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise RuntimeError("the exporter fixed the batch size")
    partial = path.with_suffix(f".{os.getpid()}.part")
    onnx.save(proto, partial)
    try:
        compare(model, module, partial)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def compare(model, module, path):
    try:
        import onnxruntime
    except ImportError:
        print("export: onnxruntime is not installed, the file was only checked", file=sys.stderr)
        return
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        x = sample_input(model, batch)
        with torch.inference_mode():
            expected = module(x)
        results = session.run(list(MODELS[model].outputs), {"input": x.numpy()})
        for name, mine, theirs in zip(MODELS[model].outputs, results, expected, strict=True):
            theirs = theirs.numpy()
            error = np.linalg.norm(mine - theirs) / np.linalg.norm(theirs)
            if mine.shape != theirs.shape or not error <= TOLERANCE:
                raise RuntimeError(f"{name} {mine.shape} errs by {error:.1e} from PyTorch's "
                                   f"{theirs.shape} at batch {batch}")


def export(model, cache, opset=OPSET):
    """The path of the model's ONNX file, written or kept. Throws when the file would be wrong."""
    cache = Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{model}-{opset}.onnx"
    if not path.exists() or stamp_of(path) != version_stamp(model, opset):
        write(model, path, opset)
    return path


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--cache", required=True, help="folder of the files; made if missing")
    parser.add_argument("--opset", type=int, default=OPSET)
    args = parser.parse_args()
    if unknown := [m for m in args.models if m not in MODELS]:
        parser.error(f"unknown model {unknown[0]}; choose from {', '.join(MODELS)}")
    for model in args.models:
        print(export(model, args.cache, args.opset), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
